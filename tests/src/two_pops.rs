//! A world of two PoPs, `fra` and `iad`, with clients beside the first: who gets the second got it by
//! something that was measured.

/// Clients that are told of; on loopback everyone is beside `fra` too.
pub const CLIENTS: &str = "198.51.100.0/24";

/// The zone `example.com` in the file `example.com.zone`.
pub const ZONE: &str = "\
$ORIGIN example.com.
$TTL 300
@ SOA ns hostmaster 1 7200 3600 1209600 300
@ NS ns
ns A 192.0.2.53
";

/// The configuration with the service `www.example.com`: keys of each PoP, of the pool, and everything
/// else.
pub fn config(of_pops: &str, of_pool: &str, more: &str) -> String {
    format!(
        r#"
[[pop]]
name = "fra"
latitude = 50.03
longitude = 8.57
endpoints = ["192.0.2.1"]
{of_pops}

[[pop]]
name = "iad"
latitude = 38.94
longitude = -77.46
endpoints = ["192.0.2.2"]
{of_pops}

[[pool]]
name = "edge"
pops = ["fra", "iad"]
{of_pool}

[[zone]]
name = "example.com"
file = "example.com.zone"

[[zone.service]]
name = "www"
pool = "edge"

[[geo.network]]
prefix = "127.0.0.0/24"
latitude = 50.03
longitude = 8.57

[[geo.network]]
prefix = "{CLIENTS}"
latitude = 50.03
longitude = 8.57

{more}
"#
    )
}

/// Lines for `POST /api/v1/latency`: round trips of as many clients.
pub fn lines(pop: &str, ms: f64, count: usize) -> String {
    let line = |n: usize| {
        let host = n % 256;
        format!("{{\"client\":\"198.51.100.{host}\",\"pop\":\"{pop}\",\"rtt_ms\":{ms}}}\n")
    };
    (0..count).map(line).collect()
}
