//! What a run has seen so far, on a port, for a collector that asks for it every few seconds.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use crate::wire::{Framed, http};

/// A port that tells the newest text to whoever asks.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub addr: SocketAddr,
    text: Arc<Mutex<String>>,
}

/// The longest question, in octets, and how long it may take.
const LONGEST: usize = 8 << 10;
const PATIENCE: Duration = Duration::from_secs(1);

impl Metrics {
    /// Listens on a thread of its own, for as long as the program runs.
    pub fn listen(addr: SocketAddr) -> io::Result<Metrics> {
        let listener = TcpListener::bind(addr)?;
        let metrics = Metrics {
            addr: listener.local_addr()?,
            text: Arc::default(),
        };
        let told = metrics.clone();
        thread::spawn(move || {
            // One after the other: whoever is slow is cut off.
            for stream in listener.incoming().flatten() {
                let _ = told.answer(stream);
            }
        });
        Ok(metrics)
    }

    /// What is told from now on.
    pub fn set(&self, text: String) {
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut asked = Vec::new();
        let mut buffer = [0; 1024];
        while asked.len() < LONGEST && matches!(http::frame(&asked), Ok(Framed::Partial)) {
            match stream.read(&mut buffer)? {
                0 => break,
                length => asked.extend_from_slice(&buffer[..length]),
            }
        }
        let text = self
            .text
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let answer = match http::Request::parse(asked.into()) {
            Ok(request) if request.method() == "GET" && request.path() == "/metrics" => {
                http::Response::build(200).body("text/plain; version=0.0.4", text)
            }
            Ok(_) => http::Response::build(404),
            Err(_) => http::Response::build(400),
        };
        let answer = answer.header("Connection", "close").finish();
        stream.write_all(answer.bytes())
    }
}
