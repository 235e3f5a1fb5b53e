//! From files to answers, and from one state to the next.

use std::{fs, net::SocketAddr};

use meridian_health_prober::HealthSnapshot;

use super::*;
use crate::{
    answer::{Meta, Outcome, Transport, respond},
    snapshot::Snapshot,
    steer::{Standing, View},
    types::UnixTime,
};

const CONFIG: &str = r#"
    [server]
    nsid = "fra1"
    [[pop]]
    name = "fra"
    latitude = 50.0
    longitude = 8.6
    endpoints = ["192.0.2.10", "2001:db8::10"]
    [[pop]]
    name = "nrt"
    latitude = 35.8
    longitude = 140.4
    endpoints = ["192.0.2.20"]
    [[pool]]
    name = "edge"
    pops = ["fra", "nrt"]
    [[geo.network]]
    prefix = "203.0.113.0/24"
    latitude = 35.0
    longitude = 139.0
    [[zone]]
    name = "example.com"
    file = "example.com.zone"
    [[zone.service]]
    name = "www"
    pool = "edge"
    [[zone.service]]
    name = "@"
    pool = "edge"
    [[zone]]
    name = "example.org"
    file = "example.org.zone"
    [[zone.service]]
    name = "*.geo"
    pool = "edge"
"#;

const HEAD: &str = "$TTL 300\n@ SOA ns root 1 2 3 4 60\n@ NS ns\nns A 192.0.2.53\n";

fn build_with(com: &str, org: &str) -> Result<Built, Diagnostics> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meridian.toml");
    fs::write(&path, CONFIG).unwrap();
    fs::write(folder.path().join("example.com.zone"), [HEAD, com].concat()).unwrap();
    fs::write(folder.path().join("example.org.zone"), [HEAD, org].concat()).unwrap();
    let config = meridian_config::load(&path)?;
    let clients = Arc::new(ClientMap::open(&config.geo)?);
    build(&config, clients)
}

/// A query for `name` with ECS 203.0.113.0/24.
fn query(name: &str, qtype: u16) -> Vec<u8> {
    let name: meridian_config::Name = name.parse().unwrap();
    let mut octets = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    octets.extend(name.as_wire());
    octets.extend(qtype.to_be_bytes());
    octets.extend([0, 1, 0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 11]);
    octets.extend([0, 8, 0, 7, 0, 1, 24, 0, 203, 0, 113]);
    octets
}

#[test]
fn from_files_to_an_answer() {
    let built = build_with("mail MX 10 ns\n", "").unwrap();
    assert_eq!((built.zones.len(), built.files.len()), (2, 2));
    let view = View::new(
        &built.steering,
        Arc::new(Standing::none()),
        Arc::new(HealthSnapshot::default()),
    );
    let snapshot = Snapshot {
        generation: 1,
        zones: built.zones,
        steering: built.steering,
        view: Arc::new(view),
        identity: built.identity,
    };
    let source: SocketAddr = "192.0.2.1:53".parse().unwrap();
    let meta = Meta {
        source,
        transport: Transport::Udp,
        now: UnixTime::default(),
    };
    for (name, service) in [
        ("www.example.com", 0),
        ("example.com", 1),
        ("x.geo.example.org", 2),
    ] {
        let mut out = Vec::new();
        let outcome = respond(&snapshot, &query(name, rtype::A), &meta, &mut out);
        let Outcome::Reply(summary) = outcome else {
            panic!("dropped");
        };
        let steered = summary.steered.unwrap();
        assert_eq!(steered.service, crate::types::ServiceId(service));
        assert_eq!(
            steered.pop,
            Some(meridian_config::PopId(1)),
            "nearest to Tokyo"
        );
        assert!(out.windows(4).any(|octets| octets == [192, 0, 2, 20]));
        let ecs = &out[out.len() - 11..];
        assert_eq!(ecs[..6], [0, 8, 0, 7, 0, 1]);
        assert_eq!(ecs[7], 24, "scope of the operator's network");
    }
}

#[test]
fn every_mistake_of_every_zone_is_told() {
    let error = build_with("www A 192.0.2.1\n", "geo DNAME example.net.\n");
    let mistakes: Vec<String> = error
        .err()
        .unwrap()
        .0
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "www.example.com. cannot be a service: the zone file has static addresses at this \
         name (remove the A record at",
        "*.geo.example.org. cannot be a service: the name is below a DNAME (",
    ];
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    for (mistake, expected) in mistakes.iter().zip(expected) {
        assert!(mistake.contains(expected), "{mistake}");
    }
}

/// A configuration whose zones stand in a folder; one of them has a service by a `[[zone]]`.
struct World {
    folder: tempfile::TempDir,
}

const FOLDERS: &str = r#"
    zone_folders = ["zones"]
    [[pop]]
    name = "fra"
    latitude = 50.0
    longitude = 8.6
    endpoints = ["192.0.2.10"]
    [[pool]]
    name = "edge"
    pops = ["fra"]
    [[zone]]
    name = "b.example"
    file = "zones/b.example.zone"
    [[zone.service]]
    name = "www"
    pool = "edge"
"#;

impl World {
    fn new() -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(world.folder.path().join("zones")).unwrap();
        world.config(FOLDERS);
        for name in ["a.example", "b.example", "C.example"] {
            world.zone(name, "");
        }
        world.zone("README", "");
        fs::write(world.path("README"), "no zone").unwrap();
        fs::remove_file(world.path("README.zone")).unwrap();
        fs::write(world.path(".a.example.zone"), "left by an editor").unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("zones").join(name)
    }

    fn config(&self, text: &str) {
        fs::write(self.folder.path().join("meridian.toml"), text).unwrap();
    }

    /// Writes a zone under a name of its own, so that it has another inode.
    fn zone(&self, name: &str, more: &str) -> PathBuf {
        let path = self.path(&format!("{name}.zone"));
        fs::write(self.path(".new"), [HEAD, more].concat()).unwrap();
        fs::rename(self.path(".new"), &path).unwrap();
        path
    }

    fn load(&self, before: Option<&(Config, Built)>) -> Result<(Config, Built), Diagnostics> {
        let config = meridian_config::load(&self.folder.path().join("meridian.toml"))?;
        let clients = before.map(|(_, built)| built.steering.shared_clients());
        let clients = match clients {
            Some(clients) => clients,
            None => Arc::new(ClientMap::open(&config.geo)?),
        };
        let before = before.map(|(config, built)| Before { config, built });
        let built = rebuild(&config, clients, before, means())?;
        Ok((config, built))
    }
}

fn means() -> Means<'static> {
    Means {
        texts: &Disk { doubt: None },
        workers: 2,
    }
}

fn zone(built: &Built, name: &str) -> Option<Zone> {
    let name: Name = name.parse().unwrap();
    let found = built.zones.find(&LowerName::from(&name), rtype::SOA)?;
    (found.apex() == name).then(|| found.clone())
}

fn same(a: &Built, b: &Built, name: &str) -> bool {
    zone(a, name).unwrap().is(&zone(b, name).unwrap())
}

fn told(result: Result<(Config, Built), Diagnostics>) -> String {
    result.err().unwrap().to_string()
}

#[test]
fn every_zone_file_of_a_folder_is_a_zone() {
    let world = World::new();
    let (_, built) = world.load(None).unwrap();
    assert_eq!((built.zones.len(), built.files.len()), (3, 3));
    assert!(zone(&built, "c.example").is_some());
    let service: Name = "www.b.example".parse().unwrap();
    assert!(built.steering.service_by_name(&service).is_some());
    assert!(built.files.concerns(&world.path("new.example.zone")));
    assert!(!built.files.concerns(&world.path("README")));
    assert!(!built.files.concerns(&world.path(".a.example.zone")));
    assert_eq!(built.files.differing(&Disk::default()), [] as [PathBuf; 0]);
}

#[test]
fn a_reload_reads_only_what_changed() {
    let world = World::new();
    let first = world.load(None).unwrap();
    let again = world.load(Some(&first)).unwrap();
    assert!(Arc::ptr_eq(&first.1.zones, &again.1.zones));
    assert!(Arc::ptr_eq(&first.1.steering, &again.1.steering));
    world.zone("a.example", "new A 192.0.2.1\n");
    // Touched, but the same text.
    world.zone("c.example", "");
    fs::remove_file(world.path("C.example.zone")).unwrap();
    let next = world.load(Some(&first)).unwrap();
    assert!(!same(&first.1, &next.1, "a.example"));
    assert!(same(&first.1, &next.1, "b.example"));
    assert!(Arc::ptr_eq(&first.1.steering, &next.1.steering));
    let (put, gone) = next.1.files.changes_since(&first.1.files);
    let put: Vec<_> = put.into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        put,
        [world.path("a.example.zone"), world.path("c.example.zone")]
    );
    assert_eq!(gone, [world.path("C.example.zone")]);
    // Another number for the service of b.example.
    let text = "[[zone]]\nname = \"a.example\"\nfile = \"zones/a.example.zone\"\n\
                [[zone.service]]\nname = \"www\"\npool = \"edge\"\n[[zone]]\nname = \"b.example\"";
    world.config(&FOLDERS.replacen("[[zone]]\n    name = \"b.example\"", text, 1));
    let more = world.load(Some(&next)).unwrap();
    assert!(!same(&next.1, &more.1, "a.example"));
    assert!(!same(&next.1, &more.1, "b.example"));
    assert!(same(&next.1, &more.1, "c.example"));
}

#[test]
fn one_changed_file_concerns_one_zone() {
    let world = World::new();
    let (config, first) = world.load(None).unwrap();
    let changed = |before: &Built, paths: &[PathBuf]| with_files(&config, before, paths, means());
    let path = world.zone("a.example", "new A 192.0.2.1\n");
    let put = world.zone("d.example", "");
    let next = changed(&first, &[path.clone(), put.clone()]).unwrap();
    assert_eq!((next.zones.len(), next.files.len()), (4, 4));
    assert!(same(&first, &next, "b.example"));
    assert!(!same(&first, &next, "a.example"));
    assert_eq!(next.files.differing(&Disk::default()), [] as [PathBuf; 0]);
    // Written again without a change: nothing to publish.
    world.zone("a.example", "new A 192.0.2.1\n");
    let idle = changed(&next, std::slice::from_ref(&path)).unwrap();
    assert!(Arc::ptr_eq(&next.zones, &idle.zones));
    fs::remove_file(&put).unwrap();
    assert_eq!(
        idle.files.differing(&Disk::default()),
        std::slice::from_ref(&put)
    );
    let last = changed(&idle, &[put]).unwrap();
    assert_eq!((last.zones.len(), last.files.len()), (3, 3));
    assert!(zone(&last, "d.example").is_none());
}

#[test]
fn a_broken_or_missing_file_among_many_refuses_the_change() {
    let world = World::new();
    let (config, first) = world.load(None).unwrap();
    let refused = |paths: &[PathBuf]| {
        let result = with_files(&config, &first, paths, means());
        result.err().unwrap().to_string()
    };
    let good = world.zone("a.example", "new A 192.0.2.1\n");
    let broken = world.zone("C.example", "new A 192.0.2\n");
    let text = refused(&[good, broken.clone()]);
    assert!(text.contains("C.example.zone:5:"), "{text}");
    fs::remove_file(world.path("b.example.zone")).unwrap();
    let text = refused(&[world.path("b.example.zone")]);
    assert!(text.contains("no such file"), "a listed one: {text}");
    let misnamed = world.zone("x..example", "");
    let text = refused(&[misnamed]);
    assert!(text.contains("names no zone: a label is empty"), "{text}");
}

#[test]
fn a_folder_that_has_been_emptied_refuses_the_change() {
    let world = World::new();
    let (config, first) = world.load(None).unwrap();
    let names = ["a.example.zone", "b.example.zone", "C.example.zone"];
    let paths = names.map(|name| world.path(name));
    fs::remove_file(&paths[0]).unwrap();
    fs::remove_file(&paths[2]).unwrap();
    assert!(with_files(&config, &first, &paths, means()).is_ok());
    world.config(&FOLDERS[..FOLDERS.find("[[zone]]").unwrap()]);
    let unlisted = World::new();
    unlisted.config(&FOLDERS[..FOLDERS.find("[[zone]]").unwrap()]);
    let (config, first) = unlisted.load(None).unwrap();
    let paths = names.map(|name| unlisted.path(name));
    paths.iter().for_each(|path| fs::remove_file(path).unwrap());
    let text = with_files(&config, &first, &paths, means())
        .err()
        .unwrap()
        .to_string();
    assert!(text.contains("holds no zone file any more"), "{text}");
    assert!(told(unlisted.load(None)).contains("holds no zone file"));
    fs::remove_dir_all(unlisted.path("")).unwrap();
    let text = told(unlisted.load(None));
    assert!(
        text.contains("zone_folders[0]") && text.contains("cannot be read"),
        "{text}"
    );
}

#[test]
fn one_zone_in_two_files_is_a_mistake() {
    let world = World::new();
    let (config, first) = world.load(None).unwrap();
    let second = world.zone("A.EXAMPLE", "");
    let told_of = |text: String| {
        assert!(
            text.contains("is read from") && text.contains("a.example.zone"),
            "{text}"
        );
    };
    told_of(told(world.load(None)));
    told_of(
        with_files(&config, &first, &[second], means())
            .err()
            .unwrap()
            .to_string(),
    );
}

#[test]
fn a_service_that_a_zone_of_a_folder_hides_is_a_mistake() {
    let world = World::new();
    let (config, first) = world.load(None).unwrap();
    let below = world.zone("www.b.example", "");
    let expected = "www.b.example. is answered from zone www.b.example.";
    assert!(told(world.load(None)).contains(expected));
    let refused = with_files(&config, &first, &[below], means());
    assert!(refused.err().unwrap().to_string().contains(expected));
}

#[test]
fn an_included_file_concerns_every_zone_that_includes_it() {
    let world = World::new();
    let common = world.path("common.inc");
    fs::write(&common, "mail A 192.0.2.25\n").unwrap();
    world.zone("a.example", "$INCLUDE common.inc\n");
    world.zone("b.example", "$INCLUDE common.inc\n");
    let before = world.load(None).unwrap();
    assert!(before.1.files.concerns(&common));
    fs::write(&common, "mail A 192.0.2.26\nmore A 192.0.2.27\n").unwrap();
    assert_eq!(before.1.files.differing(&Disk::default()).len(), 2);
    let paths = [common];
    let after = with_files(&before.0, &before.1, &paths, means()).unwrap();
    for (name, unchanged) in [("a", false), ("b", false), ("c", true)] {
        let name = format!("{name}.example");
        assert_eq!(same(&before.1, &after, &name), unchanged, "{name}");
    }
    let whole = world.load(Some(&before)).unwrap();
    assert_eq!(whole.1.files.len(), 3);
    assert!(!same(&before.1, &whole.1, "a.example"));
}
