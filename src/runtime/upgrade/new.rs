//! The new process: reads everything, asks itself, and takes over step by step.

use std::{
    io::{self, stdin},
    net::TcpListener,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    time::Duration,
};

use meridian_bgp_control::Stage;
use meridian_config::{Config, Server};
use meridian_dns::{
    abuse::Gate,
    listen::{Bound, ListenError, Listeners},
    metrics::Metrics,
};
use meridian_health_prober::Verdict;
use tokio_util::sync::CancellationToken;

use super::{
    ChannelError, VARIABLE,
    channel::Channel,
    words::{self, FromNew, FromOld, PROTOCOL},
};
use crate::runtime::{Runtime, describe, site};

/// For the next word of the old process.
const PATIENCE: Duration = Duration::from_secs(30);
/// For the first verdicts: clients must not be sent to PoPs that are down while nothing is known.
const VERDICTS: Duration = Duration::from_secs(15);
/// For every prefix to be found healthy through the real sockets.
const HEALTHY: Duration = Duration::from_secs(5);
/// Between two looks.
const STEP: Duration = Duration::from_millis(20);
/// For one answer of our own.
const ANSWER: Duration = Duration::from_millis(500);
/// Zones that are asked for beforehand.
const ZONES: usize = 8;

/// What a new process has of the old one.
#[derive(Debug)]
pub struct Successor {
    channel: Channel,
    dns: Vec<OwnedFd>,
    admin: Option<TcpListener>,
    announced: Vec<ipnet::IpNet>,
}

/// Why this process does not take over.
type Failed = String;

impl Successor {
    /// The offer of an old process, when one has started us; `None` in an ordinary start.
    ///
    /// # Errors
    /// The channel is there, but what comes through it makes no sense.
    pub fn from_environment() -> io::Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let channel = Channel::from_fd(stdin().as_fd().try_clone_to_owned()?);
        // Nothing else of this process may read from or write to the channel.
        let nothing = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&nothing)?;
        let (offer, mut files) = channel.receive(PATIENCE).map_err(io::Error::other)?;
        let FromOld::Offer {
            protocol: PROTOCOL,
            announced,
        } = offer
        else {
            let problem = "the old server speaks another protocol of upgrades";
            let _ = channel.send(FromNew::Failed(problem.to_owned()), &[]);
            return Err(io::Error::other(problem));
        };
        let admin = files.pop().map(TcpListener::from);
        Ok(Some(Self {
            channel,
            dns: files,
            admin,
            announced,
        }))
    }

    /// The DNS sockets, and those that the configuration wants beside them.
    ///
    /// # Errors
    /// An address that cannot be had.
    pub fn adopt(&mut self, server: &Server) -> Result<Bound, ListenError> {
        Listeners::adopt(server, std::mem::take(&mut self.dns))
    }

    /// The admin listener, when the configuration still wants that address.
    pub fn admin(&mut self, config: &Config) -> Option<TcpListener> {
        let same = |listener: &TcpListener| {
            let address = listener.local_addr().ok();
            let wanted = config.admin.listen;
            address.is_some_and(|a| a == wanted || (wanted.port() == 0 && a.ip() == wanted.ip()))
        };
        self.admin.take().filter(same)
    }

    /// Tells the old process that this one gives up.
    pub fn fail(&self, why: &str) {
        // It may be gone; then nobody wants to know.
        let _ = self.channel.send(FromNew::Failed(why.to_owned()), &[]);
    }

    /// Takes over: `bound` is read from when the old process has stopped.
    ///
    /// # Errors
    /// Why not; the old process goes on.
    pub async fn take_over(self, runtime: &Runtime, bound: Bound) -> Result<(), Failed> {
        let result = self.steps(runtime, bound).await;
        if let Err(why) = &result {
            self.fail(why);
        }
        result
    }

    async fn steps(&self, runtime: &Runtime, bound: Bound) -> Result<(), Failed> {
        self.rehearse(runtime).await?;
        know_verdicts(runtime).await;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.say(FromNew::Ready { version })?;
        let (FromOld::Serve, _) = self.hear()? else {
            return Err("the old server spoke out of turn".to_owned());
        };
        let listens = bound.addresses().to_vec();
        runtime.take_up_overrides();
        runtime.take_up();
        runtime.answer(bound);
        let reading = runtime.clone();
        runtime.0.tasks.spawn(async move {
            if let Some(measure) = reading.0.measure.get() {
                measure.read_again().await;
            }
        });
        match runtime.0.site.get() {
            Some(site) => self.wait_until_announcing(site).await?,
            None => ask(runtime, &listens).await?,
        }
        self.say(FromNew::Serving)?;
        let (FromOld::Sessions { bgp, bfd }, files) = self.hear()? else {
            return Err("the old server spoke out of turn".to_owned());
        };
        if let Some(site) = runtime.0.site.get() {
            site.adopt(words::passed(bgp, bfd, files)).await?;
        }
        self.say(FromNew::Taken)
    }

    /// Asks itself over sockets of its own: what cannot answer there need not try on the real ones.
    async fn rehearse(&self, runtime: &Runtime) -> Result<(), Failed> {
        let server = Server {
            listen: vec![([127, 0, 0, 1], 0).into()],
            workers: 1,
            ..runtime.0.booted.server.clone()
        };
        let bound = Listeners::bind(&server).map_err(|error| error.to_string())?;
        let listens = bound.addresses().to_vec();
        let stop = CancellationToken::new();
        let snapshot = runtime.0.publisher.current();
        let run = bound.run(
            snapshot,
            Arc::new(Metrics::new()),
            Arc::new(Gate::random()),
            stop.clone(),
        );
        let running = tokio::spawn(run);
        let result = ask(runtime, &listens).await;
        stop.cancel();
        drop(running);
        result
    }

    /// The old process holds its sessions until every prefix would stay announced.
    async fn wait_until_announcing(&self, site: &site::Site) -> Result<(), Failed> {
        let mut missing = None;
        for _ in 0..HEALTHY.as_millis() / STEP.as_millis() {
            let all = site.announcing().await;
            missing = self.announced.iter().find_map(|prefix| {
                let found = all.iter().find(|(known, ..)| known == prefix);
                match found {
                    Some((_, Stage::Up, _)) => None,
                    Some((_, _, why)) => Some(format!("{prefix} waits for {why}")),
                    None => Some(format!("{prefix} is not in the configuration")),
                }
            });
            if missing.is_none() {
                return Ok(());
            }
            tokio::time::sleep(STEP).await;
        }
        missing.map_or(Ok(()), Err)
    }

    fn say(&self, message: FromNew) -> Result<(), Failed> {
        let sent = self.channel.send(message, &[]);
        sent.map_err(|error: ChannelError| error.to_string())
    }

    /// The old process answers at once, so that waiting on this thread is no loss.
    fn hear(&self) -> Result<(FromOld, Vec<OwnedFd>), Failed> {
        tokio::task::block_in_place(|| self.channel.receive(PATIENCE))
            .map_err(|error| error.to_string())
    }
}

async fn ask(runtime: &Runtime, listens: &[std::net::SocketAddr]) -> Result<(), Failed> {
    let snapshot = runtime.0.publisher.current();
    for turn in 0..ZONES {
        site::ask_once(listens, ANSWER, &snapshot, turn).await?;
    }
    Ok(())
}

/// Waits until every group of targets has a verdict, or long enough.
async fn know_verdicts(runtime: &Runtime) {
    let groups = describe::groups(&runtime.0.booted);
    let mut health = runtime.0.prober.subscribe();
    let known = health.wait_for(|health| {
        groups.iter().all(|group| {
            let found = health.groups.get(group);
            found.is_some_and(|found| found.verdict != Verdict::Unknown)
        })
    });
    if tokio::time::timeout(VERDICTS, known).await.is_err() {
        tracing::warn!("some PoPs have no verdict yet; they count as usable");
    }
}
