//! Abuse: `[cookies]` and `[rate_limit]`.

use std::{fmt, path::PathBuf, time::Duration};

use ipnet::IpNet;

/// `[cookies]`: DNS cookies (RFC 7873, RFC 9018).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookies {
    /// Whether cookies are answered. Default true.
    pub enabled: bool,
    /// The operator's secrets; `None`: a random one for each process.
    pub secrets: Option<CookieSecretFile>,
    /// BADCOOKIE over UDP for clients that send a cookie but not yet ours. Default false.
    pub require: bool,
}

impl Default for Cookies {
    fn default() -> Self {
        Self {
            enabled: true,
            secrets: None,
            require: false,
        }
    }
}

/// A file with the secrets of server cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieSecretFile {
    /// The file.
    pub path: PathBuf,
    /// What it holds, the current one first, at least one. Empty when files with secrets were not
    /// read, or when the last good state is loaded and it has gone.
    pub secrets: Vec<CookieSecret>,
}

/// A secret of server cookies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CookieSecret(pub [u8; 16]);

impl fmt::Debug for CookieSecret {
    /// Never the octets: debug output ends in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieSecret(…)")
    }
}

/// `[rate_limit]`: replies per second over UDP to one client prefix. A rate of 0 limits nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Whether replies are held back. Default off.
    pub mode: RateLimitMode,
    /// Answers from one name. Default 200.
    pub responses_per_second: u32,
    /// Replies without data from one name. Default: as `responses_per_second`, like the rest.
    pub nodata_per_second: u32,
    /// Replies for names that do not exist, from one zone.
    pub nxdomains_per_second: u32,
    /// Referrals to one zone.
    pub referrals_per_second: u32,
    /// Replies with any other response code.
    pub errors_per_second: u32,
    /// Replies of all kinds together. Default 0.
    pub all_per_second: u32,
    /// How long a client that was limited has to keep still, at most. Default 15 s.
    pub window: Duration,
    /// About every how manyth limited reply is sent truncated. Default 2; 0: none.
    pub slip: u8,
    /// Addresses that are counted as one. Default 24 and 56.
    pub prefix: RateLimitPrefix,
    /// Networks that are never limited.
    pub exempt: Vec<IpNet>,
    /// Cells of the table, 8 octets each. Default 1,048,576.
    pub table_size: usize,
}

impl Default for RateLimit {
    fn default() -> Self {
        const RATE: u32 = 200;
        Self {
            mode: RateLimitMode::Off,
            responses_per_second: RATE,
            nodata_per_second: RATE,
            nxdomains_per_second: RATE,
            referrals_per_second: RATE,
            errors_per_second: RATE,
            all_per_second: 0,
            window: Duration::from_secs(15),
            slip: 2,
            prefix: RateLimitPrefix { ipv4: 24, ipv6: 56 },
            exempt: Vec::new(),
            table_size: 1 << 20,
        }
    }
}

/// What becomes of a reply over its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitMode {
    /// Nothing is looked at.
    Off,
    /// It is counted and sent.
    DryRun,
    /// It is counted and held back.
    On,
}

/// `[rate_limit] prefix = { ipv4, ipv6 }`, in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitPrefix {
    /// 1..=32
    pub ipv4: u8,
    /// 1..=128
    pub ipv6: u8,
}
