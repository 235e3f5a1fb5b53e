//! Files of the state directory that are replaced whole.
//!
//! ```text
//! NAME.new → fsync → rename to NAME → fsync of the folder
//! ```
//!
//! After `kill -9` the file holds the old state or the new one. When the disk is full the old one stays,
//! and what was begun is removed.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Replaces a file by what `write` writes.
///
/// # Errors
/// Those of the file system; the old file stays.
pub(super) fn replace(
    file: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let new = beside(file, "new");
    let result = write_new(&new, write).and_then(|()| fs::rename(&new, file));
    if let Err(error) = result {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    let folder = file.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn write_new(
    new: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(new)?;
    let mut file = BufWriter::with_capacity(1 << 18, file);
    write(&mut file)?;
    file.flush()?;
    file.get_ref().sync_all()
}

/// Renames a file that cannot be used, for whoever wants to know why. Says so in a sentence about
/// `what`.
pub(super) fn put_aside(file: &Path, what: &str, error: &dyn fmt::Display) -> String {
    let aside = beside(file, "damaged");
    let kept = match fs::rename(file, &aside) {
        Ok(()) => format!("it is kept as {}", aside.display()),
        Err(error) => format!("it cannot be put aside: {error}"),
    };
    let file = file.display();
    format!("the {what} in {file} cannot be used, it begins anew: {error}; {kept}")
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        replace(&file, |to| to.write_all(b"old")).unwrap();
        let full = |to: &mut BufWriter<File>| {
            to.write_all(&[0; 1 << 19])?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        let error = replace(&file, full).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&file).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        replace(&file, |to| to.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        let told = put_aside(&file, "state", &"it is wrong");
        assert!(told.contains("state.damaged"), "{told}");
        assert_eq!(
            fs::read(folder.path().join("state.damaged")).unwrap(),
            b"new"
        );
    }
}
