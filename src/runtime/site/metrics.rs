//! Metrics of the site.

use meridian_bgp_control::{
    Event,
    session::{PeerStatus, SessionState},
};
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::words::stage_name;

/// Handles of the metrics that the site sets.
#[derive(Clone, Debug)]
pub(in crate::runtime) struct SiteMetrics {
    session_up: IntGaugeVec,
    announced: IntGaugeVec,
    transitions: IntCounterVec,
}

impl SiteMetrics {
    /// Creates and registers all of them.
    ///
    /// # Errors
    /// When a name is registered already.
    pub(in crate::runtime) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name, help, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            session_up: gauge(
                "meridian_bgp_session_up",
                "1 while the BGP session with a peer is established",
                &["peer"],
            )?,
            announced: gauge(
                "meridian_bgp_announced",
                "1 while a peer holds the route to a prefix from this server",
                &["prefix", "peer"],
            )?,
            transitions: IntCounterVec::new(
                Opts::new(
                    "meridian_bgp_transitions_total",
                    "Changes of the stage of a prefix, by the stage entered and the reason",
                ),
                &["prefix", "to", "reason"],
            )?,
        };
        registry.register(Box::new(metrics.session_up.clone()))?;
        registry.register(Box::new(metrics.announced.clone()))?;
        registry.register(Box::new(metrics.transitions.clone()))?;
        Ok(metrics)
    }

    /// What peers hold now; prefixes are named as configured.
    pub(super) fn peers(&self, peers: &[PeerStatus], prefixes: &[ipnet::IpNet]) {
        self.session_up.reset();
        self.announced.reset();
        for peer in peers {
            let up = peer.state == SessionState::Established;
            self.session_up
                .with_label_values(&[peer.name.as_str()])
                .set(i64::from(up));
            let held = peer.routes.iter().map(|route| route.prefix);
            for prefix in prefixes.iter().copied().chain(held.clone()) {
                let holds = up && held.clone().any(|route| route == prefix);
                self.announced
                    .with_label_values(&[prefix.to_string().as_str(), peer.name.as_str()])
                    .set(i64::from(holds));
            }
        }
    }

    /// A prefix changed its stage.
    pub(super) fn transition(&self, event: &Event) {
        if let (Some(prefix), Some((_, to))) = (event.prefix, event.change) {
            let prefix = prefix.to_string();
            self.transitions
                .with_label_values(&[&prefix, stage_name(to), event.cause.as_str()])
                .inc();
        }
    }
}
