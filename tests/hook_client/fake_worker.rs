//! A worker that answers every request with the same bytes, and keeps what it was sent.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use sessiond::wire::layout::Layout;
use sessiond::wire::socket::socket_address;

use super::run::LIMIT;

/// What the worker does with a connection.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Reads the request and answers this.
    Bytes(Vec<u8>),
    /// Answers this to the head of a request, and reads no more.
    Early(Vec<u8>),
    /// Reads the request and never answers.
    Never,
}

impl Reply {
    /// A reply with these header lines and this body.
    pub(crate) fn new(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        let text =
            format!("HTTP/1.1 {status} Reason\r\n{headers}content-length: {length}\r\n\r\n{body}");
        Self::Bytes(text.into_bytes())
    }
}

/// One request, taken apart.
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found
            .unwrap_or_else(|| panic!("no {name} in {}", self.head))
            .1
    }
}

/// The listening side, on a thread that ends with the test process.
pub(crate) struct FakeWorker {
    requests: Receiver<Request>,
}

impl FakeWorker {
    pub(crate) fn start(layout: &Layout, reply: Reply) -> Self {
        std::fs::create_dir_all(layout.root()).expect("create");
        let address = socket_address(&layout.socket()).expect("an address");
        let listener = UnixListener::bind(address.path()).expect("bind");
        let (sent, requests) = channel();
        thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let stream = stream.expect("accept");
                held.extend(serve(stream, &reply, &sent));
            }
        });
        Self { requests }
    }

    pub(crate) fn request(&self) -> Request {
        self.requests.recv_timeout(LIMIT).expect("a request")
    }

    pub(crate) fn has_no_request(&self) -> bool {
        self.requests
            .recv_timeout(Duration::from_millis(50))
            .is_err()
    }
}

/// Gives the connection back when it is to stay open without an answer.
fn serve(mut stream: UnixStream, reply: &Reply, sent: &Sender<Request>) -> Option<UnixStream> {
    // A connection without a request is a look whether somebody listens.
    let request = read_request(&mut stream, matches!(reply, Reply::Early(_)))?;
    // A hook or a test that has gone is no concern of the worker's.
    sent.send(request).ok();
    match reply {
        Reply::Bytes(bytes) | Reply::Early(bytes) => {
            stream.write_all(bytes).ok();
            None
        }
        Reply::Never => Some(stream),
    }
}

fn read_request(stream: &mut UnixStream, head_only: bool) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut piece = [0; 64 << 10];
    let mut body_at = None;
    loop {
        let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
        let from = bytes.len().saturating_sub(3);
        bytes.extend_from_slice(&piece[..read]);
        if body_at.is_none() {
            let end = bytes[from..]
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            body_at = end.map(|end| from + end + 4);
        }
        let Some(body_at) = body_at else { continue };
        let head = String::from_utf8(bytes[..body_at].to_vec()).expect("a head");
        let request = Request {
            head,
            body: bytes[body_at..].to_vec(),
        };
        let length: usize = request.header("content-length").parse().expect("a length");
        if head_only || request.body.len() >= length {
            return Some(request);
        }
    }
}
