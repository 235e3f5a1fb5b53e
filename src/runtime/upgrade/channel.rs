//! Between an old server and the new one: messages with open files, over a pair of Unix sockets.
//!
//! A message is its length in four octets, JSON, and then its files in batches, each batch with one
//! octet: the kernel passes at most 253 files with one `sendmsg`.

use std::{
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Files that travel with one octet.
const BATCH: usize = 128;

/// Largest message in octets; the state of sessions takes some kilobytes.
const LIMIT: usize = 16 << 20;

/// Most files of one message.
const FILES: usize = 16_384;

/// One end.
#[derive(Debug)]
pub(super) struct Channel(UnixStream);

/// Why nothing came through.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other end is gone.
    #[error("the other process has ended")]
    Closed,
    /// Nothing came in time.
    #[error("the other process said nothing for {} s", .0.as_secs())]
    Silent(Duration),
    /// It speaks another language.
    #[error("the other process is of another kind: {0}")]
    Foreign(String),
    /// The system refused.
    #[error("{0}")]
    Io(io::Error),
}

/// What stands in front of the files.
#[derive(Deserialize, Serialize)]
struct Envelope<T> {
    files: usize,
    message: T,
}

impl Channel {
    /// Both ends; the second one is for the other process.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (here, there) = UnixStream::pair()?;
        Ok((Self(here), there.into()))
    }

    /// The end that another process gave us.
    pub(super) fn from_fd(fd: OwnedFd) -> Self {
        Self(UnixStream::from(fd))
    }

    /// Sends a message with files, which stay open here.
    pub(super) fn send<T: Serialize>(
        &self,
        message: T,
        files: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let envelope = Envelope {
            files: files.len(),
            message,
        };
        let text = serde_json::to_vec(&envelope)
            .map_err(|error| ChannelError::Foreign(error.to_string()))?;
        let length = u32::try_from(text.len())
            .map_err(|_| ChannelError::Foreign("a message is too long".to_owned()))?;
        let mut stream = &self.0;
        stream.write_all(&length.to_be_bytes()).map_err(gone)?;
        stream.write_all(&text).map_err(gone)?;
        for batch in files.chunks(BATCH) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            // The space is for as many files as a batch has.
            ancillary.push(SendAncillaryMessage::ScmRights(batch));
            rustix::net::sendmsg(
                self.0.as_fd(),
                &[IoSlice::new(&[0])],
                &mut ancillary,
                SendFlags::NOSIGNAL,
            )
            .map_err(|error| gone(error.into()))?;
        }
        Ok(())
    }

    /// Waits at most `limit` for each part of a message.
    pub(super) fn receive<T: DeserializeOwned>(
        &self,
        limit: Duration,
    ) -> Result<(T, Vec<OwnedFd>), ChannelError> {
        self.0
            .set_read_timeout(Some(limit))
            .map_err(ChannelError::Io)?;
        let late = |error| match gone(error) {
            ChannelError::Io(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ChannelError::Silent(limit)
            }
            other => other,
        };
        let mut length = [0; 4];
        let mut stream = &self.0;
        stream.read_exact(&mut length).map_err(late)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > LIMIT {
            return Err(ChannelError::Foreign(format!("{length} octets announced")));
        }
        let mut text = vec![0; length];
        stream.read_exact(&mut text).map_err(late)?;
        let envelope: Envelope<T> = serde_json::from_slice(&text)
            .map_err(|error| ChannelError::Foreign(error.to_string()))?;
        if envelope.files > FILES {
            let text = format!("{} files announced", envelope.files);
            return Err(ChannelError::Foreign(text));
        }
        let mut files = Vec::with_capacity(envelope.files);
        while files.len() < envelope.files {
            let before = files.len();
            self.receive_batch(&mut files).map_err(late)?;
            if files.len() == before {
                return Err(ChannelError::Foreign("files are missing".to_owned()));
            }
        }
        Ok((envelope.message, files))
    }

    fn receive_batch(&self, files: &mut Vec<OwnedFd>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut octet = [0];
        let received = rustix::net::recvmsg(
            self.0.as_fd(),
            &mut [IoSliceMut::new(&mut octet)],
            &mut ancillary,
            // Nothing that this process starts later may hold them.
            RecvFlags::CMSG_CLOEXEC,
        )?;
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(batch) = message {
                files.extend(batch);
            }
        }
        Ok(())
    }
}

fn gone(error: io::Error) -> ChannelError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset => ChannelError::Closed,
        _ => ChannelError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Seek as _};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn pair() -> (Channel, Channel) {
        let (here, there) = Channel::pair().unwrap();
        (here, Channel::from_fd(there))
    }

    #[test]
    fn messages_arrive_with_their_files_in_order() {
        let (here, there) = pair();
        let mut written: Vec<File> = Vec::new();
        for number in 0..300 {
            let mut file = tempfile::tempfile().unwrap();
            write!(file, "{number}").unwrap();
            file.rewind().unwrap();
            written.push(file);
        }
        let fds: Vec<_> = written.iter().map(std::os::fd::AsFd::as_fd).collect();
        let sent = vec!["a".to_owned(), "b".repeat(100_000)];
        let copy = sent.clone();
        // More than the kernel buffers: the other end must read meanwhile.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                here.send(&copy, &fds).unwrap();
                here.send("done", &[]).unwrap();
            });
            let (message, files) = there.receive::<Vec<String>>(LONG).unwrap();
            assert_eq!(message, sent);
            assert_eq!(files.len(), 300);
            for (number, file) in files.into_iter().enumerate() {
                let mut text = String::new();
                File::from(file).read_to_string(&mut text).unwrap();
                assert_eq!(text, number.to_string());
            }
            assert_eq!(there.receive::<String>(LONG).unwrap().0, "done");
        });
    }

    #[test]
    fn an_end_that_is_gone_or_foreign_is_told() {
        let (here, there) = pair();
        here.send(5, &[]).unwrap();
        let error = there.receive::<String>(LONG).unwrap_err();
        assert!(matches!(error, ChannelError::Foreign(_)), "{error}");
        let silent = there.receive::<String>(Duration::from_millis(1));
        assert!(matches!(silent, Err(ChannelError::Silent(_))), "{silent:?}");
        drop(here);
        let closed = there.receive::<String>(LONG);
        assert!(matches!(closed, Err(ChannelError::Closed)), "{closed:?}");
        assert!(matches!(there.send(1, &[]), Err(ChannelError::Closed)));
    }

    #[test]
    fn a_length_out_of_bounds_takes_no_memory() {
        let (here, there) = pair();
        (&here.0).write_all(&u32::MAX.to_be_bytes()).unwrap();
        let error = there.receive::<String>(LONG).unwrap_err();
        assert!(matches!(error, ChannelError::Foreign(_)), "{error}");
    }
}
