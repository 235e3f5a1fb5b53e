//! Whether queries wait for ticks: `cargo run --release -p meridian-dns --example waits -- [SECONDS]`.
//!
//! One thread decides for random clients, without pause, by the view in force. First alone, then while another
//! thread recomputes who serves whom, asks the model, and swaps views, and a third one frees what was in
//! force before, as the server has it. Then what the memory of steering takes to be written down.

mod shared;

use std::{
    error::Error,
    fs,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use meridian_config::Family;
use meridian_dns::{
    client::Client,
    steer::{Demand, Inputs, Standing, Steering, View, balance::Model as _, decide},
    types::ServiceId,
};
use meridian_geo_data::{ClientMap, latency::Latency};
use meridian_health_prober::HealthSnapshot;
use shared::{CELLS, Size, cpu_time, mix, prices};

const POPS: u32 = 1_000;
const POOLS: u32 = 100;
/// Questions to the model in a tick.
const QUESTIONS: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(20));
    let size = Size {
        pops: POPS,
        pools: POOLS,
        checks: 1,
    };
    let config = shared::config(size, |pool, pop| pop != pool)?;
    let clients = Arc::new(ClientMap::open(&config.geo)?);
    let demand = Arc::new(Demand::assumed(&clients));
    let steering = Steering::new(&config, clients);
    let inputs = |turn| inputs(turn, &demand);
    let first = Standing::none();
    let standing = Arc::new(first.next(&steering, &HealthSnapshot::default(), &inputs(0)));
    println!("{:?} tables and rows", standing.size());
    let current = ArcSwap::from_pointee(view(&steering, standing.clone()));
    told("alone, choices to be made", &ask(&steering, &current, time));
    told("alone", &ask(&steering, &current, time));
    let done = AtomicBool::new(false);
    let (retired, used) = mpsc::channel::<Arc<View>>();
    let (asked, ticks, last) = thread::scope(|scope| {
        let ticking = scope.spawn(|| {
            let (mut standing, mut ticks) = (standing.clone(), 0);
            while !done.load(Relaxed) {
                ticks += 1;
                let inputs = inputs(ticks);
                let prices: Vec<f32> = inputs.prices.iter().map(|one| one.price_ms).collect();
                let health = HealthSnapshot::default();
                let mut model = standing.model(&steering, &health, &inputs);
                for _ in 0..QUESTIONS {
                    model.at(&prices);
                }
                drop(model);
                standing = Arc::new(standing.next(&steering, &health, &inputs));
                let old = current.swap(Arc::new(view(&steering, standing.clone())));
                let _ = retired.send(old);
            }
            drop(retired);
            (ticks, standing)
        });
        scope.spawn(|| {
            for view in used {
                while Arc::strong_count(&view) > 1 {
                    thread::sleep(Duration::from_millis(100));
                }
            }
        });
        let asked = ask(&steering, &current, time);
        done.store(true, Relaxed);
        let (ticks, standing) = ticking.join().unwrap_or_default();
        (asked, ticks, standing)
    });
    told(&format!("during {ticks} ticks"), &asked);
    written(&last)
}

fn view(steering: &Steering, standing: Arc<Standing>) -> View {
    View::new(steering, standing, Arc::default())
}

/// Nanoseconds of each decision, sorted, and of the processor in all.
fn ask(steering: &Steering, current: &ArcSwap<View>, time: Duration) -> (Vec<u32>, Duration) {
    let (begun, before) = (now(), cpu_time());
    let mut all = Vec::with_capacity(1 << 24);
    let mut at = 1_u32;
    let mut last = now();
    while last - begun < time && all.len() < 1 << 26 {
        at = mix(at.wrapping_add(0x9e37_79b9));
        let cell = at % CELLS;
        let address = IpAddr::from(shared::address(cell));
        let client = Client::from_ecs(address, 24, address);
        let service = ServiceId(mix(at) % POOLS);
        let view = current.load();
        let decision = decide(steering, &view, service, &client, Family::V4);
        std::hint::black_box(decision);
        drop(view);
        let end = now();
        let took = (end - last).as_nanos();
        all.push(u32::try_from(took).unwrap_or(u32::MAX));
        last = end;
    }
    all.sort_unstable();
    (all, cpu_time().saturating_sub(before))
}

fn told(what: &str, (all, processor): &(Vec<u32>, Duration)) {
    let at = |part: f64| {
        // Of some millions.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let place = (all.len() as f64 * part) as usize;
        let nanos = all.get(place.min(all.len().saturating_sub(1)));
        Duration::from_nanos(nanos.copied().unwrap_or_default().into())
    };
    let each = processor.as_nanos() / all.len().max(1) as u128;
    println!(
        "{what}: {} decisions, {each} ns of the processor each",
        all.len()
    );
    let parts = [0.5, 0.99, 0.999, 0.9999, 0.99999, 1.0].map(at);
    println!("  median, 99, 99.9, 99.99, 99.999 %, longest: {parts:?}");
}

/// What the rows take in a file.
fn written(standing: &Standing) -> Result<(), Box<dyn Error>> {
    println!("before writing: {}", peak());
    let begun = now();
    let kept = standing.keep();
    println!("rows by name: {:?}", begun.elapsed());
    let begun = now();
    let text = serde_json::to_vec(&kept)?;
    println!("as text: {} octets, {:?}", text.len(), begun.elapsed());
    let begun = now();
    let mut file = tempfile::tempfile()?;
    std::io::Write::write_all(&mut file, &text)?;
    file.sync_all()?;
    println!("to the disk: {:?}; {}", begun.elapsed(), peak());
    Ok(())
}

/// The most memory that the process has had.
fn peak() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines().filter(|line| line.starts_with("VmHWM"));
    lines.next().unwrap_or_default().to_owned()
}

fn inputs(turn: u32, demand: &Arc<Demand>) -> Inputs {
    Inputs {
        latency: Arc::new(Latency::empty()),
        prices: prices(POPS, turn).collect(),
        demand: demand.clone(),
    }
}

#[allow(clippy::disallowed_methods)] // what is measured is time
fn now() -> Instant {
    Instant::now()
}
