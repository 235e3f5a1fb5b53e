//! What is asked: zones with every kind of answer, nested and not, and servers that differ in
//! health, identity and cookies.

use std::{fs, path::Path, sync::Arc};

use meridian_config::PopId;
use meridian_dns::{
    abuse::cookie::{Cookies, Secret, Secrets},
    answer::Listed,
    build::build,
    snapshot::{Identity, Snapshot},
    steer::{Standing, View},
};
use meridian_geo_data::ClientMap;
use meridian_health_prober::HealthSnapshot;

/// The key of every server's cookies.
pub(crate) const KEY: [u8; 16] = [9; 16];

const CONFIG: &str = r#"
    [server]
    listen = ["127.0.0.1:0"]
    nsid = "differential"
    state_directory = "state"
    [[pop]]
    name = "fra"
    latitude = 50.03
    longitude = 8.57
    endpoints = ["192.0.2.10", "192.0.2.11", "2001:db8::10"]
    [[pop]]
    name = "iad"
    latitude = 38.95
    longitude = -77.45
    endpoints = ["192.0.2.20", "2001:db8::20"]
    [[pop]]
    name = "nrt"
    latitude = 35.77
    longitude = 140.39
    endpoints = ["192.0.2.30"]
    serves = { continents = ["AS", "OC"] }
    [[pop]]
    name = "ams"
    latitude = 52.31
    longitude = 4.76
    endpoints = ["192.0.2.40", "2001:db8::40"]
    [[geo.network]]
    prefix = "203.0.113.0/24"
    pop = "nrt"
    [[pool]]
    name = "edge"
    pops = ["fra", "iad", "nrt", "ams"]
    fallback = ["192.0.2.250"]
    [[pool]]
    name = "one"
    pops = ["nrt"]
"#;

/// Apex, services with their pools, zone file.
type Zone = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const ZONES: [Zone; 6] = [
    (
        "example.com",
        &[("www", "edge"), ("@", "one"), ("*.apps", "edge")],
        "@ SOA ns1 hostmaster.mail 1 2h 15m 2w 5m
@ NS ns1
@ NS ns2.example.net.
@ NS ns.child
@ MX 10 mail
@ MX 20 mail.example.net.
@ TXT \"v=spf1 mx -all\"
@ CAA 0 issue \"ca.example.net\"
ns1 A 192.0.2.53
ns1 AAAA 2001:db8::53
mail A 192.0.2.25
MAIL 60 AAAA 2001:db8::25
a.ns1 TXT \"below a name server\"
c1 CNAME c2
c2 CNAME c3
c3 CNAME Mail
top CNAME @
loop1 CNAME loop2
loop2 CNAME loop1
self CNAME self
out CNAME www.example.net.
dead CNAME nothing.here
intown CNAME x.town
intosub CNAME www.sub
wildtarget CNAME x.wild
steered CNAME www
steeredwild CNAME q.apps
cut CNAME a.child
inhosted CNAME www.hosted
d DNAME sub2
x.sub2 A 192.0.2.1
*.wild A 192.0.2.2
*.wild AAAA 2001:db8::2
*.wild TXT \"wild\"
*.wild MX 10 mail
*.wild MX 10 mx.wild
*.walias CNAME mail
*.walias2 CNAME deep.in.walias2
*.walias3 CNAME elsewhere.example.org.
*.walias4 CNAME www
*.walias5 CNAME nothing
*.town TXT \"x\"
in.walias2 TXT \"x\"
a.b.ent TXT \"below an empty non-terminal\"
srv SRV 1 2 53 ns1
srv SRV 1 2 53 mail
ptr PTR www
hinfo HINFO a b
child NS ns.child
child NS ns.child2
child NS ns.example.net.
child DS 1 8 2 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A
ns.child A 192.0.2.3
ns.child2 A 192.0.2.4
child2 NS ns.child
child3 NS ns3.elsewhere.test.
hosted NS ns1
www.hosted A 192.0.2.99
svc HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.4
deep.x.y.z.a.b.c.d.e.f A 192.0.2.5
$GENERATE 1-60 big A 198.51.100.$
$GENERATE 1-20 bigtxt TXT \"a text of some length so that this does not fit, number $\"
$GENERATE 1-30 bigns NS ns$.bigns
$GENERATE 1-30 ns$.bigns A 192.0.2.$
",
    ),
    (
        "hosted.example.com",
        &[("svc", "edge")],
        "@ SOA ns.example.com. root 1 2h 15m 2w 1h
@ NS ns.example.com.
www CNAME real
real A 192.0.2.77
up CNAME mail.example.com.
",
    ),
    (
        "Example.NET",
        &[],
        "@ SOA a.root-servers.example. nobody.invalid. 1 2h 15m 2w 1h
@ 30 NS ns2
ns2 A 192.0.2.54
www A 192.0.2.80
www AAAA 2001:db8::80
* TXT \"anything\"
",
    ),
    (
        "alias.test",
        &[],
        "@ SOA ns.alias.test. root.ns.alias.test. 1 2h 15m 2w 0
@ NS ns.example.com.
@ DNAME example.com.
",
    ),
    (
        "8.b.d.0.1.0.0.2.ip6.arpa",
        &[],
        "@ SOA ns.example.com. root.example.com. 1 2h 15m 2w 1h
@ NS ns.example.com.
0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR www.example.com.
",
    ),
    (
        "org",
        &[],
        "@ SOA ns.org. root.org. 1 2h 15m 2w 1h
@ NS ns
ns A 192.0.2.61
*.example A 192.0.2.62
delegated NS ns.delegated
delegated NS ns.other
ns.delegated AAAA 2001:db8::61
ns.other A 192.0.2.63
",
    ),
];

/// Every server that is asked.
pub(crate) fn servers() -> Vec<(&'static str, Snapshot)> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let base = read(folder.path());
    let flat = Snapshot {
        zones: Arc::new(flat(&base)),
        ..base.clone()
    };
    let cookies = |require| Cookies::on(Secrets::new(Secret::new(KEY), None), require);
    let with = |nsid: Option<&[u8]>, stale, cookies| Snapshot {
        identity: Arc::new(Identity {
            nsid: nsid.map(Into::into),
            stale,
            cookies,
            ..(*base.identity).clone()
        }),
        ..base.clone()
    };
    let down = |pops: &[u16]| {
        let pops: Vec<PopId> = pops.iter().map(|pop| PopId(*pop)).collect();
        let health = Arc::new(HealthSnapshot::default());
        Snapshot {
            view: Arc::new(View::with_down(
                &base.steering,
                Arc::new(Standing::none()),
                health,
                &pops,
            )),
            ..with(Some(b"x"), false, cookies(false))
        }
    };
    let networks = ["192.0.2.0/24", "2001:db8::/33"].map(|net| net.parse().expect("a network"));
    let explain = Listed::from(&meridian_config::Explain {
        clients: networks.into(),
    });
    let explained = Snapshot {
        identity: Arc::new(Identity {
            explain,
            ..(*base.identity).clone()
        }),
        ..base.clone()
    };
    vec![
        ("plain", base.clone()),
        ("explained", explained),
        ("one depth of zones", flat),
        ("cookies", with(Some(b"fra1"), false, cookies(false))),
        ("cookies required", with(None, false, cookies(true))),
        ("long nsid", with(Some(&[b'n'; 600]), false, cookies(false))),
        ("stale", with(None, true, cookies(false))),
        ("two down", down(&[0, 3])),
        ("all down", down(&[0, 1, 2, 3])),
    ]
}

/// The zones whose apex has two labels.
fn flat(base: &Snapshot) -> meridian_dns::zone::ZoneSet {
    let two = |zone: &&meridian_dns::zone::Zone| zone.apex().labels().count() == 2;
    let zones = base.zones.iter().filter(two).cloned().map(Arc::new);
    meridian_dns::zone::ZoneSet::new(zones)
}

fn read(folder: &Path) -> Snapshot {
    let mut config = CONFIG.to_owned();
    for (apex, services, text) in ZONES {
        config += &format!("[[zone]]\nname = \"{apex}\"\nfile = \"{apex}.zone\"\n");
        for (name, pool) in services {
            config += &format!("[[zone.service]]\nname = \"{name}\"\npool = \"{pool}\"\n");
        }
        let text = format!("$TTL 1h\n{text}");
        fs::write(folder.join(format!("{apex}.zone")), text).expect("a zone is written");
    }
    let path = folder.join("meridian.toml");
    fs::write(&path, config).expect("a configuration is written");
    let config = meridian_config::load(&path).unwrap_or_else(|error| panic!("{error}"));
    let clients = Arc::new(ClientMap::open(&config.geo).expect("the bundled database"));
    let built = build(&config, clients).unwrap_or_else(|error| panic!("{error}"));
    let view = View::new(
        &built.steering,
        Arc::new(Standing::none()),
        Arc::new(HealthSnapshot::default()),
    );
    Snapshot {
        generation: 1,
        zones: built.zones,
        steering: built.steering,
        view: Arc::new(view),
        identity: built.identity,
    }
}
