//! nginx edges: one unprivileged nginx per PoP on an address of 127.0.0.0/8.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use meridian_tests::{PATIENCE, Running, eventually, own_port, peer, scratch};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use tempfile::TempDir;

/// How an edge answers its health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// 200.
    Well,
    /// 503.
    Failing,
    /// 200, and then one octet a second.
    Slow,
}

/// Certificate and key for an https edge, as PEM.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// One nginx, ended with all its workers when dropped.
pub(crate) struct Edge {
    pub(crate) address: IpAddr,
    port: u16,
    program: PathBuf,
    folder: TempDir,
    running: Option<Running>,
}

impl Edge {
    /// Starts one; `None` when nginx is not installed.
    pub(crate) fn start(address: IpAddr, port: u16, identity: Option<&Identity>) -> Option<Self> {
        let program = peer("nginx")?;
        let mut edge = Self {
            address,
            port,
            program,
            folder: scratch(),
            running: None,
        };
        let body = "all is well\n".repeat(100);
        std::fs::write(edge.path("well"), body).expect("a file");
        edge.configure(Manner::Well, identity);
        edge.launch();
        Some(edge)
    }

    /// SIGKILL for the master, then for its workers: what the end of a machine looks like to a
    /// prober on the same host.
    pub(crate) fn kill(&mut self) {
        let mut running = self.running.take().expect("a running nginx");
        let workers = children(running.pid());
        running.kill();
        for worker in workers {
            let _ = kill(worker, Signal::SIGKILL);
        }
    }

    /// Freezes it or lets it go on: the kernel still accepts connections, nobody answers.
    pub(crate) fn freeze(&mut self, frozen: bool) {
        let running = self.running.as_mut().expect("a running nginx");
        let signal = if frozen {
            Signal::SIGSTOP
        } else {
            Signal::SIGCONT
        };
        for worker in children(running.pid()) {
            kill(worker, signal).expect("a running worker");
        }
        running.signal(signal);
    }

    /// Starts it again as it was configured last.
    pub(crate) fn launch(&mut self) {
        let mut command = Command::new(&self.program);
        command
            .arg("-e")
            .arg(self.path("error.log"))
            .arg("-p")
            .arg(self.folder.path());
        command.arg("-c").arg(self.path("nginx.conf"));
        self.running = Some(Running::start("nginx", &mut command));
        let address = SocketAddr::new(self.address, self.port);
        eventually("nginx listens", PATIENCE, || {
            std::net::TcpStream::connect(address).ok()
        });
    }

    /// Goes over to another manner and identity the way an operator does it: SIGHUP.
    pub(crate) fn change(&mut self, manner: Manner, identity: Option<&Identity>) {
        self.configure(manner, identity);
        if let Some(running) = &mut self.running {
            running.signal(Signal::SIGHUP);
        }
    }

    fn configure(&self, manner: Manner, identity: Option<&Identity>) {
        let health = match manner {
            Manner::Well => "alias FOLDER/well;",
            Manner::Failing => "return 503;",
            Manner::Slow => "alias FOLDER/well; limit_rate 1;",
        };
        let tls = identity.map_or("", |identity| {
            std::fs::write(self.path("certificate.pem"), &identity.certificate).expect("a file");
            std::fs::write(self.path("key.pem"), &identity.key).expect("a file");
            "ssl_certificate FOLDER/certificate.pem; ssl_certificate_key FOLDER/key.pem;"
        });
        let user = if geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let ssl = if identity.is_some() { " ssl" } else { "" };
        let text = format!(
            "daemon off; worker_processes 1; {user} pid FOLDER/pid; error_log FOLDER/error.log;
             events {{ worker_connections 64; }}
             http {{
               access_log off;
               client_body_temp_path FOLDER/t1; proxy_temp_path FOLDER/t2;
               fastcgi_temp_path FOLDER/t3; uwsgi_temp_path FOLDER/t4; scgi_temp_path FOLDER/t5;
               server {{
                 listen {}:{}{ssl}; {tls}
                 location = /healthz {{ {health} }}
               }}
             }}",
            self.address, self.port
        );
        let text = text.replace("FOLDER", &self.folder.path().display().to_string());
        std::fs::write(self.path("nginx.conf"), text).expect("a file");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        let workers = children(running.pid());
        // A test that failed may have left it frozen.
        for worker in &workers {
            let _ = kill(*worker, Signal::SIGCONT);
        }
        running.signal(Signal::SIGCONT);
        running.signal(Signal::SIGTERM);
        for _ in 0..500 {
            if running.exit_status().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // It did not end by itself; its workers would outlive the SIGKILL that now follows.
        for worker in workers {
            let _ = kill(worker, Signal::SIGKILL);
        }
    }
}

fn children(pid: u32) -> Vec<Pid> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(Path::new(&path)).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .map(Pid::from_raw)
        .collect()
}

/// 127.0.0.11 and up, and a port of our own on all of them.
pub(crate) fn addresses(count: u8) -> (Vec<IpAddr>, u16) {
    let addresses: Vec<IpAddr> = (0..count)
        .map(|n| Ipv4Addr::new(127, 0, 0, 11 + n).into())
        .collect();
    let port = own_port(&addresses);
    (addresses, port)
}
