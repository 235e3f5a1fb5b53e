//! Carries out one probe against one target.
//!
//! ```text
//! Job → kept connection? ─ yes → request ─ dead? → once more, on a new one
//!          └ no → connect → tls → request → status → body → Outcome
//! ```
//!
//! That is HTTP/1.1; the other types have a file each and keep nothing between probes.
//!
//! Time and memory are bounded whatever the target does: one deadline over everything, 16 KiB of
//! headers, 64 KiB of body.

mod certificates;
mod connect;
mod dns;
mod exec;
mod grpc;
mod http;
mod http2;
mod icmp;
mod keep;
mod login;
mod names;
mod page;
mod session;
#[cfg(test)]
mod tests;
mod tls;

use std::{collections::HashSet, future::Future, sync::Arc, time::Duration};

use meridian_config::{CheckKind, HttpCheck, TlsCheck};
use tokio::time::{Instant, timeout_at};

pub(crate) use self::certificates::{Certificate, Certificates};
pub(crate) use self::login::{LoginError, read_login};
pub(crate) use self::page::Fetcher;
pub(crate) use self::tls::{Anchors, Setups, TlsError, alpn, client_config, server_name};
use self::{keep::Keep, tls::Tls};
use crate::{LocalReason, Outcome, Phase, Reason, TargetId, engine::Job};

/// Carries out probes. The runner is written against this, so that tests can fake the network.
pub(crate) trait Probe: Send + Sync + 'static {
    /// Carries out one probe and ends by its deadline.
    fn probe(&self, job: &Job) -> impl Future<Output = Outcome> + Send;

    /// Forgets whatever is kept for targets that are not among these.
    fn retain(&self, live: &HashSet<TargetId>);

    /// Forgets what a probe has left that ended after its target was gone.
    fn forget(&self, gone: TargetId);
}

/// Probes over the network of this machine.
pub(crate) struct NetworkProbe {
    tls: Tls,
    keep: Keep,
}

/// Why a step of a probe did not succeed.
#[derive(Debug)]
enum Trouble {
    /// The target's doing.
    Target(Reason),
    /// Our own.
    Local(LocalReason),
}

impl From<Reason> for Trouble {
    fn from(reason: Reason) -> Self {
        Self::Target(reason)
    }
}

impl NetworkProbe {
    /// Keeps at most this many connections between probes.
    pub(crate) fn new(max_kept: usize) -> Self {
        Self {
            tls: Tls::default(),
            keep: Keep::new(max_kept),
        }
    }

    /// Takes over what was read for the checks of a configuration.
    pub(crate) fn prepare(&self, checks: Setups) {
        self.tls.prepare(checks);
    }

    /// The ends of certificates, as they come to be known.
    pub(crate) fn certificates(&self) -> Arc<Certificates> {
        self.tls.certificates.clone()
    }

    /// In the version of HTTP that the check wants.
    async fn web(
        &self,
        job: &Job,
        http: &HttpCheck,
        tls: Option<&TlsCheck>,
        clock: Clock,
    ) -> Result<(), Trouble> {
        if http.http2 {
            self.http2(job, http, tls, clock).await
        } else {
            self.http(job, http, tls, clock).await
        }
    }

    async fn handshake(&self, job: &Job, tls: &TlsCheck, clock: Clock) -> Result<(), Trouble> {
        let stream = connect::tcp(job.target.socket_address(), clock).await?;
        self.tls.handshake(job, tls, stream, clock).await.map(drop)
    }

    /// The number of connections kept now.
    #[cfg(test)]
    fn kept(&self) -> usize {
        self.keep.len()
    }
}

impl Probe for NetworkProbe {
    #[allow(clippy::disallowed_methods)] // a runner: it measures the network
    async fn probe(&self, job: &Job) -> Outcome {
        let start = Instant::now();
        let clock = Clock {
            start,
            end: start + job.deadline,
        };
        let result = match &job.target.check.kind {
            CheckKind::Tcp => connect::tcp(job.target.socket_address(), clock)
                .await
                .map(drop),
            CheckKind::Http(http) => self.web(job, http, None, clock).await,
            CheckKind::Https(http, tls) => self.web(job, http, Some(tls), clock).await,
            CheckKind::Tls(tls) => self.handshake(job, tls, clock).await,
            CheckKind::Dns(check) => dns::probe(job.target.socket_address(), check, clock).await,
            CheckKind::Icmp => icmp::probe(job.target.address, clock).await,
            CheckKind::Exec(exec) => exec::probe(&job.target, exec, clock).await,
            CheckKind::Grpc(grpc) => self.grpc(job, grpc, clock).await,
            // The engine starts none: `Engine::observe` brings the outcomes.
            CheckKind::Passive(_) => Err(Trouble::Local(LocalReason::NotProbed)),
        };
        judge(result, start.elapsed(), job.target.check.max_latency)
    }

    fn retain(&self, live: &HashSet<TargetId>) {
        self.keep.retain(live);
        self.tls.certificates.retain(live);
    }

    fn forget(&self, gone: TargetId) {
        self.keep.forget(gone);
        self.tls.certificates.forget(gone);
    }
}

fn judge(result: Result<(), Trouble>, took: Duration, limit: Option<Duration>) -> Outcome {
    match (result, limit) {
        (Err(Trouble::Target(reason)), _) => Outcome::Fail { reason },
        (Err(Trouble::Local(reason)), _) => Outcome::Inconclusive { reason },
        (Ok(()), Some(limit)) if took > limit => Outcome::Fail {
            reason: Reason::TooSlow { took, limit },
        },
        (Ok(()), _) => Outcome::Pass { rtt: took },
    }
}

/// The one deadline of a probe.
#[derive(Clone, Copy, Debug)]
struct Clock {
    start: Instant,
    end: Instant,
}

impl Clock {
    /// With one of `parts` equal parts of the time that is left.
    #[allow(clippy::disallowed_methods)] // a runner: it measures the network
    fn part(self, parts: usize) -> Self {
        let now = Instant::now();
        let parts = u32::try_from(parts).unwrap_or(u32::MAX).max(1);
        Self {
            end: now + self.end.saturating_duration_since(now) / parts,
            ..self
        }
    }

    /// Lets a step go on until the deadline; beyond it the probe fails in this phase.
    async fn limit<T>(
        self,
        phase: Phase,
        step: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        match timeout_at(self.end, step).await {
            Ok(result) => result,
            Err(_) => Err(Reason::Timeout(phase).into()),
        }
    }
}
