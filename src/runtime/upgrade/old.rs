//! The old process: offers, stops reading, hands sessions over, or takes everything back.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use meridian_bgp_control::Stage;
use meridian_dns::listen::Listeners;

use super::{
    ChannelError, UpgradeError, Upgraded, VARIABLE,
    channel::Channel,
    program,
    words::{self, FromNew, FromOld, PROTOCOL},
};
use crate::runtime::{
    Runtime,
    events::{EventKind, NewEvent},
};

/// For reading everything, asking itself, and the first verdicts.
const READY: Duration = Duration::from_secs(20);
/// For reading from the sockets and asking itself through them.
const SERVING: Duration = Duration::from_secs(6);
/// For going on with sessions.
const TAKEN: Duration = Duration::from_secs(2);
/// For a process that has closed its end to end itself: its own word on why is worth waiting for…
const LAST_WORD: Duration = Duration::from_secs(5);
/// … but not for long while nobody answers.
const LAST_WORD_IN_HASTE: Duration = Duration::from_millis(100);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(5);

/// The conversation with a new process; dropping it ends that process.
struct Talk {
    channel: Arc<Channel>,
    child: Option<Child>,
    last_word: Duration,
}

impl Runtime {
    /// Hands over to the binary that stands where this one was started from. After success nothing is
    /// left to do here but to end.
    ///
    /// # Errors
    /// Why this process goes on as before.
    pub async fn upgrade(&self, who: &str) -> Result<Upgraded, UpgradeError> {
        let Ok(_turn) = self.0.upgrading.try_lock() else {
            return Err(UpgradeError::Busy);
        };
        let message = format!("{who} asked for an upgrade to {}", program().display());
        self.record(NewEvent::new(EventKind::Upgrade, message));
        let result = self.try_upgrade().await;
        match &result {
            Ok(upgraded) => {
                let (pid, version) = (upgraded.pid, &upgraded.version);
                let message = format!("process {pid} has taken over, version {version}");
                self.record(NewEvent::new(EventKind::Upgrade, message));
                let _ = self.0.successor.set(pid);
                self.0.replaced.cancel();
            }
            Err(error) => {
                let message = format!("the upgrade failed, this server goes on: {error}");
                self.record(NewEvent::new(EventKind::Alarm, message));
            }
        }
        result
    }

    async fn try_upgrade(&self) -> Result<Upgraded, UpgradeError> {
        let announced = self.settled().await?;
        // The new process begins with what is on the disk.
        self.write_down().await;
        let dns = self.0.dns.load_full();
        let sockets = dns.sockets().map_err(UpgradeError::Sockets)?;
        let kept: Vec<OwnedFd> = sockets.into_iter().map(|(_, _, fd)| fd).collect();
        let mut talk = self.launch().await?;
        let offer = FromOld::Offer {
            protocol: PROTOCOL,
            announced,
        };
        let mut files: Vec<BorrowedFd<'_>> = kept.iter().map(|fd| fd.as_fd()).collect();
        files.push(self.0.admin.as_fd());
        talk.send("took no offer", &offer, &files).await?;
        let version = match talk.hear("was not ready", READY).await? {
            FromNew::Ready { version } => version,
            other => return Err(unexpected(other)),
        };
        // What came to be known while it began.
        self.write_down().await;
        // Nothing may be kept from here on that the new server does not read.
        self.0.overrides.close(true);
        // From here on queries are the new server's, until it fails.
        if let Some(site) = self.0.site.get() {
            site.freeze(true).await;
        }
        dns.hand_over();
        talk.last_word = LAST_WORD_IN_HASTE;
        let result = self.hand_over(&mut talk).await;
        if let Err(error) = result {
            // Two must never read from one connection: first it ends, then this server goes on.
            talk.end(Duration::ZERO).await;
            self.take_back(kept).await;
            return Err(error);
        }
        let pid = talk.child.take().map_or(0, |child| child.id());
        Ok(Upgraded { pid, version })
    }

    /// Writes what a successor goes on with.
    async fn write_down(&self) {
        if let Some(measure) = self.0.measure.get() {
            measure.save().await;
        }
        self.keep_for_successor().await;
    }

    async fn hand_over(&self, talk: &mut Talk) -> Result<(), UpgradeError> {
        talk.send("did not serve", &FromOld::Serve, &[]).await?;
        match talk.hear("did not serve", SERVING).await? {
            FromNew::Serving => {}
            other => return Err(unexpected(other)),
        }
        let Some(site) = self.0.site.get() else {
            return talk.finish(&words::saved(&Default::default()), &[]).await;
        };
        let passed = site.hand_over().await;
        let files = words::files(&passed);
        let result = talk.finish(&words::saved(&passed), &files).await;
        drop(files);
        if result.is_err() {
            talk.end(Duration::ZERO).await;
            if let Err(error) = site.adopt(passed).await {
                tracing::error!(error, "sessions cannot be taken back");
            }
        }
        result
    }

    /// Reads from the sockets again.
    async fn take_back(&self, kept: Vec<OwnedFd>) {
        self.0.overrides.close(false);
        match Listeners::adopt(&self.0.booted.server, kept) {
            Ok(bound) => {
                self.0.dns.store(Arc::new(bound.handle()));
                self.answer(bound);
            }
            Err(error) => {
                let message = format!("the sockets cannot be taken back: {error}");
                self.record(NewEvent::new(EventKind::Alarm, message));
            }
        }
        if let Some(site) = self.0.site.get() {
            site.freeze(false).await;
        }
    }

    /// The announced prefixes, when the state can be handed over: what is on its way up or down
    /// depends on times that the new process does not know.
    async fn settled(&self) -> Result<Vec<ipnet::IpNet>, UpgradeError> {
        let Some(site) = self.0.site.get() else {
            return Ok(Vec::new());
        };
        let state = site.state();
        if let Some(prefix) = state.blackholes.first() {
            return Err(UpgradeError::Blackhole(prefix.to_string()));
        }
        let drained = state.drained;
        let mut announced = Vec::new();
        for (prefix, stage, why) in site.announcing().await {
            match stage {
                Stage::Up => announced.push(prefix),
                Stage::Withdrawn if drained => {}
                Stage::Disabled => {}
                _ => {
                    return Err(UpgradeError::Unsettled {
                        prefix: prefix.to_string(),
                        stage: crate::runtime::site::stage_name(stage),
                        why,
                    });
                }
            }
        }
        Ok(announced)
    }

    async fn launch(&self) -> Result<Talk, UpgradeError> {
        let failed = |source| UpgradeError::Start {
            program: program(),
            source,
        };
        let (channel, there) = Channel::pair().map_err(failed)?;
        let mut command = Command::new(program());
        command
            .args(std::env::args_os().skip(1))
            .env(VARIABLE, "1")
            .stdin(Stdio::from(there));
        let child = match self.0.site.get() {
            // Its thread holds the capabilities that the new process needs.
            Some(site) => site.launch(command).await,
            None => command.spawn(),
        };
        Ok(Talk {
            channel: Arc::new(channel),
            child: Some(child.map_err(failed)?),
            last_word: LAST_WORD,
        })
    }
}

impl Talk {
    async fn send(
        &mut self,
        when: &'static str,
        message: &FromOld,
        files: &[BorrowedFd<'_>],
    ) -> Result<(), UpgradeError> {
        match self.channel.send(message, files) {
            Ok(()) => Ok(()),
            Err(source) => Err(self.lost(when, source).await),
        }
    }

    async fn hear(&mut self, when: &'static str, limit: Duration) -> Result<FromNew, UpgradeError> {
        let channel = self.channel.clone();
        let heard = tokio::task::spawn_blocking(move || channel.receive::<FromNew>(limit)).await;
        match heard.unwrap_or(Err(ChannelError::Closed)) {
            Ok((message, _)) => Ok(message),
            Err(source) => Err(self.lost(when, source).await),
        }
    }

    async fn finish(
        &mut self,
        sessions: &FromOld,
        files: &[BorrowedFd<'_>],
    ) -> Result<(), UpgradeError> {
        self.send("did not take the sessions", sessions, files)
            .await?;
        match self.hear("did not take the sessions", TAKEN).await? {
            FromNew::Taken => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn lost(&mut self, when: &'static str, source: ChannelError) -> UpgradeError {
        let patience = match source {
            ChannelError::Closed => self.last_word,
            _ => Duration::ZERO,
        };
        let ended = match self.end(patience).await {
            Some(status) => format!("it ended: {status}"),
            None => "it was ended".to_owned(),
        };
        UpgradeError::Lost {
            when,
            source,
            ended,
        }
    }

    /// Ends the new process; says how it had ended by itself, within `patience`.
    async fn end(&mut self, patience: Duration) -> Option<std::process::ExitStatus> {
        let child = self.child.as_mut()?;
        let ended = async {
            loop {
                match child.try_wait() {
                    Ok(Some(status)) => return Some(status),
                    Ok(None) => tokio::time::sleep(LOOK).await,
                    Err(_) => return None,
                }
            }
        };
        let status = tokio::time::timeout(patience, ended).await.ok().flatten();
        if status.is_none() {
            self.kill();
        }
        self.child = None;
        status
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.kill();
    }
}

fn unexpected(message: FromNew) -> UpgradeError {
    match message {
        FromNew::Failed(why) => UpgradeError::Failed(why),
        other => UpgradeError::Failed(format!("it said {other:?} out of turn")),
    }
}
