//! A plain HTTP/1.1 client: one request a connection, nothing hidden and nothing mended.
//!
//! Tests send what a well-behaved client never would, so none is used.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;
use sessiond::wire::socket::socket_address;

use super::wait::LIMIT;

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// `GET` and so on.
    pub method: &'a str,
    /// Path and query, encoded.
    pub target: &'a str,
    /// Header lines; `host`, `connection` and, with a body, `content-length` are added unless they
    /// are given.
    pub headers: Vec<(&'a str, String)>,
    /// The body; `None` sends none.
    pub body: Option<Vec<u8>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Its header lines.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Asserts success; gives the body as a value of this type.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        assert!(
            (200..300).contains(&self.status),
            "{}: {}",
            self.status,
            self.text()
        );
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// Asserts an error of this status and code in the API's form; gives the error.
    #[track_caller]
    pub fn error(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        let body: Value = serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("an error is JSON: {error} in {}", self.text()));
        let error = body["error"].clone();
        assert_eq!(error["code"], code, "{error}");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{error}"
        );
        assert!(error["details"].is_object(), "{error}");
        error
    }
}

/// Sends a request over a unix socket.
pub fn over_unix(socket: &Path, request: &Request<'_>) -> io::Result<Response> {
    let address = socket_address(socket)?;
    let stream = UnixStream::connect(address.path())?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    exchange(stream, request)
}

/// Sends a request over loopback TCP.
pub fn over_tcp(port: u16, request: &Request<'_>) -> io::Result<Response> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    exchange(stream, request)
}

/// A path segment or a query value, percent-encoded.
pub fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn exchange(mut stream: impl Read + Write, request: &Request<'_>) -> io::Result<Response> {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    let is_given = |name: &str| {
        request
            .headers
            .iter()
            .any(|(given, _)| given.eq_ignore_ascii_case(name))
    };
    for (name, value) in [("host", "sessiond"), ("connection", "close")] {
        if !is_given(name) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if let Some(body) = &request.body
        && !is_given("content-length")
    {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let sent = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(request.body.as_deref().unwrap_or_default()));
    let mut reply = Vec::new();
    let received = stream.read_to_end(&mut reply);
    // A refusal may come, and the connection close, before everything is sent or read.
    if reply.is_empty() {
        sent?;
        received?;
    }
    parse(&reply)
}

fn parse(reply: &[u8]) -> io::Result<Response> {
    let broken = || {
        let text = String::from_utf8_lossy(reply);
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("half an answer: {text:?}"),
        )
    };
    let end = reply
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(broken)?;
    let head = String::from_utf8_lossy(&reply[..end]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(broken)?;
    let response = Response {
        status,
        head,
        body: reply[end + 4..].to_vec(),
    };
    let length = response
        .header("content-length")
        .and_then(|length| length.parse().ok());
    if length.is_some_and(|length: usize| length != response.body.len()) {
        return Err(broken());
    }
    Ok(response)
}
