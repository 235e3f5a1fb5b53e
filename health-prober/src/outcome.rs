//! What one probe found, with its reason.
//!
//! A failure says what the *target* did. Trouble of our own (no free file descriptor, a
//! certificate authority file that cannot be read) is [`Outcome::Inconclusive`] and moves no
//! verdict: a sick prober must not take healthy PoPs out of answers.

use std::{fmt, time::Duration};

/// Result of one execution of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything the check asks for was true.
    Pass {
        /// Duration of the whole probe.
        rtt: Duration,
    },
    /// The target did not do what the check asks for.
    Fail {
        /// What it did instead.
        reason: Reason,
    },
    /// The probe could not be carried out; it says nothing about the target.
    Inconclusive {
        /// What stood in the way.
        reason: LocalReason,
    },
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing listens on the port.
    Refused,
    /// The network says that it cannot deliver.
    Unreachable,
    /// The connection was reset.
    Reset,
    /// The connection was closed before the answer was whole.
    Closed,
    /// The time was over in this phase.
    Timeout(Phase),
    /// A status that the check does not list.
    Status(u16),
    /// TLS verification refused the certificate.
    Certificate(CertificateFault),
    /// The TLS handshake failed for another reason.
    Tls(String),
    /// The body's first 64 KiB do not contain the text asked for.
    BodyMismatch,
    /// Everything passed, but later than `max_latency`.
    TooSlow {
        /// How long it took.
        took: Duration,
        /// What the check allows.
        limit: Duration,
    },
    /// Not HTTP, or beyond our limits.
    Protocol(ProtocolFault),
}

/// Where a probe was when its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for the connection.
    Connect,
    /// In the TLS handshake.
    Tls,
    /// Waiting for the status line and headers.
    Headers,
    /// Reading the body.
    Body,
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// Past its end.
    Expired,
    /// Before its start.
    NotYetValid,
    /// No path to a trusted root; a self-signed certificate too.
    UnknownIssuer,
    /// Not issued for the server name.
    WrongName,
    /// On a revocation list.
    Revoked,
    /// Anything else, in the verifier's words.
    Other(String),
}

/// What is wrong with an answer that is not HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolFault {
    /// More than 100 headers or more than 16 KiB of them.
    HeadersTooLarge,
    /// The octets are no HTTP/1.1 response.
    NotHttp,
    /// The body's framing is broken.
    Body,
}

/// Why a probe could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalReason {
    /// No free file descriptor, port or buffer here, or no permission to connect.
    Resources(std::io::ErrorKind, Option<i32>),
    /// The roots or the server name of the check cannot be used.
    TlsSetup(String),
    /// The request cannot be written down (path or host).
    Request,
    /// The probe itself broke off.
    Aborted,
}

impl Outcome {
    /// Value of the label `outcome`: one of [`Outcome::LABELS`].
    pub fn label(&self) -> &'static str {
        match self {
            Self::Pass { .. } => "pass",
            Self::Inconclusive { .. } => "inconclusive",
            Self::Fail { reason } => match reason {
                Reason::Refused => "refused",
                Reason::Unreachable => "unreachable",
                Reason::Reset => "reset",
                Reason::Closed => "closed",
                Reason::Timeout(_) => "timeout",
                Reason::Status(_) => "status",
                Reason::Certificate(_) => "certificate",
                Reason::Tls(_) => "tls",
                Reason::BodyMismatch => "body",
                Reason::TooSlow { .. } => "slow",
                Reason::Protocol(_) => "protocol",
            },
        }
    }

    /// Every label there is; the cardinality of the metric is bounded by it.
    pub const LABELS: [&'static str; 13] = [
        "pass",
        "inconclusive",
        "refused",
        "unreachable",
        "reset",
        "closed",
        "timeout",
        "status",
        "certificate",
        "tls",
        "body",
        "slow",
        "protocol",
    ];
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass { .. } => f.write_str("pass"),
            Self::Fail { reason } => reason.fmt(f),
            Self::Inconclusive { reason } => write!(f, "not probed: {reason}"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Reset => f.write_str("connection reset"),
            Self::Closed => f.write_str("connection closed before the answer was whole"),
            Self::Timeout(Phase::Connect) => f.write_str("timeout (connect)"),
            Self::Timeout(Phase::Tls) => f.write_str("timeout (tls)"),
            Self::Timeout(Phase::Headers) => f.write_str("timeout (headers)"),
            Self::Timeout(Phase::Body) => f.write_str("timeout (body)"),
            Self::Status(code) => write!(f, "status {code}"),
            Self::Certificate(fault) => write!(f, "certificate {fault}"),
            Self::Tls(text) => write!(f, "tls: {text}"),
            Self::BodyMismatch => f.write_str("body mismatch"),
            Self::TooSlow { took, limit } => {
                write!(
                    f,
                    "too slow: {} ms, at most {} ms",
                    took.as_millis(),
                    limit.as_millis()
                )
            }
            Self::Protocol(fault) => write!(f, "protocol error: {fault}"),
        }
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not yet valid",
            Self::UnknownIssuer => "from an unknown issuer",
            Self::WrongName => "for another name",
            Self::Revoked => "revoked",
            Self::Other(text) => text,
        })
    }
}

impl fmt::Display for ProtocolFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeadersTooLarge => "headers too large",
            Self::NotHttp => "not an HTTP response",
            Self::Body => "broken body",
        })
    }
}

impl fmt::Display for LocalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resources(kind, Some(code)) => write!(f, "{kind} here (os error {code})"),
            Self::Resources(kind, None) => write!(f, "{kind} here"),
            Self::TlsSetup(text) => f.write_str(text),
            Self::Request => f.write_str("path or host is not valid in a request"),
            Self::Aborted => f.write_str("the probe broke off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_listed() {
        let fail = |reason| Outcome::Fail { reason };
        let all = [
            Outcome::Pass {
                rtt: Duration::ZERO,
            },
            Outcome::Inconclusive {
                reason: LocalReason::Aborted,
            },
            fail(Reason::Refused),
            fail(Reason::Unreachable),
            fail(Reason::Reset),
            fail(Reason::Closed),
            fail(Reason::Timeout(Phase::Tls)),
            fail(Reason::Status(503)),
            fail(Reason::Certificate(CertificateFault::Expired)),
            fail(Reason::Tls(String::new())),
            fail(Reason::BodyMismatch),
            fail(Reason::TooSlow {
                took: Duration::ZERO,
                limit: Duration::ZERO,
            }),
            fail(Reason::Protocol(ProtocolFault::Body)),
        ];
        let labels: Vec<_> = all.iter().map(Outcome::label).collect();
        assert_eq!(labels, Outcome::LABELS);
    }

    #[test]
    fn reasons_read_well() {
        let texts = [
            (Reason::Status(503), "status 503"),
            (
                Reason::Certificate(CertificateFault::Expired),
                "certificate expired",
            ),
            (Reason::Timeout(Phase::Headers), "timeout (headers)"),
            (
                Reason::TooSlow {
                    took: Duration::from_millis(310),
                    limit: Duration::from_millis(250),
                },
                "too slow: 310 ms, at most 250 ms",
            ),
        ];
        for (reason, text) in texts {
            assert_eq!(Outcome::Fail { reason }.to_string(), text);
        }
    }
}
