//! From a TOML value to a typed one. Each converter reports what is wrong and returns `None`.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use toml::de::DeValue;

use crate::{
    Ttl,
    duration::{DurationError, parse_duration, parse_signed_ms, write_duration},
    text::{NAME_RULE, alternatives, is_name, is_unprintable, nearest, quote},
    walk::Value,
};

impl<'a> Value<'a> {
    /// A string that is not blank.
    pub(crate) fn text(&self) -> Option<&'a str> {
        let DeValue::String(text) = self.inner else {
            self.wrong_type("a string");
            return None;
        };
        if text.trim().is_empty() {
            self.mistake(
                format!("`{}` is blank", self.name),
                format!("{}, or remove it", self.remedy()),
            );
            return None;
        }
        Some(text)
    }

    /// A string of at most `longest` characters, none of them a control character.
    pub(crate) fn line(&self, longest: usize) -> Option<&'a str> {
        let text = self.text()?;
        if let Some(bad) = text.chars().find(|c| is_unprintable(*c)) {
            let code = u32::from(bad);
            self.mistake(
                format!("`{}` holds the control character U+{code:04X}", self.name),
                "remove it",
            );
            return None;
        }
        if text.chars().count() > longest {
            let message = format!("`{}` is longer than {longest} characters", self.name);
            self.mistake(message, "shorten it");
            return None;
        }
        Some(text)
    }

    /// Visible ASCII without spaces, as it goes onto the wire.
    pub(crate) fn token(&self, longest: usize) -> Option<&'a str> {
        let text = self.line(longest)?;
        if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic()) {
            let what = quote(&bad.to_string());
            self.mistake(
                format!(
                    "`{}` holds {what}, but only visible ASCII may stand here",
                    self.name
                ),
                self.remedy(),
            );
            return None;
        }
        Some(text)
    }

    /// A short name, see [`NAME_RULE`].
    pub(crate) fn name(&self) -> Option<&'a str> {
        let text = self.text()?;
        if is_name(text) {
            return Some(text);
        }
        let lower = text.to_ascii_lowercase();
        let help = if is_name(&lower) {
            format!("write \"{lower}\"")
        } else {
            self.remedy()
        };
        self.mistake(format!("{} is no name: {NAME_RULE}", quote(text)), help);
        None
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self) -> Option<bool> {
        if let DeValue::Boolean(value) = self.inner {
            return Some(*value);
        }
        self.wrong_type("true or false");
        None
    }

    /// An integer within a range.
    pub(crate) fn integer(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let DeValue::Integer(written) = self.inner else {
            if !self.quoted_number() {
                self.wrong_type("a whole number");
            }
            return None;
        };
        let value = i128::from_str_radix(written.as_str(), written.radix()).ok();
        let fits = value.and_then(|v| u32::try_from(v).ok());
        match fits.filter(|v| range.contains(v)) {
            Some(value) => Some(value),
            None => {
                self.out_of_range(range.start(), range.end(), &written.to_string());
                None
            }
        }
    }

    /// A number, whole or not, within a range.
    pub(crate) fn number(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let (value, written) = match self.inner {
            DeValue::Float(f) => (f.as_str().parse::<f64>().ok(), f.to_string()),
            DeValue::Integer(i) => {
                let value = i128::from_str_radix(i.as_str(), i.radix()).ok();
                #[allow(clippy::cast_precision_loss, reason = "the ranges are small")]
                let value = value.map(|v| v as f64);
                (value, i.to_string())
            }
            _ => {
                if !self.quoted_number() {
                    self.wrong_type("a number");
                }
                return None;
            }
        };
        // Not a number lies in no range.
        if let Some(value) = value.filter(|v| range.contains(v)) {
            // −0.0 would make equal settings unequal.
            return Some(if value == 0.0 { 0.0 } else { value });
        }
        self.out_of_range(range.start(), range.end(), &written);
        None
    }

    /// A duration within a range.
    pub(crate) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let text = self.duration_text()?;
        let value = match parse_duration(text) {
            Ok(value) => value,
            Err(error) => {
                self.no_duration(text, error);
                return None;
            }
        };
        if range.contains(&value) {
            return Some(value);
        }
        let (low, high) = (write_duration(*range.start()), write_duration(*range.end()));
        self.out_of_range(&low, &high, text);
        None
    }

    /// A duration of either sign, in milliseconds, at most `limit` either way.
    pub(crate) fn signed_ms(&self, limit: Duration) -> Option<f64> {
        let text = self.duration_text()?;
        match parse_signed_ms(text) {
            Ok(value) if value.abs() <= limit.as_secs_f64() * 1000.0 => {
                Some(if value == 0.0 { 0.0 } else { value })
            }
            Ok(_) => {
                let limit = write_duration(limit);
                self.out_of_range(format!("-{limit}"), &limit, text);
                None
            }
            Err(error) => {
                self.no_duration(text, error);
                None
            }
        }
    }

    /// A TTL: whole seconds up to 2^31 − 1.
    pub(crate) fn ttl(&self) -> Option<Ttl> {
        // RFC 2181 §8: "a TTL value is an unsigned number, with a minimum value of 0, and a
        // maximum value of 2147483647".
        const LIMIT: u32 = 0x7fff_ffff;
        let text = self.duration_text()?;
        let value = self.duration(Duration::ZERO..=Duration::from_secs(u64::from(LIMIT)))?;
        if value.subsec_nanos() != 0 {
            let message = format!(
                "a TTL counts whole seconds, but {} stands here",
                quote(text)
            );
            self.mistake(message, self.remedy());
            return None;
        }
        u32::try_from(value.as_secs()).ok().map(Ttl)
    }

    /// A path, taken from the configuration's directory when relative.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let path = self.at.file.base.join(self.line(4096)?);
        self.at.sink.name_file(path.clone(), self.at.place());
        Some(path)
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help = match nearest(text, known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => self.remedy(),
        };
        let all = alternatives(&known);
        self.mistake(
            format!("`{}` must be {all}, not {}", self.name, quote(text)),
            help,
        );
        None
    }

    /// An IP address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        let text = self.text()?;
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let help = if let Ok(socket) = text.parse::<SocketAddr>() {
            format!("leave out the port: \"{}\"", socket.ip())
        } else if let Ok(net) = text.parse::<IpNet>() {
            format!("leave out the length: \"{}\"", net.addr())
        } else {
            self.remedy()
        };
        self.mistake(format!("{} is no IP address", quote(text)), help);
        None
    }

    /// An address that may stand in an answer.
    pub(crate) fn answer_address(&self) -> Option<IpAddr> {
        let address = self.unicast_address()?;
        // RFC 3927 §2.7: nobody beyond the link reaches it. Next hops are on the link.
        if matches!(address, IpAddr::V4(v4) if v4.is_link_local()) {
            self.out_of_reach(address, "a link-local address");
            return None;
        }
        Some(address)
    }

    /// An address of one host, which others can reach.
    pub(crate) fn unicast_address(&self) -> Option<IpAddr> {
        let address = self.address()?;
        let why = match address {
            _ if address.is_unspecified() => "the unspecified address",
            _ if address.is_multicast() => "a multicast address",
            IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
                let inside = v6.to_canonical();
                self.mistake(
                    format!("{address} is an IPv4 address inside an IPv6 address"),
                    format!("write \"{inside}\""),
                );
                return None;
            }
            IpAddr::V6(v6) if is_link_local(v6) => "a link-local address",
            _ => return Some(address),
        };
        self.out_of_reach(address, why);
        None
    }

    fn out_of_reach(&self, address: IpAddr, why: &str) {
        self.mistake(
            format!("{address} is {why}, which no client can reach"),
            "write an address that clients can connect to",
        );
    }

    /// An address with a port to listen on.
    pub(crate) fn socket(&self) -> Option<SocketAddr> {
        let text = self.text()?;
        if let Ok(socket) = text.parse::<SocketAddr>() {
            if socket.ip().is_multicast() {
                let message = format!("{} is a multicast address", socket.ip());
                self.mistake(message, "write an address of this machine");
                return None;
            }
            return Some(socket);
        }
        let port = self.example.rsplit(':').next().unwrap_or("53");
        let port = port.trim_matches(|c: char| !c.is_ascii_digit());
        let help = if let Ok(address) = text.parse::<IpAddr>() {
            format!(
                "add the port: \"{}\"",
                SocketAddr::new(address, port.parse().unwrap_or(53))
            )
        } else if let Some(port) = text.strip_prefix(':').or_else(|| text.strip_prefix("*:")) {
            match port.parse::<u16>() {
                Ok(port) => format!("name the address too: \"0.0.0.0:{port}\" or \"[::]:{port}\""),
                Err(_) => self.remedy(),
            }
        } else {
            self.remedy()
        };
        self.mistake(format!("{} is no address with a port", quote(text)), help);
        None
    }

    /// A network whose host bits are zero; an address alone counts as a whole-length prefix
    /// when `alone` allows it.
    pub(crate) fn network(&self, alone: bool) -> Option<IpNet> {
        let text = self.text()?;
        if let Ok(address) = text.parse::<IpAddr>() {
            let net = IpNet::from(address);
            if alone {
                return Some(net);
            }
            self.mistake(
                format!("{} has no prefix length", quote(text)),
                format!("write \"{net}\" for this one address"),
            );
            return None;
        }
        let Ok(net) = text.parse::<IpNet>() else {
            self.mistake(format!("{} is no network", quote(text)), self.remedy());
            return None;
        };
        if net.addr() != net.network() {
            self.mistake(
                format!(
                    "{net} has bits set beyond its length of {}",
                    net.prefix_len()
                ),
                format!("write \"{}\"", net.trunc()),
            );
            return None;
        }
        Some(net)
    }

    fn duration_text(&self) -> Option<&'a str> {
        if let DeValue::Integer(_) | DeValue::Float(_) = self.inner {
            self.mistake(
                format!("`{}` needs a unit", self.name),
                format!("a duration is a string: {}", self.remedy()),
            );
            return None;
        }
        self.text()
    }

    fn no_duration(&self, text: &str, error: DurationError) {
        let help = match error {
            DurationError::TooLong | DurationError::Negative => self.remedy(),
            _ => format!("{}; units are ns, us, ms, s, m, h, d and w", self.remedy()),
        };
        self.mistake(format!("the duration {} {error}", quote(text)), help);
    }

    fn out_of_range(&self, low: impl ToString, high: impl ToString, found: &str) {
        let (low, high) = (low.to_string(), high.to_string());
        self.mistake(
            format!(
                "`{}` must lie from {low} to {high}, but is {}",
                self.name,
                quote(found)
            ),
            self.remedy(),
        );
    }

    /// Reports a number in quotes.
    fn quoted_number(&self) -> bool {
        let DeValue::String(text) = self.inner else {
            return false;
        };
        if text.parse::<f64>().is_err() {
            return false;
        }
        self.mistake(
            format!("`{}` must be a number, but stands in quotes", self.name),
            format!("write {}", quote(&format!("{} = {text}", self.name))),
        );
        true
    }
}

/// `fe80::/10` (RFC 4291 §2.5.6).
fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}
