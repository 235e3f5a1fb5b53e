//! The guard: may automation withdraw this prefix here and now?
//!
//! 1. Only a fatal finding of this site may withdraw; data too old or dependencies out of reach
//!    never do.
//! 2. A last-resort site never withdraws by itself, and no site does that an operator has pinned.
//! 3. While a dependency is out of reach, new withdrawals are frozen.
//! 4. Where sites share a store, a permit must say that enough others announce and that not too
//!    many are withdrawn already; without a store nobody can count them, so a fatal finding
//!    withdraws.
//! 5. An operator's word passes, always.

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

/// What holds every automatic withdrawal at this moment, whatever was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restraint {
    /// Nothing does.
    Free,
    /// A dependency is out of reach.
    Frozen,
    /// An operator pinned the announcement.
    Pinned,
    /// A dry run asks other sites for nothing.
    DryRun,
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
    /// The store refused: so many sites are withdrawn by automation already.
    TooManyAtOnce {
        /// Other sites that hold a permit.
        withdrawn: u32,
        /// How many may hold one at a time.
        max_concurrent: u32,
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
    /// Rule 2.
    #[error("withdraw refused: pinned by an operator")]
    Pinned,
    /// Rule 3.
    #[error("withdraw refused: a dependency is out of reach, withdrawals are frozen")]
    Frozen,
    /// A dry run asks for no permit.
    #[error("withdraw refused: a dry run asks other sites for no permit")]
    DryRun,
    /// Rule 4.
    #[error("withdraw refused: would leave {others} < min_sites {min_sites}")]
    TooFewSites {
        /// Other sites known to announce.
        others: u32,
        /// What must be left.
        min_sites: u32,
    },
    /// Rule 4.
    #[error(
        "withdraw refused: {withdrawn} other sites are withdrawn already, max_concurrent {max_concurrent}"
    )]
    TooManyAtOnce {
        /// Other sites that hold a permit.
        withdrawn: u32,
        /// How many may hold one at a time.
        max_concurrent: u32,
    },
    /// Rule 4.
    #[error("withdraw refused: the permit store cannot be reached")]
    NoPermit,
}

/// Decides by the rules above.
///
/// # Errors
/// The refusal, to be shown to operators as it is.
pub fn may_withdraw(
    site: Site,
    restraint: Restraint,
    finding: Finding,
    permit: Permit,
) -> Result<(), Refusal> {
    match finding {
        Finding::Operator => return Ok(()),
        Finding::Healthy | Finding::Stale | Finding::Dependency => return Err(Refusal::NotFatal),
        Finding::LocalFatal | Finding::SiteFatal => {}
    }
    if site.last_resort {
        return Err(Refusal::LastResort);
    }
    match restraint {
        Restraint::Pinned => return Err(Refusal::Pinned),
        Restraint::Frozen => return Err(Refusal::Frozen),
        Restraint::DryRun if permit != Permit::NoStore => return Err(Refusal::DryRun),
        Restraint::DryRun | Restraint::Free => {}
    }
    let too_few = |others| Refusal::TooFewSites {
        others,
        min_sites: site.min_sites,
    };
    match permit {
        Permit::NoStore => Ok(()),
        Permit::Unavailable => Err(Refusal::NoPermit),
        Permit::Denied { others } => Err(too_few(others)),
        Permit::TooManyAtOnce {
            withdrawn,
            max_concurrent,
        } => Err(Refusal::TooManyAtOnce {
            withdrawn,
            max_concurrent,
        }),
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
            (0_u32..5).prop_map(|withdrawn| Permit::TooManyAtOnce {
                withdrawn,
                max_concurrent: 1
            }),
            (0_u32..5).prop_map(|others| Permit::Held { others }),
        ]
    }

    fn restraint() -> impl Strategy<Value = Restraint> {
        prop::sample::select(vec![
            Restraint::Free,
            Restraint::Frozen,
            Restraint::Pinned,
            Restraint::DryRun,
        ])
    }

    #[test]
    fn an_operators_word_passes() {
        let site = Site {
            last_resort: true,
            min_sites: 9,
        };
        let operator = may_withdraw(
            site,
            Restraint::Frozen,
            Finding::Operator,
            Permit::Unavailable,
        );
        assert_eq!(operator, Ok(()));
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
                may_withdraw(site, Restraint::Free, finding, permit),
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
            last_resort: bool, min_sites in 0_u32..4, restraint in restraint(), finding in finding(),
            permit in permit()
        ) {
            let site = Site { last_resort, min_sites };
            if may_withdraw(site, restraint, finding, permit).is_ok() {
                prop_assert!(!last_resort);
                prop_assert!(!matches!(restraint, Restraint::Frozen | Restraint::Pinned));
                prop_assert!(matches!(finding, Finding::LocalFatal | Finding::SiteFatal));
                match permit {
                    Permit::NoStore => {}
                    Permit::Held { others } => prop_assert!(others >= min_sites.max(1)),
                    _ => prop_assert!(false, "{permit:?} is no permit"),
                }
            }
        }
    }
}
