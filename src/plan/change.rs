//! What is to be changed, and a configuration with the change in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use meridian_config::{Config, Coordinates, Fence, Pool, Pop, PopId, Weight};

/// Most PoPs that can be added.
const MAX_ADDED: usize = 250;

/// A change to plan for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Change {
    /// PoPs that an operator drains.
    pub(crate) drain: Vec<String>,
    /// PoPs that are taken as down.
    pub(crate) fail: Vec<String>,
    /// PoPs that do not exist yet.
    pub(crate) add: Vec<Addition>,
    /// Other weights of PoPs.
    pub(crate) weight: Vec<(String, u32)>,
}

/// A PoP that does not exist yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Addition {
    /// Its name.
    pub(crate) name: String,
    /// Where it will stand.
    pub(crate) location: Coordinates,
    /// Its weight.
    pub(crate) weight: u32,
    /// In the unit of the load source; `None`: not known.
    pub(crate) capacity: Option<f64>,
}

/// Why a change cannot be planned for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    /// There is no such PoP.
    #[error("there is no PoP named `{name}`{}", suggestion(.nearest.as_deref()))]
    UnknownPop {
        /// What was asked for.
        name: String,
        /// The known name most like it.
        nearest: Option<String>,
    },
    /// A PoP of that name exists.
    #[error("there is a PoP named `{0}` already; choose another name to add")]
    Exists(String),
    /// Too many.
    #[error("at most {MAX_ADDED} PoPs can be added")]
    TooMany,
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

impl Change {
    /// The configuration with PoPs added to `pools` (those of the planned services) and with the
    /// other weights. An added PoP has an address of each family that no network uses.
    ///
    /// # Errors
    /// A name that is not known, or known already.
    pub(crate) fn apply(
        &self,
        config: &Config,
        pools: impl Fn(&Pool) -> bool,
    ) -> Result<Config, ChangeError> {
        let mut config = config.clone();
        if self.add.len() > MAX_ADDED {
            return Err(ChangeError::TooMany);
        }
        for (number, addition) in self.add.iter().enumerate() {
            if config.pops.iter().any(|pop| pop.name == addition.name) {
                return Err(ChangeError::Exists(addition.name.clone()));
            }
            let pop = addition.pop(&config.pops, number);
            let id = PopId(u16::try_from(config.pops.len()).map_err(|_| ChangeError::TooMany)?);
            config.pops.extend(pop);
            for pool in config.pools.iter_mut().filter(|pool| pools(pool)) {
                pool.pops.push(id);
            }
        }
        for (name, weight) in &self.weight {
            let id = find(&config, name)?;
            if let Some(pop) = config.pops.get_mut(id.index()) {
                pop.weight = Weight(*weight);
            }
        }
        for name in self.drain.iter().chain(&self.fail) {
            find(&config, name)?;
        }
        Ok(config)
    }

    /// The change in words, a line each.
    pub(crate) fn lines(&self, before: &Config) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.drain.iter().map(|name| format!("drain {name}")));
        lines.extend(self.fail.iter().map(|name| format!("fail {name}")));
        for one in &self.add {
            let at = &one.location;
            lines.push(format!(
                "add {} at {:.2}, {:.2}, weight {}",
                one.name, at.latitude, at.longitude, one.weight
            ));
        }
        for (name, weight) in &self.weight {
            let pop = before.pops.iter().find(|pop| pop.name == *name);
            let was = pop.map_or(0, |pop| pop.weight.0);
            lines.push(format!("weight of {name} {was} -> {weight}"));
        }
        lines
    }
}

impl Addition {
    /// The PoP, made after another one of which everything is undone that is its own.
    fn pop(&self, others: &[Pop], number: usize) -> Option<Pop> {
        let number = u32::try_from(number).ok()?;
        let v4 = IpAddr::V4(Ipv4Addr::from_bits(0xf000_0001 + number));
        let v6 = IpAddr::V6(Ipv6Addr::from_bits(
            0x0100 << 112 | u128::from(number) << 64 | 1,
        ));
        Some(Pop {
            name: self.name.clone(),
            location: self.location,
            weight: Weight(self.weight),
            bias_ms: 0.0,
            endpoints: vec![v4, v6],
            serves: Fence::default(),
            capacity: self.capacity,
            // Its load will be known as that of the others is.
            load: self
                .capacity
                .and(others.iter().find_map(|pop| pop.load.clone())),
            ..others.first()?.clone()
        })
    }
}

/// The PoP of that name.
///
/// # Errors
/// There is none; the nearest known name is suggested.
pub(crate) fn find(config: &Config, name: &str) -> Result<PopId, ChangeError> {
    let at = config.pops.iter().position(|pop| pop.name == name);
    at.and_then(|at| u16::try_from(at).ok())
        .map(PopId)
        .ok_or_else(|| ChangeError::UnknownPop {
            name: name.to_owned(),
            nearest: nearest(name, config.pops.iter().map(|pop| pop.name.as_str())),
        })
}

/// The known name most like the one given, if it is like it at all.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let name = name.to_lowercase();
    known
        .map(|one| (strsim::damerau_levenshtein(&one.to_lowercase(), &name), one))
        .min()
        .filter(|(edits, one)| *edits <= one.len().max(name.len()).div_ceil(2).min(3))
        .map(|(_, one)| one.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::world::testing::config;

    #[test]
    fn a_change_is_made_to_a_copy() {
        let before = config(&[("fra", 50.0, 8.6), ("iad", 38.9, -77.4)]);
        let change = Change {
            add: vec![Addition {
                name: "ber".to_owned(),
                location: Coordinates {
                    latitude: 52.5,
                    longitude: 13.4,
                },
                weight: 7,
                capacity: None,
            }],
            weight: vec![("fra".to_owned(), 5)],
            fail: vec!["ber".to_owned()],
            ..Change::default()
        };
        let after = change.apply(&before, |_| true).unwrap();
        assert_eq!(after.pops.len(), 3);
        assert_eq!(after.pops[2].name, "ber");
        assert_eq!(after.pops[0].weight, Weight(5));
        assert_eq!(after.pools[0].pops.len(), 3);
        let untouched = change.apply(&before, |_| false).unwrap();
        assert_eq!(untouched.pools[0].pops.len(), 2);
        let right = [
            "fail ber",
            "add ber at 52.50, 13.40, weight 7",
            "weight of fra 100 -> 5",
        ];
        assert_eq!(change.lines(&before), right);
        assert_eq!(
            change.apply(&after, |_| true).unwrap_err().to_string(),
            "there is a PoP named `ber` already; choose another name to add"
        );
    }

    #[test]
    fn an_unknown_name_comes_with_the_nearest() {
        let config = config(&[("fra", 50.0, 8.6), ("iad", 38.9, -77.4)]);
        for (name, right) in [
            ("fro", "there is no PoP named `fro`; did you mean `fra`?"),
            ("FRA", "there is no PoP named `FRA`; did you mean `fra`?"),
            ("somewhere", "there is no PoP named `somewhere`"),
            ("", "there is no PoP named ``"),
        ] {
            let change = Change {
                drain: vec![name.to_owned()],
                ..Change::default()
            };
            assert_eq!(
                change.apply(&config, |_| true).unwrap_err().to_string(),
                right
            );
        }
    }
}
