//! Connections that are used by hand, byte by byte.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::support::{Home, LIMIT};

/// A connection of either kind.
pub(super) enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    /// To the TCP side.
    #[track_caller]
    pub(super) fn tcp(home: &Home) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port(home))).expect("a TCP side");
        Self::Tcp(stream)
    }

    /// To the socket.
    #[track_caller]
    pub(super) fn unix(home: &Home) -> Self {
        Self::Unix(UnixStream::connect(home.layout().socket()).expect("a socket"))
    }

    /// Sends; whether the other end took it.
    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes.as_ref()),
            Self::Unix(stream) => stream.write_all(bytes.as_ref()),
        }
    }

    /// Everything up to the end of the connection.
    #[track_caller]
    pub(super) fn read_to_end(&mut self) -> String {
        let mut read = Vec::new();
        match self.read_all(LIMIT, &mut read) {
            // It was cut with something of ours unread.
            Err(error) if error.kind() != ErrorKind::ConnectionReset => {
                panic!("the connection does not end: {error}")
            }
            _ => String::from_utf8_lossy(&read).into_owned(),
        }
    }

    /// Whether nothing comes, and the connection stays, for this long.
    pub(super) fn is_silent(&mut self, time: Duration) -> bool {
        let mut read = Vec::new();
        let ended = self.read_all(time, &mut read);
        let timed_out =
            |error: io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        read.is_empty() && ended.is_err_and(timed_out)
    }

    fn read_all(&mut self, time: Duration, read: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(time))?;
                stream.read_to_end(read)
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(time))?;
                stream.read_to_end(read)
            }
        }
    }
}

/// The TCP port of the running worker.
#[track_caller]
pub(super) fn port(home: &Home) -> u16 {
    let discovery = home.discovery().expect("the worker is published");
    discovery.port.expect("a TCP side")
}

/// The token.
#[track_caller]
pub(super) fn token(home: &Home) -> String {
    let token = std::fs::read_to_string(home.layout().token_file());
    token.expect("a token").trim().to_owned()
}

/// A head for the TCP side, with the token and these header lines.
#[track_caller]
pub(super) fn head(home: &Home, request_line: &str, headers: &str) -> String {
    let (port, token) = (port(home), token(home));
    format!(
        "{request_line} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\n{headers}\r\n"
    )
}
