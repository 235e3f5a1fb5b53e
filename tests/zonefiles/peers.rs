//! The other readers.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use meridian_tests::peer;

/// A program that reads a master file and prints its records one a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Bind,
    Nsd,
}

impl Peer {
    /// Those that are installed; the others are said to be skipped.
    pub(crate) fn installed() -> impl Iterator<Item = Self> {
        [Self::Bind, Self::Nsd]
            .into_iter()
            .filter(|peer_| peer(peer_.program()).is_some())
    }

    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Bind => "named-compilezone",
            Self::Nsd => "nsd-checkzone",
        }
    }

    /// All records of the zone, or what the program said against it.
    pub(crate) fn compile(self, zone_file: &Path) -> Result<Vec<u8>, String> {
        let program = peer(self.program()).ok_or("not installed")?;
        let mut command = Command::new(program);
        match self {
            // Checks that judge the operation of a zone rather than its text are switched off.
            Self::Bind => command
                .args(["-i", "none", "-k", "ignore", "-m", "ignore"])
                .args([
                    "-n", "ignore", "-r", "ignore", "-S", "ignore", "-M", "ignore",
                ])
                .args(["-T", "ignore", "-W", "ignore"])
                .args(["-s", "full", "-o", "-", "example.com"]),
            Self::Nsd => command.args(["-p", "example.com"]),
        };
        // Both take the names in $INCLUDE from the current folder.
        let output = command
            .arg(zone_file)
            .current_dir(zone_file.parent().ok_or("no folder")?)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            let said = [output.stdout, output.stderr].concat();
            Err(String::from_utf8_lossy(&said).into_owned())
        }
    }
}
