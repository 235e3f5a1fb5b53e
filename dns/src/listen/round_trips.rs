//! How long round trips to our TCP clients take: the kernel measures them for every connection, and
//! tells at its end.

use std::{fmt, net::IpAddr, os::fd::AsFd, sync::Arc, time::Duration};

use nix::sys::socket::{GetSockOpt as _, sockopt::GetStruct};

/// Hears of round trips. It is called by the tasks of connections and must not wait.
pub trait HearRoundTrips: Send + Sync {
    /// Whether the connection that ends now is one to look at.
    fn wants(&self) -> bool;

    /// The least round trip that the kernel has measured to this client.
    fn hear(&self, client: IpAddr, round_trip: Duration);
}

/// Who is told, if anyone.
#[derive(Clone, Default)]
pub(super) struct RoundTrips(pub(super) Option<Arc<dyn HearRoundTrips>>);

impl fmt::Debug for RoundTrips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RoundTrips")
            .field(&self.0.is_some())
            .finish()
    }
}

impl RoundTrips {
    /// A connection on which something was asked ends.
    pub(super) fn ends(&self, socket: &impl AsFd, client: IpAddr) {
        if let Some(hear) = &self.0
            && hear.wants()
            && let Some(round_trip) = measured(socket)
        {
            hear.hear(client.to_canonical(), round_trip);
        }
    }
}

/// The beginning of `struct tcp_info` of `linux/tcp.h`, up to the last member of Linux 4.6: a kernel
/// gives as much of it as is asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Info {
    before: [u32; 17],
    /// Smoothed round trip, microseconds.
    round_trip: u32,
    between: [u32; 19],
    /// Least round trip, microseconds; all ones: none was measured.
    least: u32,
}

#[derive(Clone, Copy, Debug)]
struct TcpInfo;

nix::getsockopt_impl!(
    TcpInfo,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    Info,
    GetStruct<Info>
);

fn measured(socket: &impl AsFd) -> Option<Duration> {
    let info = TcpInfo.get(socket).ok()?;
    let plausible = |micros: &u32| (1..u32::MAX).contains(micros);
    let micros = Some(info.least).filter(plausible);
    let micros = micros.or(Some(info.round_trip).filter(plausible))?;
    Some(Duration::from_micros(u64::from(micros)))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        mem::offset_of,
        net::{TcpListener, TcpStream, UdpSocket},
    };

    use super::*;

    #[test]
    fn members_stand_where_the_kernel_puts_them() {
        assert_eq!(offset_of!(Info, round_trip), 68);
        assert_eq!(offset_of!(libc::tcp_info, tcpi_rtt), 68);
        assert_eq!((offset_of!(Info, least), size_of::<Info>()), (148, 152));
    }

    #[test]
    fn the_kernel_measures_and_tells_even_after_the_client_has_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"asked").unwrap();
        server.read_exact(&mut [0; 5]).unwrap();
        server.write_all(b"answered").unwrap();
        client.read_exact(&mut [0; 8]).unwrap();
        let open = measured(&server).unwrap();
        drop(client);
        assert_eq!(server.read(&mut [0; 5]).unwrap(), 0);
        let ended = measured(&server).unwrap();
        for round_trip in [open, ended] {
            assert!(!round_trip.is_zero() && round_trip < Duration::from_secs(60));
        }
        // Not TCP: no measurement, no mistake.
        assert_eq!(measured(&UdpSocket::bind("127.0.0.1:0").unwrap()), None);
    }
}
