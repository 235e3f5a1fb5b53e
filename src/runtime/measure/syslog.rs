//! Logs of edge proxies as datagrams (RFC 3164, RFC 5424), from the senders that are configured.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use meridian_config::{Config, LatencySyslog};
use meridian_geo_data::latency::{Sample, parse};
use tokio::{net::UdpSocket, sync::watch};

use super::{
    Shared,
    intake::{NotTaken, Source},
};

/// Longest datagram that is looked at. Of a longer one the last fields are lost, and what a client wrote
/// into its request would stand in their place: it is refused.
const LONGEST: usize = 8192;
/// Octets of datagrams that the kernel keeps for us.
const QUEUE: usize = 1 << 20;
/// Datagrams that are read before they are handed over.
const TOGETHER: usize = 128;
/// Time between attempts to get the address.
const AGAIN: Duration = Duration::from_secs(1);
/// Attempts before it is an alarm: after an upgrade the old process has the address for a moment.
const PATIENCE: u32 = 5;
/// What alarms are about.
const ABOUT: &str = "latency.syslog.listen";

/// Opens the socket, as long as the process may.
pub(super) fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // More than the system allows is cut by it.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(QUEUE);
    Ok(socket)
}

/// Takes datagrams where the newest configuration says so.
pub(super) async fn run(
    mut settings: watch::Receiver<Arc<Config>>,
    mut ready: Option<(SocketAddr, std::net::UdpSocket)>,
    shared: Shared,
) {
    let mut failures = 0;
    loop {
        let config = settings.borrow_and_update().clone();
        let Some(syslog) = &config.latency.syslog else {
            ready = None;
            shared.alarms.set(ABOUT, None);
            if settings.changed().await.is_err() {
                return;
            }
            continue;
        };
        let kept = ready.take().filter(|(at, _)| *at == syslog.listen);
        let opened = match kept {
            Some((_, socket)) => Ok(socket),
            None => bind(syslog.listen),
        };
        let opened = opened.and_then(|socket| {
            let copy = socket.try_clone()?;
            Ok((socket, UdpSocket::from_std(copy)?))
        });
        match opened {
            Ok((socket, reader)) => {
                failures = 0;
                shared.alarms.set(ABOUT, None);
                let senders = Senders::new(syslog, &config);
                tokio::select! {
                    () = receive(&reader, &senders, &shared) => {}
                    changed = settings.changed() => if changed.is_err() {
                        return;
                    },
                }
                ready = Some((syslog.listen, socket));
            }
            Err(error) => {
                failures += 1;
                if failures >= PATIENCE {
                    let problem = format!("{ABOUT}: cannot bind {}: {error}", syslog.listen);
                    shared.alarms.set(ABOUT, Some(problem));
                }
                tokio::select! {
                    () = tokio::time::sleep(AGAIN) => {}
                    changed = settings.changed() => if changed.is_err() {
                        return;
                    },
                }
            }
        }
    }
}

/// Who may send, and of which PoP it speaks.
struct Senders(Vec<(ipnet::IpNet, Arc<str>)>);

impl Senders {
    fn new(syslog: &LatencySyslog, config: &Config) -> Self {
        let named = syslog.senders.iter();
        let mut all: Vec<_> = named
            .map(|sender| (sender.address, sender.pop.name(config).into()))
            .collect();
        // The longest match counts.
        all.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
        Self(all)
    }

    fn pop_of(&self, sender: IpAddr) -> Option<&Arc<str>> {
        let found = self.0.iter().find(|(net, _)| net.contains(&sender));
        found.map(|(_, pop)| pop)
    }
}

/// Never ends: an error of the socket concerns one datagram.
async fn receive(socket: &UdpSocket, senders: &Senders, shared: &Shared) {
    let mut buffer = vec![0; LONGEST + 1];
    loop {
        let mut together: BTreeMap<IpAddr, Vec<Sample>> = BTreeMap::new();
        let mut received = socket.recv_from(&mut buffer).await;
        for left in (0..TOGETHER).rev() {
            match received {
                Ok((length, from)) => {
                    let datagram = buffer.get(..length).unwrap_or_default();
                    let from = from.ip().to_canonical();
                    if let Some(sample) = read(datagram, from, senders, shared) {
                        together.entry(from).or_default().push(sample);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {}
            }
            if left == 0 {
                break;
            }
            received = socket.try_recv_from(&mut buffer);
        }
        for (from, samples) in together {
            let key = shared.intake.key(from);
            shared.intake.offer(Source::Syslog, key, samples);
        }
        tokio::task::coop::consume_budget().await;
    }
}

fn read(datagram: &[u8], from: IpAddr, senders: &Senders, shared: &Shared) -> Option<Sample> {
    let Some(pop) = senders.pop_of(from) else {
        shared.intake.refuse(Source::Syslog, "sender");
        return None;
    };
    let told = match datagram.len() {
        0..=LONGEST => parse::log(parse::syslog(datagram)),
        _ => Err(parse::BadLine::TooLong),
    };
    match told {
        Ok(told) => Some(shared.sample(&told, pop)),
        Err(bad) => {
            let bad = NotTaken::from(bad);
            shared.intake.refuse(Source::Syslog, bad.as_str());
            None
        }
    }
}
