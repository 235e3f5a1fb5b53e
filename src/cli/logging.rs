//! The log: lines for people or JSON, on standard error.

use meridian_config::{Log, LogFormat};
use tracing_subscriber::{EnvFilter, fmt};

/// Writes log lines from now on. A level that cannot be read counts as `info`: the configuration
/// check has already told the operator.
pub(crate) fn start(log: &Log) {
    let filter = filter(&log.level);
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // Fails only when a log was started before, as tests do.
    let _ = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => {
            let color = crate::render::Style::stderr().color();
            builder.with_ansi(color).try_init()
        }
    };
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
    use super::*;

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
