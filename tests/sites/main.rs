//! Three sites of one prefix on loopback against one BIRD, sharing a permit store.
//!
//! ```text
//! site 127.0.0.3 ┐ Controller + Keeper + Speaker
//! site 127.0.0.4 ┼──→ bird 127.0.0.2: which paths does it have?
//! site 127.0.0.5 ┘        MemoryStore: shared by the three
//! ```

mod bird;
mod site;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use meridian_bgp_control::{Stage, permit::MemoryStore};
use meridian_tests::PATIENCE;

use bird::{Bird, Path};
use site::RunningSite;

const SITES: [&str; 3] = ["127.0.0.3", "127.0.0.4", "127.0.0.5"];

/// Polls BIRD until its paths are as wanted; at no look may the prefix be gone.
#[allow(clippy::disallowed_methods)] // a real process is watched
async fn until(bird: &Bird, what: &str, check: impl Fn(&[Path]) -> bool) -> Vec<Path> {
    let start = std::time::Instant::now();
    let mut seen_any = false;
    loop {
        let paths = bird.paths();
        assert!(
            !seen_any || !paths.is_empty(),
            "the prefix is gone while waiting: {what}"
        );
        seen_any |= !paths.is_empty();
        if check(&paths) {
            return paths;
        }
        assert!(start.elapsed() < PATIENCE, "in vain: {what}: {paths:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn staged(sites: &[RunningSite], what: &str, check: impl Fn(&[Stage]) -> bool) {
    let wait = async {
        loop {
            let stages: Vec<Stage> = sites.iter().map(|s| s.explanation().stage).collect();
            if check(&stages) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = || {
        sites
            .iter()
            .map(|s| format!("{:?}", s.explanation()))
            .collect::<Vec<_>>()
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "in vain: {what}: {:#?}", told());
}

fn count(stages: &[Stage], stage: Stage) -> usize {
    stages.iter().filter(|s| **s == stage).count()
}

/// `min_sites = 1`: all checks fail at once, and one site stays announced, pinned and
/// depreferenced, with an alarm; it stays so over many renewals; then all come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_2_all_checks_fail_at_once_and_one_site_stays() {
    let Some(bird) = Bird::start(&SITES) else {
        return;
    };
    let store = Arc::new(MemoryStore::default());
    let sites: Vec<RunningSite> = SITES
        .iter()
        .enumerate()
        .map(|(number, address)| RunningSite::start(number, address, &bird, store.clone()))
        .collect();
    until(&bird, "three sites announce", |paths| {
        paths.len() == 3 && paths.iter().all(|path| !path.is_depreferenced())
    })
    .await;
    // The sites must have seen each other live before one may go.
    store_is_alive(&store, 20).await;

    sites.iter().for_each(|site| site.check(false));
    let left = until(&bird, "one depreferenced path is left", |paths| {
        paths.len() == 1 && paths[0].is_depreferenced()
    })
    .await;
    assert_eq!(left[0].as_path.len(), 4, "prepended three times: {left:?}");
    assert_eq!(left[0].med, 100);
    staged(&sites, "one pinned, two withdrawn", |stages| {
        count(stages, Stage::Pinned) == 1 && count(stages, Stage::Withdrawn) == 2
    })
    .await;
    let pinned: Vec<_> = sites
        .iter()
        .filter(|s| s.explanation().stage == Stage::Pinned)
        .collect();
    let explained = pinned[0].explanation();
    assert_eq!(
        explained.refusal.unwrap(),
        "withdraw refused: would leave 0 < min_sites 1"
    );
    assert!(
        explained.alarm && pinned[0].alarms() == 1,
        "{} alarms",
        pinned[0].alarms()
    );

    // Permits end and are renewed; nothing changes.
    store_is_alive(&store, 60).await;
    let still = until(&bird, "still one", |paths| paths.len() == 1).await;
    assert_eq!(still, left);

    sites.iter().for_each(|site| site.check(true));
    until(&bird, "all are back", |paths| {
        paths.len() == 3 && paths.iter().all(|path| !path.is_depreferenced())
    })
    .await;
    let from: BTreeSet<_> = bird.paths().into_iter().map(|path| path.next_hop).collect();
    assert_eq!(from.len(), 3);
}

/// The sites write so many times more: time passes by what they do, not by the clock.
async fn store_is_alive(store: &MemoryStore, writes: u64) {
    let revision = async || site::revision(store).await;
    let end = revision().await + writes;
    let wait = async {
        while revision().await < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, wait).await.is_ok(),
        "the sites write nothing"
    );
}
