//! HTTP/2 checks against a real nginx, over TLS and without.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use meridian_health_prober::{HealthSnapshot, Prober, Verdict};
use tokio::net::TcpSocket;

/// Ends nginx with the test.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended by itself, which is no matter now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether there is an nginx; its absence is a failure where peers are required.
fn is_there() -> bool {
    let found = Command::new("nginx")
        .arg("-v")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let required = std::env::var_os("MERIDIAN_REQUIRE_PEERS").is_some();
    assert!(found || !required, "nginx is not installed");
    found
}

/// Keeps a port for nginx: bound, so that nobody else is given it, and without listening, so that who
/// sets SO_REUSEADDR, as nginx does, may listen there.
fn keep_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(any).expect("loopback");
    socket
}

/// Three servers: HTTP/2 without TLS, over TLS, and HTTP/1.1 alone.
fn start(folder: &Path, [plain, secure, old]: [u16; 3]) -> Nginx {
    let issued = rcgen::generate_simple_self_signed(["edge.example".to_owned()]).expect("a key");
    fs::write(folder.join("edge.pem"), issued.cert.pem()).expect("written");
    fs::write(folder.join("edge.key"), issued.signing_key.serialize_pem()).expect("written");
    let here = folder.display();
    let text = format!(
        "daemon off; master_process off; pid {here}/pid; error_log {here}/error.log;\n\
         events {{ worker_connections 64; }}\n\
         http {{\n access_log off;\n\
         client_body_temp_path {here}/b; proxy_temp_path {here}/p; fastcgi_temp_path {here}/f;\n\
         uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n\
         server {{ listen 127.0.0.1:{plain} http2; location / {{ return 200 \"fine $server_protocol\"; }} }}\n\
         server {{ listen 127.0.0.1:{secure} ssl http2; ssl_certificate {here}/edge.pem;\n\
         ssl_certificate_key {here}/edge.key; location / {{ return 200 \"fine $server_protocol\"; }} }}\n\
         server {{ listen 127.0.0.1:{old}; location / {{ return 200 fine; }} }}\n}}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, text).expect("written");
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(&file);
    command.arg("-e").arg(folder.join("error.log"));
    Nginx(command.spawn().expect("nginx starts"))
}

#[tokio::test]
async fn http2_checks_of_nginx() {
    if !is_there() {
        eprintln!("SKIP http2_checks_of_nginx: nginx is not installed");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let kept = [(); 3].map(|()| keep_port());
    let ports = [0, 1, 2].map(|n: usize| kept[n].local_addr().expect("it is bound").port());
    let _nginx = start(folder.path(), ports);
    let [plain, secure, old] = ports;
    let check = |name: &str, kind: &str, port: u16, more: &str| {
        format!(
            "[check.{name}]\ntype = \"{kind}\"\nport = {port}\nhttp2 = true\nfall = 3\n\
             interval = \"200ms\"\n{more}\n[[pool]]\nname = \"{name}\"\ncheck = \"{name}\"\n\
             pops = [\"fra\"]\n"
        )
    };
    let text = [
        check("plain", "http", plain, "body = \"fine HTTP/2.0\""),
        check(
            "secure",
            "https",
            secure,
            "ca_file = \"edge.pem\"\nserver_name = \"edge.example\"\nbody = \"fine HTTP/2.0\"",
        ),
        check("old", "http", old, ""),
        "[[pop]]\nname = \"fra\"\nlatitude = 0\nlongitude = 0\nendpoints = [\"127.0.0.1\"]\n\
         [[zone]]\nname = \"example.com\"\nfile = \"x.zone\"\n"
            .to_owned(),
    ]
    .concat();
    let path = folder.path().join("meridian.toml");
    fs::write(&path, text).expect("written");
    let config = meridian_config::load(&path).unwrap_or_else(|told| panic!("{told}"));
    let prober = Prober::start(Arc::new(config), BTreeMap::new());
    let mut snapshots = prober.subscribe();
    let verdicts = |snapshot: &HealthSnapshot| -> Vec<(String, Verdict)> {
        let groups = snapshot.groups.iter();
        groups
            .map(|(key, pop)| (key.check.clone(), pop.verdict))
            .collect()
    };
    let expect = [
        ("old".to_owned(), Verdict::Down),
        ("plain".to_owned(), Verdict::Up),
        ("secure".to_owned(), Verdict::Up),
    ];
    let reached = snapshots.wait_for(|snapshot| verdicts(snapshot) == expect);
    if tokio::time::timeout(Duration::from_secs(180), reached)
        .await
        .is_err()
    {
        panic!("{:#?}", prober.subscribe().borrow().groups);
    }
    prober.shutdown().await;
}
