//! What a configuration needs from files before it can come into force.

use std::collections::HashMap;

use meridian_config::Config;

use crate::{
    load::Access,
    probe::{Anchors, Setups, alpn, client_config, read_login},
};

/// Trust anchors, tokens and passwords that a configuration names, as their files held them.
#[derive(Debug, Default)]
pub struct Prepared {
    /// By name of the check.
    pub(crate) checks: Setups,
    /// By PoP.
    pub(crate) pages: HashMap<String, Access>,
}

impl Prepared {
    /// Reads them. Blocks on files. What cannot be read is kept as that, and stands in the outcome of
    /// whatever needs it.
    pub fn read(config: &Config) -> Self {
        let mut anchors = Anchors::default();
        let checks = config.checks.iter().filter_map(|check| {
            let setup = client_config(check.kind.tls()?, alpn(&check.kind), &mut anchors);
            Some((check.name.clone(), setup))
        });
        let checks = checks.collect();
        let pages = config.pops.iter().filter_map(|pop| {
            let page = pop.load.as_ref()?.kind.page()?;
            let tls = page.tls.as_ref();
            let access = Access {
                tls: tls.map(|tls| client_config(tls, &[b"http/1.1"], &mut anchors)),
                login: page.login.as_ref().map(read_login),
            };
            Some((pop.name.clone(), access))
        });
        let pages = pages.collect();
        Self { checks, pages }
    }
}
