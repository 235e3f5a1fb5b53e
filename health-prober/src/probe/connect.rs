//! Connects, and tells from the system's error whose trouble it is.

use std::{io, net::SocketAddr};

use tokio::net::TcpStream;

use super::{Clock, Trouble};
use crate::{LocalReason, Phase, Reason};

/// Opens a TCP connection within the deadline.
pub(super) async fn tcp(address: SocketAddr, clock: Clock) -> Result<TcpStream, Trouble> {
    let connect = async {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| trouble(&error))?;
        // A small request must not wait for the answer to the last one.
        stream.set_nodelay(true).map_err(|error| trouble(&error))?;
        Ok(stream)
    };
    clock.limit(Phase::Connect, connect).await
}

/// What an I/O error on a probe's connection means.
pub(super) fn trouble(error: &io::Error) -> Trouble {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => Reason::Refused.into(),
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => Reason::Reset.into(),
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => {
            Reason::Unreachable.into()
        }
        Kind::TimedOut => Reason::Timeout(Phase::Connect).into(),
        Kind::UnexpectedEof | Kind::NotConnected => Reason::Closed.into(),
        // No descriptor (EMFILE, ENFILE), no port (EADDRNOTAVAIL), no buffer (ENOBUFS), a local
        // firewall (EPERM, EACCES): nothing that the target did.
        kind => Trouble::Local(LocalReason::Resources(kind, error.raw_os_error())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;

    #[test]
    fn errors_of_the_target_and_of_our_own() {
        for (code, text) in [
            (libc_code::ECONNREFUSED, "connection refused"),
            (libc_code::ECONNRESET, "connection reset"),
            (libc_code::EHOSTUNREACH, "unreachable"),
            (libc_code::ENETUNREACH, "unreachable"),
            (libc_code::ETIMEDOUT, "timeout (connect)"),
        ] {
            match trouble(&io::Error::from_raw_os_error(code)) {
                Trouble::Target(reason) => assert_eq!(Outcome::Fail { reason }.to_string(), text),
                Trouble::Local(reason) => panic!("{code}: {reason}"),
            }
        }
        for code in [
            libc_code::EMFILE,
            libc_code::ENFILE,
            libc_code::EADDRNOTAVAIL,
            105,
        ] {
            let trouble = trouble(&io::Error::from_raw_os_error(code));
            assert!(matches!(trouble, Trouble::Local(_)), "{code}");
        }
    }

    /// Numbers of Linux.
    mod libc_code {
        pub(super) const ENFILE: i32 = 23;
        pub(super) const EMFILE: i32 = 24;
        pub(super) const EADDRNOTAVAIL: i32 = 99;
        pub(super) const ENETUNREACH: i32 = 101;
        pub(super) const ECONNRESET: i32 = 104;
        pub(super) const ETIMEDOUT: i32 = 110;
        pub(super) const ECONNREFUSED: i32 = 111;
        pub(super) const EHOSTUNREACH: i32 = 113;
    }
}
