//! Following one log file over its rotations, like `tail -F`.
//!
//! ```text
//! there at the start        from its end on, also where it may be read only later; the rest of a line
//!                           that is being written is left out
//! renamed, a new one made   the old one to its end, then the new one from its beginning
//! truncated in place        from its beginning, even where it has grown beyond the old place since
//! gone                      the old one for a minute more; what comes back is new
//! ```
//!
//! That a file was truncated and has grown beyond the old place between two looks shows in the octets
//! before that place: they are not what was read there. Only where they are by chance the same, lines are
//! lost, and the one at that place is refused or cut short.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::lines::{Line, Lines};

/// Octets read at once.
const PIECE: usize = 64 << 10;
/// Octets read at one look, so that one busy file does not keep others waiting.
pub(super) const LOOK: usize = 1 << 20;

/// Octets before the place that was reached by which a file is known again.
const KNOWN: usize = 64;

/// Looks that a file is read after it has gone: its proxy may not have let go of it.
const GONE_LOOKS: u32 = 60;

/// One file that is followed.
#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    open: Option<Open>,
    lines: Lines,
    /// It was there from the first look on, and could not yet be opened: it is then read from its end on.
    from_end: bool,
    /// Looks in a row at which the open file did not stand under its name.
    elsewhere: u32,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Device and inode.
    id: (u64, u64),
    at: u64,
    /// The last octets before `at`, at most [`KNOWN`].
    before: Vec<u8>,
}

impl Open {
    /// Whether it is no longer what was read: shorter, or with other octets before the place reached.
    fn is_another(&self) -> io::Result<bool> {
        if self.file.metadata()?.len() < self.at {
            return Ok(true);
        }
        let mut now = vec![0; self.before.len()];
        let from = self.at - self.before.len() as u64;
        match self.file.read_exact_at(&mut now, from) {
            Ok(()) => Ok(now != self.before),
            // Truncated just now.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn restart(&mut self) -> io::Result<()> {
        self.at = self.file.seek(SeekFrom::Start(0))?;
        self.before.clear();
        Ok(())
    }

    fn passed(&mut self, octets: &[u8]) {
        self.at += octets.len() as u64;
        let last = octets.len().saturating_sub(KNOWN);
        self.before.extend(octets.iter().skip(last));
        let surplus = self.before.len().saturating_sub(KNOWN);
        self.before.drain(..surplus);
    }
}

impl Follower {
    /// Follows this file, with lines of at most `longest` octets.
    pub(super) fn new(path: PathBuf, longest: usize) -> Self {
        Self {
            path,
            open: None,
            lines: Lines::new(longest),
            from_end: true,
            elsewhere: 0,
        }
    }

    /// Gives the lines that have come since the last look, and tells whether more are waiting.
    ///
    /// # Errors
    /// Why nothing can be read now; the next look tries again.
    pub(super) fn look(&mut self, mut give: impl FnMut(Line<'_>)) -> io::Result<bool> {
        let there = std::fs::metadata(&self.path);
        let id = there.as_ref().ok().map(identity);
        if there
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        {
            self.from_end = false;
        }
        if self.open.is_none() {
            self.open = Some(self.open_file(self.from_end)?);
            (self.from_end, self.elsewhere) = (false, 0);
        }
        let Some(open) = &mut self.open else {
            return Ok(false);
        };
        match read(open, &mut self.lines, &mut give) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) => {
                // Such as a file that its server has lost: what stands under the name now may be read.
                if id.is_some_and(|id| id != open.id) {
                    self.open = None;
                }
                return Err(error);
            }
        }
        if id == Some(open.id) {
            self.elsewhere = 0;
            return Ok(false);
        }
        // Renamed or gone, and read to its end. Whoever writes it may do so for a moment still.
        self.elsewhere += 1;
        let leaves = if id.is_some() { 2 } else { GONE_LOOKS };
        if self.elsewhere >= leaves {
            self.lines.restart(false);
            self.open = None;
            self.elsewhere = 0;
        }
        there.map(|_| false)
    }

    fn open_file(&mut self, at_end: bool) -> io::Result<Open> {
        let (mut file, metadata) = open_regular(&self.path)?;
        self.lines.restart(false);
        let (mut at, mut before) = (0, Vec::new());
        if at_end {
            at = file.seek(SeekFrom::End(0))?;
            let known = usize::try_from(at).unwrap_or(KNOWN).min(KNOWN);
            before = vec![0; known];
            file.read_exact_at(&mut before, at - known as u64)?;
            self.lines
                .restart(before.last().is_some_and(|last| *last != b'\n'));
        }
        let id = identity(&metadata);
        Ok(Open {
            file,
            id,
            at,
            before,
        })
    }
}

/// Opens without waiting for the other end of a FIFO.
fn open_regular(path: &Path) -> io::Result<(File, Metadata)> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok((file, metadata))
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn read(open: &mut Open, lines: &mut Lines, give: &mut impl FnMut(Line<'_>)) -> io::Result<bool> {
    if open.is_another()? {
        open.restart()?;
        lines.restart(false);
    }
    let mut piece = vec![0; PIECE];
    for _ in 0..LOOK / PIECE {
        let octets = open.file.read(&mut piece)?;
        if octets == 0 {
            return Ok(false);
        }
        let piece = piece.get(..octets).unwrap_or_default();
        open.passed(piece);
        lines.push(piece, &mut *give);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;

    struct Bed {
        folder: tempfile::TempDir,
        follower: Follower,
    }

    impl Bed {
        fn new(before: Option<&str>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log");
            if let Some(text) = before {
                fs::write(&path, text).unwrap();
            }
            let follower = Follower::new(path, 64);
            Self { folder, follower }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.path(name);
            let file = OpenOptions::new().append(true).create(true).open(path);
            file.unwrap().write_all(text.as_bytes()).unwrap();
        }

        /// Looks until nothing has come for a while.
        fn lines(&mut self) -> Vec<String> {
            let mut all = Vec::new();
            let mut quiet = 0;
            while quiet < 3 {
                let looked = self.follower.look(|line| {
                    all.push(match line {
                        Line::Whole(line) => String::from_utf8(line.to_vec()).unwrap(),
                        Line::TooLong => "too long".to_owned(),
                    });
                });
                quiet = if looked.unwrap_or(false) {
                    0
                } else {
                    quiet + 1
                };
            }
            all
        }
    }

    #[test]
    fn what_was_there_before_is_left_out() {
        let mut bed = Bed::new(Some("old\nhalf"));
        assert!(bed.lines().is_empty());
        bed.write("log", " a line\nnew\npart");
        assert_eq!(bed.lines(), ["new"]);
        bed.write("log", "ial\n");
        assert_eq!(bed.lines(), ["partial"]);
        assert!(bed.lines().is_empty());
    }

    #[test]
    fn rename_and_create_loses_nothing() {
        let mut bed = Bed::new(Some(""));
        assert!(bed.lines().is_empty());
        bed.write("log", "1\n");
        fs::rename(bed.path("log"), bed.path("log.1")).unwrap();
        // The proxy still writes to the old one.
        bed.write("log.1", "2\n");
        assert_eq!(bed.lines(), ["1", "2"]);
        bed.write("log", "4\n");
        bed.write("log.1", "3\n");
        assert_eq!(bed.lines(), ["3", "4"]);
        bed.write("log", "5\nlost ha");
        fs::rename(bed.path("log"), bed.path("log.2")).unwrap();
        bed.write("log", "6\n");
        assert_eq!(bed.lines(), ["5", "6"]);
    }

    #[test]
    fn copytruncate_starts_over() {
        let mut bed = Bed::new(Some("a line that is long\n"));
        bed.lines();
        bed.write("log", "1\nhalf");
        assert_eq!(bed.lines(), ["1"]);
        fs::write(bed.path("log"), "2\n").unwrap();
        assert_eq!(bed.lines(), ["2"]);
        fs::write(bed.path("log"), "").unwrap();
        assert!(bed.lines().is_empty());
        bed.write("log", "3\n");
        assert_eq!(bed.lines(), ["3"]);
    }

    #[test]
    fn copytruncate_starts_over_where_the_file_has_outgrown_it() {
        let mut bed = Bed::new(Some("before\n"));
        assert!(bed.lines().is_empty());
        // Never read on, known only by what stood before the end.
        fs::write(bed.path("log"), "another\nand more\n").unwrap();
        assert_eq!(bed.lines(), ["another", "and more"]);
        for (round, length) in [1, 3, 40, 41, 200].into_iter().enumerate() {
            let fresh: Vec<String> = (0..length).map(|n| format!("{round}-{n}")).collect();
            fs::write(bed.path("log"), fresh.join("\n") + "\n").unwrap();
            assert_eq!(bed.lines(), fresh);
            bed.write("log", "one more\n");
            assert_eq!(bed.lines(), ["one more"]);
        }
    }

    #[test]
    fn missing_gone_and_back() {
        let mut bed = Bed::new(None);
        assert!(bed.follower.look(|_| ()).is_err());
        bed.write("log", "first\n");
        assert_eq!(bed.lines(), ["first"]);
        bed.write("log", "last\n");
        fs::remove_file(bed.path("log")).unwrap();
        assert_eq!(bed.lines(), ["last"]);
        for _ in 0..GONE_LOOKS {
            assert!(bed.follower.look(|_| ()).is_err());
        }
        assert!(bed.follower.open.is_none());
        bed.write("log", "back\n");
        assert_eq!(bed.lines(), ["back"]);
    }

    #[test]
    fn what_may_be_read_only_later_is_read_from_its_end() {
        let mut bed = Bed::new(Some("old\n"));
        // Not even root may read a folder; its name is that of the log.
        fs::rename(bed.path("log"), bed.path("aside")).unwrap();
        fs::create_dir(bed.path("log")).unwrap();
        assert!(bed.follower.look(|_| ()).is_err());
        fs::remove_dir(bed.path("log")).unwrap();
        fs::rename(bed.path("aside"), bed.path("log")).unwrap();
        assert!(bed.lines().is_empty());
        bed.write("log", "new\n");
        assert_eq!(bed.lines(), ["new"]);
    }

    #[test]
    fn one_look_is_bounded_and_what_is_no_file_is_refused() {
        let mut bed = Bed::new(Some(""));
        bed.lines();
        bed.write("log", &"0123456\n".repeat(LOOK / 8 + 10));
        let mut count = 0;
        assert!(bed.follower.look(|_| count += 1).unwrap());
        assert_eq!(count, LOOK / 8);
        assert_eq!(bed.lines().len(), 10);
        let long = "x".repeat(100);
        bed.write("log", &format!("{long}\nshort\n"));
        assert_eq!(bed.lines(), ["too long", "short"]);
        let fifo = bed.path("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [fifo, bed.path("")] {
            let found = Follower::new(path, 64).look(|_| ()).unwrap_err();
            assert!(found.to_string().contains("no regular file"), "{found}");
        }
    }
}
