//! `meridian demo`: a whole deployment on one machine, to see a failover within a minute.
//!
//! ```text
//! edges 127.0.0.11–16 ←probes─ server (runtime, admin) ←DNS─ a resolver for three sample clients
//!     ↑ script, curl              │ events
//!     └───────────────────────────┴──────────→ story, printed as it happens
//! ```

mod ask;
mod edges;
mod files;
mod places;
mod story;

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{sleep, sleep_until},
};

use crate::{
    cli::{Demo, Failure, Live, Moment, Signals, threads},
    render::{Paint, Style, print},
};
use edges::{Edge, State};
use places::{PLACES, SAMPLES};
use story::Story;

/// Runs until Ctrl-C, or until `--duration` is over.
pub(crate) fn run(args: &Demo) -> Result<(), Failure> {
    for moment in args.fail.iter().chain(&args.heal) {
        if !PLACES.iter().any(|place| place.pop == moment.pop) {
            let names: Vec<&str> = PLACES.iter().map(|place| place.pop).collect();
            return Err(Failure::Usage(format!(
                "the demo has no PoP called {:?}; it has {}",
                moment.pop,
                names.join(", ")
            )));
        }
    }
    threads()?.block_on(demo(args))
}

async fn demo(args: &Demo) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let (edges, edge_port) = edges::start(args.edge_port)
        .await
        .map_err(|error| Failure::Message(format!("{error} (another demo? see --edge-port)")))?;
    let listen = free_port(args.listen)
        .map_err(|e| Failure::Message(format!("no free port on {}: {e}", args.listen.ip())))?;
    let folder = tempfile::Builder::new()
        .prefix("meridian-demo-")
        .tempdir()
        .map_err(|e| Failure::Message(format!("cannot make a temporary folder: {e}")))?;
    let config = files::write(folder.path(), listen, args.admin, edge_port).map_err(|e| {
        Failure::Message(format!("cannot write to {}: {e}", folder.path().display()))
    })?;
    let live = Live::start(&config, None).await.map_err(|failure| {
        // The ports are the demo's own, so the remedy is too.
        match failure {
            Failure::Message(text) => Failure::Message(format!(
                "{text} (another demo or a resolver? see --listen and --admin)"
            )),
            other => other,
        }
    })?;
    let style = Style::stdout();
    print(&intro(listen, live.admin, edge_port, &config, style));
    let story = Story::new(listen, style);
    let begun = Notify::new();
    let told = story.tell(&live.runtime, &edges, &begun);
    let over = async {
        match args.duration {
            Some(duration) => sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = told => {}
        () = script(&edges, &args.fail, &args.heal, &begun) => {}
        () = over => {}
        () = signals.stop() => print("\n"),
    }
    live.stop().await;
    print("The demo is over, everything has stopped.\n");
    Ok(())
}

/// Carries out the script, whose time starts when the story has begun; never ends.
async fn script(edges: &[Edge], fail: &[Moment], heal: &[Moment], begun: &Notify) {
    let mut acts: Vec<(&Moment, State)> = Vec::new();
    acts.extend(fail.iter().map(|moment| (moment, State::Dead)));
    acts.extend(heal.iter().map(|moment| (moment, State::Up)));
    acts.sort_by_key(|(moment, _)| moment.at);
    begun.notified().await;
    let start = now();
    for (moment, state) in acts {
        sleep_until(start + moment.at).await;
        if let Some(edge) = edges.iter().find(|edge| edge.pop() == moment.pop) {
            edge.set(state);
        }
    }
    std::future::pending().await
}

#[allow(clippy::disallowed_methods)] // The demo is a runner: its script follows the clock.
fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// For port 0 a port that is free for UDP and TCP alike.
fn free_port(wanted: SocketAddr) -> std::io::Result<SocketAddr> {
    if wanted.port() != 0 {
        return Ok(wanted);
    }
    let mut last = None;
    for _ in 0..32 {
        let udp = UdpSocket::bind(wanted)?;
        let address = udp.local_addr()?;
        match TcpListener::bind(address) {
            Ok(_) => return Ok(address),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into()))
}

fn intro(
    listen: SocketAddr,
    admin: SocketAddr,
    edge_port: u16,
    config: &std::path::Path,
    style: Style,
) -> String {
    let bold = |text: &str| style.paint(Paint::Bold, text);
    let dim = |text: &str| style.paint(Paint::Dim, text);
    let mut out = format!(
        "{}\n\n  DNS    {listen}, zone {}, service www\n  admin  http://{admin}\n  files  {}\n",
        bold("Meridian demo: six PoPs, one steered name"),
        files::ZONE,
        config.display()
    );
    for place in &PLACES {
        let url = format!("http://{}:{edge_port}", place.address);
        out.push_str(&format!("  {}    {url}  {}\n", place.pop, place.city));
    }
    out.push_str("\nTry in another terminal:\n\n");
    for sample in &SAMPLES {
        let why = dim(&format!("# {}: {}", sample.city, sample.home));
        let subnet = format!("{}/{}", sample.network, sample.length);
        out.push_str(&format!(
            "  dig @{} -p {} www.{} A +short +subnet={subnet:<14}  {why}\n",
            listen.ip(),
            listen.port(),
            files::ZONE,
        ));
    }
    let fra = format!("http://{}:{edge_port}", PLACES[0].address);
    out.push_str(&format!(
        "\n  curl -X POST {fra}/fail  {}\n  curl -X POST {fra}/heal\n\n",
        dim("# break Frankfurt; its clients move within 3 s")
    ));
    let url = match admin.to_string() == "127.0.0.1:9153" {
        true => String::new(),
        false => format!(" --admin http://{admin}"),
    };
    let explain = format!("explain www.{} --client 134.157.0.0/24{url}", files::ZONE);
    for command in [
        format!("status{url}"),
        explain,
        format!("drain iad --for 1m{url}"),
    ] {
        out.push_str(&format!("  meridian {command}\n"));
    }
    out.push_str("\nCtrl-C ends everything. What happens from here on:\n\n");
    out
}

/// Between two looks at what the clients get.
const LOOK: Duration = Duration::from_millis(200);
