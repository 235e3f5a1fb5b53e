//! The guard: may automation withdraw this prefix here and now?
//!
//! 1. Only a fatal finding of this site may withdraw; data too old or dependencies out of reach
//!    never do.
//! 2. A last-resort site never withdraws by itself.
//! 3. Where sites share a store, a permit must say that enough others announce; without a store
//!    nobody can count them, so a fatal finding withdraws.
//! 4. An operator's word passes, always.

use serde::Serialize;

use crate::Finding;

/// What the configuration says of this site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// This site only depreferences.
    pub last_resort: bool,
    /// Sites that must go on announcing.
    pub min_sites: u32,
}

/// What is known about the other sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// No store is shared with other sites.
    NoStore,
    /// The store cannot be reached, or its answer was ambiguous: not held.
    Unavailable,
    /// The store refused: `others` other sites are known to announce.
    Denied {
        /// Other sites known fresh and announcing.
        others: u32,
    },
    /// A lease is held: `others` other sites are known to announce.
    Held {
        /// Other sites known fresh and announcing.
        others: u32,
    },
}

/// Why automation may not withdraw; the prefix is pinned and depreferenced instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub enum Refusal {
    /// The finding is not fatal for this site.
    #[error("withdraw refused: this finding never changes routes")]
    NotFatal,
    /// Rule 2.
    #[error("withdraw refused: this site is the last resort")]
    LastResort,
    /// Rule 3.
    #[error("withdraw refused: would leave {others} < min_sites {min_sites}")]
    TooFewSites {
        /// Other sites known to announce.
        others: u32,
        /// What must be left.
        min_sites: u32,
    },
    /// Rule 3.
    #[error("withdraw refused: the permit store cannot be reached")]
    NoPermit,
}

/// Decides by the four rules above.
///
/// # Errors
/// The refusal, to be shown to operators as it is.
pub fn may_withdraw(site: Site, finding: Finding, permit: Permit) -> Result<(), Refusal> {
    match finding {
        Finding::Operator => return Ok(()),
        Finding::Healthy | Finding::Stale | Finding::Dependency => return Err(Refusal::NotFatal),
        Finding::LocalFatal | Finding::SiteFatal => {}
    }
    if site.last_resort {
        return Err(Refusal::LastResort);
    }
    let too_few = |others| Refusal::TooFewSites {
        others,
        min_sites: site.min_sites,
    };
    match permit {
        Permit::NoStore => Ok(()),
        Permit::Unavailable => Err(Refusal::NoPermit),
        Permit::Denied { others } => Err(too_few(others)),
        // Automation never withdraws the last announcing site, whatever `min_sites` says.
        Permit::Held { others } if others < site.min_sites.max(1) => Err(too_few(others)),
        Permit::Held { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn finding() -> impl Strategy<Value = Finding> {
        prop::sample::select(vec![
            Finding::Healthy,
            Finding::LocalFatal,
            Finding::SiteFatal,
            Finding::Stale,
            Finding::Dependency,
        ])
    }

    fn permit() -> impl Strategy<Value = Permit> {
        prop_oneof![
            Just(Permit::NoStore),
            Just(Permit::Unavailable),
            (0_u32..5).prop_map(|others| Permit::Denied { others }),
            (0_u32..5).prop_map(|others| Permit::Held { others }),
        ]
    }

    #[test]
    fn table() {
        let site = Site {
            last_resort: false,
            min_sites: 2,
        };
        let cases = [
            (Finding::LocalFatal, Permit::NoStore, Ok(())),
            (Finding::SiteFatal, Permit::Held { others: 2 }, Ok(())),
            (
                Finding::SiteFatal,
                Permit::Held { others: 1 },
                Err(Refusal::TooFewSites {
                    others: 1,
                    min_sites: 2,
                }),
            ),
            (
                Finding::LocalFatal,
                Permit::Unavailable,
                Err(Refusal::NoPermit),
            ),
            (Finding::Stale, Permit::NoStore, Err(Refusal::NotFatal)),
            (
                Finding::Dependency,
                Permit::Held { others: 4 },
                Err(Refusal::NotFatal),
            ),
            (Finding::Operator, Permit::Unavailable, Ok(())),
        ];
        for (finding, permit, expected) in cases {
            assert_eq!(
                may_withdraw(site, finding, permit),
                expected,
                "{finding:?} {permit:?}"
            );
        }
        let text = Refusal::TooFewSites {
            others: 1,
            min_sites: 2,
        }
        .to_string();
        assert_eq!(text, "withdraw refused: would leave 1 < min_sites 2");
    }

    proptest! {
        #[test]
        fn row_2_automation_never_leaves_too_few_sites(
            last_resort: bool, min_sites in 0_u32..4, finding in finding(), permit in permit()
        ) {
            let site = Site { last_resort, min_sites };
            if may_withdraw(site, finding, permit).is_ok() {
                prop_assert!(!last_resort);
                prop_assert!(matches!(finding, Finding::LocalFatal | Finding::SiteFatal));
                match permit {
                    Permit::NoStore => {}
                    Permit::Held { others } => prop_assert!(others >= min_sites.max(1)),
                    Permit::Unavailable | Permit::Denied { .. } => prop_assert!(false),
                }
            }
        }
    }
}
