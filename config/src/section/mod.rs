//! One module for each part of the configuration: tables in, model out.

mod abuse;
mod admin;
mod anomalies;
mod bgp;
mod check;
mod explain;
mod geo;
mod latency;
mod load;
mod pool;
mod pop;
mod server;
mod steering;
mod test;
mod zone;

pub(crate) use abuse::{read_cookies, read_rate_limit};
pub(crate) use admin::{read_admin, read_log};
pub(crate) use anomalies::read_anomalies;
pub(crate) use bgp::read_bgp;
pub(crate) use check::read_check;
pub(crate) use explain::read_explain;
pub(crate) use geo::{judge_scopes, read_geo, read_networks};
pub(crate) use latency::read_latency;
pub(crate) use pool::read_pool;
pub(crate) use pop::read_pop;
pub(crate) use server::read_server;
pub(crate) use steering::{default_steering, read_steering};
pub(crate) use test::{World, read_test};
pub(crate) use zone::{judge_zones, read_zone, read_zone_folders};
