//! A real nginx that writes round trips into a file and sends them as datagrams.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use meridian_tests::{PATIENCE, Running, eventually, free_port, http, peer};
use nix::{sys::signal::Signal, unistd::geteuid};

pub(crate) struct Proxy {
    address: SocketAddr,
    log: PathBuf,
    running: Running,
}

impl Proxy {
    /// `None` when nginx is not installed.
    pub(crate) fn start(folder: &Path, log: &Path, syslog: SocketAddr) -> Option<Self> {
        let program = peer("nginx")?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let user = if geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let text = format!(
            "daemon off; worker_processes 1; {user} pid FOLDER/pid; error_log FOLDER/error.log;
             events {{ worker_connections 64; }}
             http {{
               log_format meridian '$remote_addr $tcpinfo_rtt';
               log_format combined_rtt '$remote_addr - $remote_user [$time_local] \"$request\" '
                 '$status $body_bytes_sent \"$http_referer\" \"$http_user_agent\" rtt_us=$tcpinfo_rtt';
               access_log {log} combined_rtt;
               access_log syslog:server={syslog} meridian;
               client_body_temp_path FOLDER/t1; proxy_temp_path FOLDER/t2;
               fastcgi_temp_path FOLDER/t3; uwsgi_temp_path FOLDER/t4; scgi_temp_path FOLDER/t5;
               server {{ listen {address}; location / {{ return 204; }} }}
             }}",
            log = log.display(),
        );
        let text = text.replace("FOLDER", &folder.display().to_string());
        let config = folder.join("nginx.conf");
        std::fs::write(&config, text).expect("a file");
        let mut command = Command::new(program);
        command.arg("-e").arg(folder.join("error.log"));
        command.arg("-p").arg(folder).arg("-c").arg(config);
        let running = Running::start("nginx", &mut command);
        eventually("nginx listens", PATIENCE, || {
            std::net::TcpStream::connect(address).ok()
        });
        let log = log.to_owned();
        Some(Self {
            address,
            log,
            running,
        })
    }

    pub(crate) fn ask(&self, path: &str) {
        assert_eq!(http::get(self.address, path).expect("a reply").status, 204);
    }

    /// Renames the log and lets nginx open a new one, as logrotate does.
    pub(crate) fn rotate(&mut self) {
        std::fs::rename(&self.log, self.log.with_extension("1")).expect("renamed");
        self.running.signal(Signal::SIGUSR1);
        eventually("nginx has opened a new log", PATIENCE, || {
            self.log.exists().then_some(())
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its worker ends with it.
        self.running.terminate();
    }
}
