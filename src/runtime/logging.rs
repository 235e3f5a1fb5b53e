//! The log: lines for people or JSON, on standard error.
//!
//! A thread of its own writes them. Whoever reads standard error may stop reading (a pager, a stuck
//! journal), and then a write waits for ever: verdicts and reloads must not. Lines that find no place in
//! the queue are lost, and counted.

use std::sync::OnceLock;

use meridian_config::{Log, LogFormat};
use prometheus::{
    IntCounter,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, fmt};

/// Lines that may wait to be written.
const WAITING: usize = 8192;

static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// Writes log lines from now on, until what it returns is dropped: that waits for the last lines, a second
/// at most. A level that cannot be read counts as `info`: the configuration check has already told the
/// operator.
pub fn start(log: &Log, color: bool) -> WorkerGuard {
    let (writer, guard) = to(std::io::stderr());
    let _ = LOST.set(writer.error_counter());
    let builder = fmt()
        .with_env_filter(filter(&log.level))
        .with_writer(writer)
        .with_target(false);
    // Fails only when a log was started before, as tests do.
    let _ = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(color).try_init(),
    };
    guard
}

fn to(output: impl std::io::Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING)
        .thread_name("log")
        .finish(output)
}

/// `meridian_log_lines_lost_total`.
pub(crate) struct Lost(IntCounter);

impl Lost {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        IntCounter::new(
            "meridian_log_lines_lost_total",
            "Log lines that were not written, since standard error took none",
        )
        .map(Self)
    }
}

impl Collector for Lost {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Counted elsewhere; who asks at the same time has a counter of its own.
        let Ok(Self(counter)) = Self::new() else {
            return Vec::new();
        };
        let lost = LOST.get().map_or(0, ErrorCounter::dropped_lines);
        counter.inc_by(lost.try_into().unwrap_or(u64::MAX));
        counter.collect()
    }
}

/// What would write a line per query or connection, or a second line for an event that the
/// runtime writes already; with the level that is kept.
const QUIET: [(&str, &str); 7] = [
    ("hickory_server", "warn"),
    ("hickory_proto", "warn"),
    ("hyper", "warn"),
    ("hyper_util", "warn"),
    ("rustls", "warn"),
    ("notify", "warn"),
    ("meridian_health_prober::runner", "error"),
];

/// The operator's filter; what it names itself is left as it says.
fn filter(level: &str) -> EnvFilter {
    let mut directives = level.to_owned();
    for (target, kept) in QUIET {
        let library = target.split("::").next().unwrap_or(target);
        if !level.contains(library) {
            directives.push_str(&format!(",{target}={kept}"));
        }
    }
    EnvFilter::try_new(&directives).unwrap_or_else(|_| EnvFilter::new("info,hickory_server=warn"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A reader that takes nothing for as long as it is held.
    struct Stuck(std::sync::mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_does_not_read_holds_nobody_up() {
        let (release, held) = std::sync::mpsc::channel();
        let (mut writer, guard) = to(Stuck(held));
        for _ in 0..WAITING + 100 {
            writer.write_all(b"a line\n").unwrap();
        }
        // One may be with the reader.
        let lost = writer.error_counter().dropped_lines();
        assert!((99..=100).contains(&lost), "{lost}");
        drop((release, guard));
    }

    #[test]
    fn a_query_never_writes_a_line_by_default() {
        let text = filter("info").to_string();
        assert!(text.contains("hickory_server=warn"), "{text}");
        let text = filter("info,hickory_server=debug").to_string();
        assert!(text.contains("hickory_server=debug"), "{text}");
        assert!(!text.contains("hickory_server=warn"), "{text}");
        assert!(filter("no such,,==").to_string().contains("info"));
    }
}
