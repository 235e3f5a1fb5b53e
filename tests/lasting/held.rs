//! A page whose answers can be held back.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
};

use meridian_tests::own_port;

/// Answers 200 to everything on 127.0.0.1 and 127.0.0.2, at once or when released. Ends with the process.
pub(crate) struct HeldPage {
    pub(crate) port: u16,
    held: Arc<(Mutex<bool>, Condvar)>,
}

impl HeldPage {
    pub(crate) fn start() -> Self {
        let addresses = [1, 2].map(|host| IpAddr::from([127, 0, 0, host]));
        let port = own_port(&addresses);
        let held: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        for address in addresses {
            let listener = TcpListener::bind((address, port)).expect("a socket");
            let shared = held.clone();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let held = shared.clone();
                    thread::spawn(move || answer(stream, &held));
                }
            });
        }
        Self { port, held }
    }

    pub(crate) fn hold(&self) {
        *self.held.0.lock().unwrap() = true;
    }

    pub(crate) fn release(&self) {
        *self.held.0.lock().unwrap() = false;
        self.held.1.notify_all();
    }
}

fn answer(mut stream: TcpStream, held: &(Mutex<bool>, Condvar)) {
    let mut request = [0; 4096];
    if !matches!(stream.read(&mut request), Ok(1..)) {
        return;
    }
    let guard = held.0.lock().unwrap();
    drop(held.1.wait_while(guard, |held| *held).unwrap());
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
}
