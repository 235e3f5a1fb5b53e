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
    /// Not the protocol of the check, or beyond our limits.
    Protocol(ProtocolFault),
    /// A DNS response code that the check does not expect.
    Rcode(u16),
    /// The address that the check asks for is not among the answers.
    AnswerMismatch,
    /// The certificate is valid, but not for much longer.
    Expiring {
        /// Whole days that are left.
        days: u64,
        /// What the check asks for.
        least: u32,
    },
    /// The program of the check ended so.
    Exit {
        /// Exit status; `None`: ended by a signal.
        code: Option<i32>,
        /// The first line that it wrote, shortened.
        text: String,
    },
    /// Too many of the requests that the load source tells of went wrong.
    Errors {
        /// Errors since the reading before.
        errors: u64,
        /// Requests since then.
        requests: u64,
    },
    /// The gRPC call failed with this status.
    Grpc(u32),
    /// The gRPC health service says something else than SERVING.
    NotServing(u64),
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
    /// Waiting for the answer to a single message.
    Answer,
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
    /// Of a certification authority: where a server shows one made with `openssl req -x509`, which is of
    /// that kind unless told otherwise.
    Authority,
    /// Not issued for the server name.
    WrongName,
    /// On a revocation list.
    Revoked,
    /// Anything else, in the verifier's words.
    Other(String),
}

/// What is wrong with an answer that is not of the protocol of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolFault {
    /// More than 100 headers or more than 16 KiB of them.
    HeadersTooLarge,
    /// The octets are no HTTP/1.1 response.
    NotHttp,
    /// The octets are no HTTP/2 response, or TLS did not agree on HTTP/2.
    NotHttp2,
    /// The body's framing is broken.
    Body,
    /// The octets are no DNS response to the question.
    NotDns,
    /// The octets are no gRPC response.
    NotGrpc,
}

/// Why a probe could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalReason {
    /// No free file descriptor, port or buffer here, or no permission to connect.
    Resources(std::io::ErrorKind, Option<i32>),
    /// The system does not let the group of this process send echo requests.
    NoPing,
    /// The roots or the server name of the check cannot be used.
    TlsSetup(String),
    /// The request cannot be written down (path or host).
    Request,
    /// The program of the check cannot be run.
    Program(std::io::ErrorKind),
    /// The program of the check says that it cannot tell.
    ProgramUnknown(String),
    /// The check sends nothing: readings of the load source are judged.
    NotProbed,
    /// The load source gave nothing to judge.
    Source(String),
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
                Reason::Rcode(_) => "rcode",
                Reason::AnswerMismatch => "answer",
                Reason::Expiring { .. } => "expiring",
                Reason::Exit { .. } => "exit",
                Reason::Grpc(_) => "grpc",
                Reason::NotServing(_) => "not_serving",
                Reason::Errors { .. } => "errors",
            },
        }
    }

    /// Every label there is; the cardinality of the metric is bounded by it.
    pub const LABELS: [&'static str; 20] = [
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
        "rcode",
        "answer",
        "expiring",
        "exit",
        "grpc",
        "not_serving",
        "errors",
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
            Self::Timeout(Phase::Answer) => f.write_str("timeout (answer)"),
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
            Self::Rcode(code) => named(f, "rcode", (*code).into(), &RCODES),
            Self::AnswerMismatch => f.write_str("the address is not among the answers"),
            Self::Expiring { days, least } => {
                write!(
                    f,
                    "certificate ends in {days} days, at least {least} wanted"
                )
            }
            Self::Exit { code, text } => {
                match code {
                    Some(code) => write!(f, "exit status {code}")?,
                    None => f.write_str("ended by a signal")?,
                }
                if text.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {text}")
                }
            }
            Self::Errors { errors, requests } => {
                write!(f, "{errors} of {requests} requests failed")
            }
            Self::Grpc(status) => named(f, "grpc status", *status, &GRPC_CODES),
            Self::NotServing(0) => f.write_str("grpc health: UNKNOWN"),
            Self::NotServing(2) => f.write_str("grpc health: NOT_SERVING"),
            Self::NotServing(3) => f.write_str("grpc health: SERVICE_UNKNOWN"),
            Self::NotServing(other) => write!(f, "grpc health: {other}"),
        }
    }
}

/// A code with its name, where it has one.
fn named(f: &mut fmt::Formatter<'_>, what: &str, code: u32, names: &[&str]) -> fmt::Result {
    let name = usize::try_from(code).ok().and_then(|at| names.get(at));
    match name {
        Some(name) => write!(f, "{what} {code} ({name})"),
        None => write!(f, "{what} {code}"),
    }
}

/// Response codes by number (RFC 1035 §4.1.1).
const RCODES: [&str; 6] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED",
];

/// Status codes of gRPC by number. A health service answers for a service that it does not know with 5;
/// a server without a health service with 12.
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not yet valid",
            Self::UnknownIssuer => "from an unknown issuer",
            Self::Authority => "is a CA's own, not a server's (CA:TRUE): issue one for the server",
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
            Self::NotHttp2 => "not an HTTP/2 response",
            Self::Body => "broken body",
            Self::NotDns => "not a DNS response to the question",
            Self::NotGrpc => "not a gRPC response",
        })
    }
}

impl fmt::Display for LocalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resources(kind, Some(code)) => write!(f, "{kind} here (os error {code})"),
            Self::Resources(kind, None) => write!(f, "{kind} here"),
            Self::NoPing => f.write_str(
                "echo requests are not permitted here (net.ipv4.ping_group_range must hold the server's group)",
            ),
            Self::TlsSetup(text) => f.write_str(text),
            Self::Request => f.write_str("path or host is not valid in a request"),
            Self::Program(kind) => write!(f, "the program cannot be run: {kind}"),
            Self::ProgramUnknown(text) => write!(f, "the program cannot tell: {text}"),
            Self::NotProbed => f.write_str("the check waits for its load source"),
            Self::Source(text) => write!(f, "load source: {text}"),
            Self::Aborted => f.write_str("the probe broke off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_names() {
        for (reason, text) in [
            (Reason::Rcode(3), "rcode 3 (NXDOMAIN)"),
            (Reason::Rcode(9), "rcode 9"),
            (Reason::Grpc(5), "grpc status 5 (NOT_FOUND)"),
            (Reason::Grpc(16), "grpc status 16 (UNAUTHENTICATED)"),
            (Reason::Grpc(u32::MAX), "grpc status 4294967295"),
        ] {
            assert_eq!(reason.to_string(), text);
        }
    }

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
            fail(Reason::Rcode(2)),
            fail(Reason::AnswerMismatch),
            fail(Reason::Expiring { days: 3, least: 14 }),
            fail(Reason::Exit {
                code: Some(2),
                text: String::new(),
            }),
            fail(Reason::Grpc(14)),
            fail(Reason::NotServing(2)),
            fail(Reason::Errors {
                errors: 3,
                requests: 40,
            }),
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
            (
                Reason::Expiring { days: 3, least: 14 },
                "certificate ends in 3 days, at least 14 wanted",
            ),
            (
                Reason::Exit {
                    code: Some(2),
                    text: "CRITICAL - no answer".into(),
                },
                "exit status 2: CRITICAL - no answer",
            ),
            (
                Reason::Exit {
                    code: None,
                    text: String::new(),
                },
                "ended by a signal",
            ),
            (Reason::NotServing(2), "grpc health: NOT_SERVING"),
        ];
        for (reason, text) in texts {
            assert_eq!(Outcome::Fail { reason }.to_string(), text);
        }
    }
}
