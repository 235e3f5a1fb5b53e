//! The wiring as a whole: real files, real sockets on loopback, no query over the network needed.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use meridian_config::{Family, Name};
use meridian_dns::{client::Client, steer};
use meridian_geo_data::latency::{Latency, Reporter, Sample};
use meridian_health_prober::overrides;

use super::{
    Cause, Options, OverrideError, Runtime, StartError, events::EventKind, measure,
    status::PopState,
};

/// A configuration in a folder of its own.
struct World {
    folder: tempfile::TempDir,
}

const ZONE: &str =
    "$TTL 300\n@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.53\n";

impl World {
    fn new() -> Self {
        // In memory where there is room: a disk that others keep busy takes minutes to write a file down.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let world = Self {
            folder: folder.unwrap(),
        };
        fs::write(world.path("example.com.zone"), ZONE).unwrap();
        world.write(&["fra", "iad"], "");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("meridian.toml")
    }

    /// Writes a configuration with these PoPs (no check: always usable).
    fn write(&self, pops: &[&str], more: &str) {
        use std::fmt::Write as _;
        let mut text = String::from(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nstate_directory = \"state\"\nworkers = 1\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n",
        );
        for (i, pop) in pops.iter().enumerate() {
            let longitude = if *pop == "iad" { -77 } else { 8 };
            write!(
                text,
                "[[pop]]\nname = \"{pop}\"\nlatitude = 50\nlongitude = {longitude}\n\
                 endpoints = [\"192.0.2.{}\"]\n",
                i + 1
            )
            .unwrap();
        }
        let names: Vec<_> = pops.iter().map(|p| format!("{p:?}")).collect();
        write!(
            text,
            "[[pool]]\nname = \"edge\"\npops = [{}]\n[[zone]]\nname = \"example.com\"\n\
             file = \"example.com.zone\"\n[[zone.service]]\nname = \"www\"\npool = \"edge\"\n{more}",
            names.join(", ")
        )
        .unwrap();
        fs::write(self.config(), text).unwrap();
    }

    async fn start(&self) -> Result<Runtime, StartError> {
        let options = Options {
            config: self.config(),
            state_directory: None,
        };
        Runtime::start(options).await.map(|(runtime, _)| runtime)
    }
}

/// Name of the PoP that answers a client in Frankfurt.
fn chosen(runtime: &Runtime) -> String {
    let snapshot = runtime.snapshot();
    let name: Name = "www.example.com".parse().unwrap();
    let service = snapshot.steering.service_by_name(&name).unwrap();
    // A German university, as data.
    let client = Client::from_source("141.2.0.1".parse().unwrap());
    let decision = steer::decide(
        &snapshot.steering,
        &snapshot.view,
        service,
        &client,
        Family::V4,
    );
    snapshot
        .steering
        .pop_name(decision.pop.unwrap())
        .unwrap()
        .to_owned()
}

/// The same once measured latency has its say, whatever else the runtime does with it.
fn chosen_by_latency(runtime: &Runtime, latency: &Arc<Latency>) -> String {
    let snapshot = runtime.snapshot();
    let (steering, health) = (&snapshot.steering, runtime.health());
    let inputs = steer::Inputs {
        latency: latency.clone(),
        ..steer::Inputs::default()
    };
    let mut standing = steer::Standing::none();
    // At most 5 % of the clients move at a time.
    for _ in 0..100 {
        standing = standing.next(steering, &health, &inputs);
    }
    let view = steer::View::new(steering, Arc::new(standing), health);
    let name: Name = "www.example.com".parse().unwrap();
    let service = steering.service_by_name(&name).unwrap();
    let client = Client::from_source("141.2.0.1".parse().unwrap());
    let decision = steer::decide(steering, &view, service, &client, Family::V4);
    steering.pop_name(decision.pop.unwrap()).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn round_trips_that_are_told_move_an_answer_and_are_kept() {
    let world = World::new();
    let runtime = world.start().await.unwrap();
    assert_eq!(chosen(&runtime), "fra");
    let nothing = Arc::new(Latency::empty());
    assert_eq!(chosen_by_latency(&runtime, &nothing), "fra");
    let sample = |pop: &str, rtt_ms| Sample {
        prefix: "141.2.0.0/24".parse().unwrap(),
        pop: pop.into(),
        rtt_ms,
        reporter: Reporter::Own,
    };
    // Frankfurt is near, and its way there is broken; Virginia is as far as it is.
    for (pop, rtt_ms) in [("fra", 400.0), ("iad", 95.0)] {
        let outcomes = runtime.take_round_trips("test", vec![sample(pop, rtt_ms); 40]);
        assert!(outcomes.await.iter().all(Result::is_ok));
    }
    let mut measured = runtime.measured().unwrap();
    let both = |published: &measure::Published| published.latency.pairs() == 2;
    let wait = tokio::time::timeout(Duration::from_secs(180), measured.wait_for(both));
    let latency = wait.await.unwrap().unwrap().latency.clone();
    assert_eq!(chosen_by_latency(&runtime, &latency), "iad");
    runtime.shutdown().await;
    // The next one knows it from the start.
    let again = world.start().await.unwrap();
    let mut measured = again.measured().unwrap();
    let wait = tokio::time::timeout(Duration::from_secs(180), measured.wait_for(both));
    let latency = wait.await.unwrap().unwrap().latency.clone();
    assert_eq!(chosen_by_latency(&again, &latency), "iad");
    again.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_latency_is_judged_changes_with_a_reload() {
    let world = World::new();
    let runtime = world.start().await.unwrap();
    let sample = Sample {
        prefix: "141.2.0.0/24".parse().unwrap(),
        pop: "fra".into(),
        rtt_ms: 31.0,
        reporter: Reporter::Own,
    };
    let outcomes = runtime.take_round_trips("test", vec![sample; 6]).await;
    assert!(outcomes.iter().all(Result::is_ok));
    world.write(&["fra", "iad"], "[latency]\nmin_samples = 5\n");
    runtime.reload(Cause::Signal).await.unwrap();
    // A reload returns when what is known is laid out anew.
    let pairs = || runtime.measured().unwrap().borrow().latency.pairs();
    assert_eq!(pairs(), 1);
    world.write(
        &["fra", "iad"],
        "[latency]\nmin_samples = 5\nwindow = \"2h\"\n",
    );
    runtime.reload(Cause::Signal).await.unwrap();
    assert_eq!(pairs(), 0, "under another window nothing has a time");
    runtime.shutdown().await;
}

/// Waits for the copy that is made in the background.
async fn kept(state: &Path) {
    let current = state.join("last-good/current");
    until("the last good state is kept", || current.exists()).await;
}

/// Waits until `met`; panics after a bound that no busy machine or slow disk reaches.
async fn until(what: &str, mut met: impl FnMut() -> bool) {
    for _ in 0..18_000 {
        if met() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn boots_steers_and_stops() {
    let world = World::new();
    let runtime = world.start().await.unwrap();
    assert!(runtime.is_ready());
    assert!(
        runtime
            .addresses()
            .iter()
            .all(|a: &SocketAddr| a.port() != 0)
    );
    assert_eq!(chosen(&runtime), "fra");
    let status = runtime.status();
    assert_eq!(status.pops.len(), 2);
    assert_eq!(status.services[0].name, "www.example.com.");
    assert!(status.alarms.is_empty(), "{:?}", status.alarms);
    assert!(status.config.last_reload_successful);
    runtime.shutdown().await;
    assert!(!runtime.is_ready());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_reload_changes_nothing_and_shows() {
    let world = World::new();
    let runtime = world.start().await.unwrap();
    let (config, zones) = (runtime.config(), runtime.snapshot().zones.clone());
    fs::write(world.config(), "[[pop]]\nname = 5\n").unwrap();
    assert!(runtime.reload(Cause::Signal).await.is_err());
    assert!(Arc::ptr_eq(&runtime.config(), &config));
    assert!(Arc::ptr_eq(&runtime.snapshot().zones, &zones));
    assert_eq!(chosen(&runtime), "fra");
    let status = runtime.status();
    assert!(!status.config.last_reload_successful && status.config.refused.is_some());
    let metrics = prometheus::TextEncoder::new()
        .encode_to_string(&runtime.metrics())
        .unwrap();
    assert!(
        metrics.contains("meridian_config_last_reload_successful 0"),
        "{metrics}"
    );
    assert!(
        runtime
            .events()
            .recent()
            .iter()
            .any(|e| e.kind == EventKind::ReloadRefused)
    );
    // Mended: all is well again.
    world.write(&["iad"], "");
    runtime.reload(Cause::Signal).await.unwrap();
    assert_eq!(chosen(&runtime), "iad");
    assert!(runtime.status().config.last_reload_successful);
    runtime.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_told_until_it_is_undone() {
    let world = World::new();
    let original = fs::read_to_string(world.config()).unwrap();
    let runtime = world.start().await.unwrap();
    let changed = original.replace("workers = 1", "workers = 2");
    fs::write(world.path("token"), "0123456789abcdef").unwrap();
    let with_token = original.replace("[admin]", "[admin]\ntoken_file = \"token\"");
    let elsewhere = original.replace(
        "[admin]\nlisten = \"127.0.0.1",
        "[admin]\nlisten = \"127.0.0.2",
    );
    let latency = "[latency]\nwindow = \"30m\"\nmin_samples = 10\nrows = 100000\n";
    let measuring = format!("{original}\n{latency}");
    for (text, expected) in [
        (&measuring, &[][..]),
        (&changed, &["server.workers"]),
        // Still not in force, although this reload changed nothing.
        (&changed, &["server.workers"]),
        // Token and certificates are in force at once, unlike the address.
        (&with_token, &[]),
        (&elsewhere, &["admin.listen"]),
        (&original, &[]),
    ] {
        fs::write(world.config(), text).unwrap();
        let reloaded = runtime.reload(Cause::Signal).await.unwrap();
        assert_eq!(reloaded.needs_restart, expected);
    }
    runtime.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_steering_test_refuses_the_reload() {
    let world = World::new();
    let runtime = world.start().await.unwrap();
    let test = "[[test]]\nname = \"www.example.com\"\nclient = \"141.2.0.0/24\"\n";
    world.write(&["fra", "iad"], &format!("{test}expect = \"iad\"\n"));
    let mistakes = runtime.reload(Cause::Signal).await.unwrap_err();
    assert!(mistakes.to_string().contains("fra"), "{mistakes}");
    world.write(
        &["fra", "iad"],
        &format!("{test}down = [\"fra\"]\nexpect = \"iad\"\n"),
    );
    runtime.reload(Cause::Signal).await.unwrap();
    runtime.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_change_reloads() {
    let world = World::new();
    let runtime = world.start().await.unwrap();
    world.write(&["iad", "fra2"], "");
    until("the changed file is in force", || {
        runtime.config().pop_by_name("fra2").is_some()
    })
    .await;
    // A zone file counts as well.
    let zones = runtime.snapshot().zones.clone();
    fs::write(world.path("new"), ZONE.replace("192.0.2.53", "192.0.2.54")).unwrap();
    fs::rename(world.path("new"), world.path("example.com.zone")).unwrap();
    until("the changed zone is in force", || {
        !Arc::ptr_eq(&runtime.snapshot().zones, &zones)
    })
    .await;
    runtime.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_reloads_and_no_copy_of_it_is_kept() {
    let world = World::new();
    let original = fs::read_to_string(world.config()).unwrap();
    let with_token = original.replace("[admin]", "[admin]\ntoken_file = \"token\"");
    fs::write(world.config(), with_token).unwrap();
    fs::write(world.path("token"), "0123456789abcdef").unwrap();
    let runtime = world.start().await.unwrap();
    let before = runtime.config();
    fs::write(world.path("new"), "fedcba9876543210").unwrap();
    fs::rename(world.path("new"), world.path("token")).unwrap();
    until("the new token is in force", || {
        !Arc::ptr_eq(&runtime.config(), &before)
    })
    .await;
    runtime.shutdown().await;
    let copies = world.path("state/last-good/**/token");
    let mut copies = glob::glob(copies.to_str().unwrap()).unwrap();
    assert!(copies.next().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn mending_a_file_of_a_refused_configuration_reloads() {
    let world = World::new();
    let runtime = world.start().await.unwrap();
    let file = world.path("new.zone");
    let zone = "[[zone]]\nname = \"example.net\"\nfile = \"new.zone\"\n";
    let zones = || runtime.config().zones.len();
    world.write(&["fra"], zone);
    until("the missing file is told", || {
        runtime.status().config.refused.is_some()
    })
    .await;
    fs::write(&file, "@ SOA").unwrap();
    until("its mistake is told", || {
        let refused = runtime.status().config.refused.unwrap_or_default();
        refused.contains("new.zone:1")
    })
    .await;
    assert_eq!(zones(), 1);
    fs::write(&file, ZONE).unwrap();
    until("the mended file is in force", || zones() == 2).await;
    runtime.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_beats_the_verdict_and_survives_a_restart() {
    let world = World::new();
    let runtime = world.start().await.unwrap();
    assert!(matches!(
        runtime.drain("fro", String::new(), None, "test"),
        Err(OverrideError::NoSuchPop(..))
    ));
    runtime
        .drain("fra", "disks".to_owned(), None, "test")
        .unwrap();
    until("clients leave fra", || chosen(&runtime) == "iad").await;
    assert_eq!(runtime.status().pops[0].state, PopState::Drained);
    // No orderly end: what a kill -9 leaves is what is on the disk already.
    let again = world.start().await.unwrap();
    assert_eq!(chosen(&again), "iad");
    again.undrain("fra", "test").unwrap();
    until("clients come back", || chosen(&again) == "fra").await;
    assert!(matches!(
        again.undrain("fra", "test"),
        Err(OverrideError::NotDrained(_))
    ));
    runtime.shutdown().await;
    again.shutdown().await;
}

/// A tick may search for seconds. A PoP that goes meanwhile leaves the answers at once, while a reload is
/// waiting for the end of that tick too.
#[tokio::test(flavor = "multi_thread")]
async fn a_pop_that_goes_leaves_the_answers_while_a_tick_is_under_way() {
    let world = World::new();
    let runtime = world.start().await.unwrap();
    assert_eq!(chosen(&runtime), "fra");
    let turn = runtime.0.moving.ticking.lock().await;
    let (ends, end) = std::sync::mpsc::channel::<()>();
    let (begins, begun) = tokio::sync::oneshot::channel();
    let (searching, of) = (runtime.clone(), ends);
    let tick = std::thread::spawn(move || {
        let _memory = searching.0.moving.at_work();
        let _ = begins.send(());
        let _ = end.recv();
    });
    begun.await.unwrap();
    runtime.drain("fra", String::new(), None, "test").unwrap();
    until("clients leave fra", || chosen(&runtime) == "iad").await;
    world.write(&["fra", "iad"], "ttl = \"20s\"\n");
    let again = runtime.clone();
    let reload = tokio::spawn(async move { again.reload(Cause::Signal).await });
    // However far the reload has come meanwhile.
    for _ in 0..20 {
        runtime.undrain("fra", "test").unwrap();
        until("clients come back", || chosen(&runtime) == "fra").await;
        runtime.drain("fra", String::new(), None, "test").unwrap();
        until("clients leave again", || chosen(&runtime) == "iad").await;
    }
    assert!(!reload.is_finished());
    drop((of, turn));
    tick.join().unwrap();
    reload.await.unwrap().unwrap();
    assert_eq!(chosen(&runtime), "iad");
    runtime.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_a_defect_ends_is_an_alarm() {
    let world = World::new();
    let runtime = world.start().await.unwrap();
    runtime.spawn("sleeping", async { panic!("on purpose") });
    let told = |alarm: &String| alarm.starts_with("sleeping has ended");
    until("it is told", || runtime.status().alarms.iter().any(told)).await;
    assert_eq!(chosen(&runtime), "fra", "the rest goes on");
    runtime.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_the_old_server_takes_during_an_upgrade_is_the_new_ones_too() {
    let world = World::new();
    let old = world.start().await.unwrap();
    // It has read everything, and is about to take over.
    let new = world.start().await.unwrap();
    old.drain("fra", String::new(), None, "test").unwrap();
    old.0.overrides.close(true);
    let late = old.undrain("fra", "test");
    assert!(matches!(late, Err(OverrideError::HandedOver)));
    new.take_up_overrides();
    until("clients leave fra", || chosen(&new) == "iad").await;
    old.shutdown().await;
    // What comes next is written over a map that has it.
    new.drain("iad", String::new(), None, "test").unwrap();
    new.undrain("iad", "test").unwrap();
    assert_eq!(new.status().pops[0].state, PopState::Drained);
    new.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_that_cannot_be_written_is_an_alarm_until_it_can() {
    let world = World::new();
    let runtime = world.start().await.unwrap();
    let in_the_way = world.path("state/steering.json.new");
    fs::create_dir(&in_the_way).unwrap();
    let alarms = || {
        let alarms = runtime.status().alarms;
        let ours = alarms
            .iter()
            .filter(|one| one.contains("memory of steering"));
        ours.count()
    };
    for _ in 0..3 {
        runtime.keep_for_successor().await;
        assert_eq!(alarms(), 1);
    }
    let events = runtime.events().recent();
    let told = events.iter().filter(|event| event.kind == EventKind::Alarm);
    assert_eq!(told.count(), 1, "once, not every minute");
    fs::remove_dir(&in_the_way).unwrap();
    runtime.keep_for_successor().await;
    assert_eq!(alarms(), 0);
    assert!(world.path("state/steering.json").exists());
    runtime.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_6_the_last_good_state_boots_when_the_files_are_unreadable() {
    let world = World::new();
    let runtime = world.start().await.unwrap();
    kept(&world.path("state")).await;
    runtime.shutdown().await;
    fs::remove_file(world.path("example.com.zone")).unwrap();
    let runtime = world.start().await.unwrap();
    assert_eq!(chosen(&runtime), "fra");
    let status = runtime.status();
    assert!(status.config.last_good && !status.config.last_reload_successful);
    assert!(!status.alarms.is_empty());
    // Mended originals are noticed.
    fs::write(world.path("example.com.zone"), ZONE).unwrap();
    until("the originals are in force", || {
        !runtime.status().config.last_good
    })
    .await;
    assert!(runtime.status().config.last_reload_successful);
    runtime.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_last_good_state_bad_files_do_not_start() {
    let world = World::new();
    fs::remove_file(world.path("example.com.zone")).unwrap();
    let Err(StartError::Config(mistakes)) = world.start().await else {
        panic!("it started")
    };
    assert!(
        mistakes.to_string().contains("example.com.zone"),
        "{mistakes}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_overrides_are_an_alarm_and_are_set_aside() {
    let world = World::new();
    let runtime = world.start().await.unwrap();
    runtime.drain("fra", String::new(), None, "test").unwrap();
    runtime.shutdown().await;
    let file = world.path("state").join(overrides::FILE);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let runtime = world.start().await.unwrap();
    assert_eq!(chosen(&runtime), "fra");
    assert!(!runtime.status().alarms.is_empty());
    let text = prometheus::TextEncoder::new();
    let metrics = text.encode_to_string(&runtime.metrics()).unwrap();
    assert!(metrics.contains("meridian_alarms 1"), "{metrics}");
    assert!(file.with_extension("damaged").exists());
    runtime.drain("iad", String::new(), None, "test").unwrap();
    assert!(runtime.status().alarms.is_empty());
    runtime.shutdown().await;
}

/// A world with a folder of zones beside the entry.
fn with_folder() -> World {
    let world = World::new();
    fs::create_dir(world.path("zones")).unwrap();
    for name in ["a.example", "b.example", "c.example"] {
        fs::write(world.path(&format!("zones/{name}.zone")), ZONE).unwrap();
    }
    let text = fs::read_to_string(world.config()).unwrap();
    fs::write(
        world.config(),
        format!("zone_folders = [\"zones\"]\n{text}"),
    )
    .unwrap();
    world
}

/// The serial of a zone in force; nothing when it is not served.
fn serial(runtime: &Runtime, zone: &str) -> Option<u32> {
    let snapshot = runtime.snapshot();
    let name: Name = zone.parse().unwrap();
    let lower = meridian_dns::zone::LowerName::from(&name);
    let found = snapshot.zones.find(&lower, 6)?;
    let soa = (found.apex() == name).then(|| found.soa())??.first()?;
    let serial = soa.get(soa.len() - 20..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*serial))
}

fn with_serial(serial: u32) -> String {
    ZONE.replace("hostmaster 1", &format!("hostmaster {serial}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_of_a_folder_comes_changes_and_goes_alone() {
    let world = with_folder();
    let runtime = world.start().await.unwrap();
    assert_eq!(runtime.snapshot().zones.len(), 4);
    let config = runtime.config();
    let path = |name: &str| world.path(&format!("zones/{name}.zone"));
    fs::write(path("a.example"), with_serial(2)).unwrap();
    until("the change is in force", || {
        serial(&runtime, "a.example") == Some(2)
    })
    .await;
    fs::write(world.path("new"), with_serial(7)).unwrap();
    fs::rename(world.path("new"), path("d.example")).unwrap();
    until("the new zone is in force", || {
        serial(&runtime, "d.example") == Some(7)
    })
    .await;
    fs::remove_file(path("b.example")).unwrap();
    until("the zone has gone", || {
        serial(&runtime, "b.example").is_none()
    })
    .await;
    assert_eq!(serial(&runtime, "c.example"), Some(1));
    assert!(
        Arc::ptr_eq(&config, &runtime.config()),
        "the rest is not read again"
    );
    runtime.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_zone_among_others_changes_nothing_until_it_is_mended() {
    let world = with_folder();
    let runtime = world.start().await.unwrap();
    fs::write(world.path("zones/a.example.zone"), "@ SOA").unwrap();
    until("the mistake is told", || {
        let refused = runtime.status().config.refused.unwrap_or_default();
        refused.contains("a.example.zone:1")
    })
    .await;
    fs::write(world.path("zones/b.example.zone"), with_serial(2)).unwrap();
    let refusals = || {
        let text = prometheus::TextEncoder::new();
        text.encode_to_string(&runtime.metrics()).unwrap()
    };
    until("the other change is refused with it", || {
        runtime
            .events()
            .recent()
            .iter()
            .filter(|event| event.kind == EventKind::ReloadRefused)
            .count()
            >= 2
    })
    .await;
    assert!(refusals().contains("meridian_config_last_reload_successful 0"));
    assert_eq!(serial(&runtime, "a.example"), Some(1));
    assert_eq!(serial(&runtime, "b.example"), Some(1));
    fs::write(world.path("zones/a.example.zone"), with_serial(3)).unwrap();
    until("both are in force", || {
        (serial(&runtime, "a.example"), serial(&runtime, "b.example")) == (Some(3), Some(2))
    })
    .await;
    assert!(runtime.status().config.last_reload_successful);
    // Mended, so the files are no longer too old to be announced with.
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(runtime.stale(Some(Duration::from_millis(1))), Ok(()));
    runtime.shutdown().await;
}

/// Waits until the last good state has these octets in it.
async fn kept_with(state: &Path, text: &str) {
    let pack = state.join("last-good/zones.pack");
    until("the last good state is kept", || {
        let octets = fs::read(&pack).unwrap_or_default();
        state.join("last-good/current").exists()
            && octets.windows(text.len()).any(|w| w == text.as_bytes())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_6_zones_of_a_folder_boot_from_the_last_good_state() {
    let world = with_folder();
    let runtime = world.start().await.unwrap();
    kept(&world.path("state")).await;
    fs::write(world.path("zones/a.example.zone"), with_serial(12345)).unwrap();
    kept_with(&world.path("state"), "hostmaster 12345").await;
    fs::remove_file(world.path("zones/b.example.zone")).unwrap();
    until("the zone has gone", || {
        serial(&runtime, "b.example").is_none()
    })
    .await;
    // Changes are kept in order.
    fs::write(world.path("zones/c.example.zone"), with_serial(54321)).unwrap();
    kept_with(&world.path("state"), "hostmaster 54321").await;
    runtime.shutdown().await;
    fs::remove_dir_all(world.path("zones")).unwrap();
    let runtime = world.start().await.unwrap();
    assert!(runtime.status().config.last_good);
    assert_eq!(serial(&runtime, "a.example"), Some(12345));
    assert_eq!(serial(&runtime, "b.example"), None);
    assert_eq!(serial(&runtime, "c.example"), Some(54321));
    assert_eq!(chosen(&runtime), "fra");
    fs::create_dir(world.path("zones")).unwrap();
    fs::write(world.path("zones/e.example.zone"), with_serial(9)).unwrap();
    until("the mended folder is in force", || {
        serial(&runtime, "e.example") == Some(9)
    })
    .await;
    assert!(!runtime.status().config.last_good);
    runtime.shutdown().await;
}
