//! Queries without pause: a bounded number of clients, each with one query on its way.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use meridian_tests::dns::{self, Question};

/// Clients over UDP and over TCP.
const CLIENTS: [(usize, Transport); 2] = [(3, Transport::Udp), (1, Transport::Tcp)];

#[derive(Clone, Copy)]
enum Transport {
    Udp,
    Tcp,
}

/// What the clients saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Queries without a reply, or with one that has no address.
    pub(crate) lost: u64,
    /// Replies by their first address.
    pub(crate) answers: BTreeMap<IpAddr, u64>,
}

/// Running clients.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Seen>>,
}

impl Load {
    /// Asks `server` for the A record of `name`, again and again.
    pub(crate) fn start(server: SocketAddr, name: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = CLIENTS
            .into_iter()
            .flat_map(|(count, transport)| std::iter::repeat_n(transport, count))
            .map(|transport| {
                let (stop, question) = (stop.clone(), dns::question(name, "A").patiently());
                std::thread::spawn(move || client(&question, server, transport, &stop))
            })
            .collect();
        Self { stop, clients }
    }

    /// Ends the clients and tells what they saw.
    pub(crate) fn stop(self) -> Seen {
        self.stop.store(true, Relaxed);
        let mut sum = Seen::default();
        for client in self.clients {
            let seen = client.join().expect("a client does not panic");
            sum.lost += seen.lost;
            for (address, count) in seen.answers {
                *sum.answers.entry(address).or_default() += count;
            }
        }
        sum
    }
}

fn client(question: &Question, server: SocketAddr, by: Transport, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Relaxed) {
        let reply = match by {
            Transport::Udp => question.udp(server),
            Transport::Tcp => question.tcp(server),
        };
        match reply.ok().and_then(|r| dns::addresses(&r).first().copied()) {
            Some(address) => *seen.answers.entry(address).or_default() += 1,
            None => seen.lost += 1,
        }
    }
    seen
}
