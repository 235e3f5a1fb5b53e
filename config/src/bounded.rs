//! How files of bounded size are read: whole, up to a limit, and only regular ones.
//!
//! A pipe would keep whoever opens it waiting for its writer, a device never end.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::fcntl::OFlag;

/// Largest file with certificates, octets. All authorities that systems trust take half a mebibyte.
pub const CERTIFICATES_LIMIT: u64 = 4 << 20;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be opened or read.
    #[error(transparent)]
    Os(#[from] io::Error),
    /// A folder, a pipe, a socket or a device.
    #[error("it is no regular file")]
    NoFile,
    /// It holds more octets than this.
    #[error("it is larger than {} KiB", .0 >> 10)]
    TooLarge(u64),
}

/// Opens a regular file without ever waiting.
///
/// # Errors
/// It is none, or cannot be opened.
pub fn open_file(path: &Path) -> Result<File, ReadError> {
    // Looked at before it is opened, because opening alone does something to some devices, and again
    // afterwards, because another may stand there by then.
    if !std::fs::metadata(path)?.is_file() {
        return Err(ReadError::NoFile);
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(ReadError::NoFile),
    }
}

/// Reads a regular file of at most `limit` octets.
///
/// # Errors
/// It is none, is larger, or cannot be read.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let mut octets = Vec::new();
    // One octet more than is right: then it is too large, not cut.
    open_file(path)?.take(limit + 1).read_to_end(&mut octets)?;
    match octets.len() as u64 > limit {
        true => Err(ReadError::TooLarge(limit)),
        false => Ok(octets),
    }
}

#[cfg(test)]
mod tests {
    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;

    #[test]
    fn regular_files_up_to_the_limit_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, [7; 2048]).unwrap();
        assert_eq!(read_file(&file, 2048).unwrap(), [7; 2048]);
        let larger = read_file(&file, 2047).unwrap_err();
        assert!(matches!(larger, ReadError::TooLarge(2047)));
        assert_eq!(
            ReadError::TooLarge(4096).to_string(),
            "it is larger than 4 KiB"
        );
        // Nobody writes to it: who waits for that waits for ever.
        let pipe = folder.path().join("pipe");
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        for none in [&pipe, folder.path(), Path::new("/dev/zero")] {
            let error = read_file(none, 10).unwrap_err();
            assert!(matches!(error, ReadError::NoFile), "{}", none.display());
        }
        let absent = read_file(&folder.path().join("absent"), 10).unwrap_err();
        assert!(matches!(absent, ReadError::Os(error) if error.kind() == io::ErrorKind::NotFound));
    }
}
