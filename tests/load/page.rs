//! A page in the Prometheus text format that says what the test wants.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// What a page says.
enum Script {
    /// Connections are closed without a word.
    Dead,
    /// This.
    Text(String),
    /// Counters that grow with each reading: well, failed.
    Growing([u64; 2]),
}

/// A running page; its thread ends with the process.
pub(crate) struct Page {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

impl Page {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let script = Arc::new(Mutex::new(Script::Dead));
        let told = script.clone();
        thread::spawn(move || answer(&listener, &told));
        Self { address, script }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }

    /// Says this from now on.
    pub(crate) fn say(&self, text: &str) {
        self.set(Script::Text(text.to_owned()));
    }

    /// Says nothing from now on.
    pub(crate) fn die(&self) {
        self.set(Script::Dead);
    }

    /// Counts this many requests more at each reading from now on.
    pub(crate) fn serve(&self, well: u64, failed: u64) {
        self.set(Script::Growing([well, failed]));
    }

    fn set(&self, script: Script) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
    }
}

fn answer(listener: &TcpListener, script: &Mutex<Script>) {
    let mut counters = [0, 0];
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let body = match &*script.lock().unwrap_or_else(PoisonError::into_inner) {
            Script::Dead => continue,
            Script::Text(text) => text.clone(),
            Script::Growing(more) => {
                counters = [counters[0] + more[0], counters[1] + more[1]];
                format!(
                    "active{{server=\"edge\"}} 5\nrequests{{code=\"200\"}} {}\n\
                     requests{{code=\"502\"}} {}\n",
                    counters[0], counters[1]
                )
            }
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
    }
}
