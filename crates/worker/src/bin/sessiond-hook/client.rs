//! One request to the worker over its unix socket, never waiting beyond the deadline.
//!
//! It speaks just enough HTTP/1.1 for one POST and its answer. What the answer means for the event
//! is decided here; what becomes of an event that was not taken is decided by the caller.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::deadline::Deadline;
use crate::event::Event;
use crate::wire::http::{
    AGENT_PROCESS_HEADER, EVENT_ID_HEADER, FIRED_AT_HEADER, IS_SET_ASIDE, OUTPUT_AGENT,
    OUTPUT_HEADER, SET_ASIDE_HEADER, hook_path,
};
use crate::wire::limits::OUTPUT_MAX_BYTES;
use crate::wire::socket::socket_address;

/// Bytes of status line and headers; the worker's are a few hundred.
const HEAD_MAX_BYTES: usize = 16 << 10;

/// What became of the request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The worker has the event.
    Accepted {
        /// What it wants the agent to read.
        output: Option<Vec<u8>>,
    },
    /// The worker cannot use the event and has set it aside itself.
    Refused,
    /// No worker listens.
    Absent,
    /// A worker may be there, but did not say that it has the event.
    Unavailable,
}

/// Sends the event and reads the answer.
pub(crate) fn deliver(socket: &Path, event: &Event, deadline: &Deadline) -> Delivery {
    let mut stream = match connect(socket) {
        Ok(stream) => stream,
        Err(error) if means_absent(&error) => return Delivery::Absent,
        Err(_) => return Delivery::Unavailable,
    };
    // A worker that refuses a large event may answer and close before it has read all of it, so a
    // failed send is no reason not to look for an answer.
    send(&mut stream, event, deadline).ok();
    receive(&mut stream, deadline).unwrap_or(Delivery::Unavailable)
}

/// Whether nobody listens at `socket`.
pub(crate) fn is_absent(socket: &Path) -> bool {
    connect(socket).is_err_and(|error| means_absent(&error))
}

fn means_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused
    )
}

/// A connection in non-blocking mode. A stopped worker's full backlog fails at once, where a
/// blocking connect would wait for ever.
fn connect(socket: &Path) -> io::Result<UnixStream> {
    let address = socket_address(socket)?;
    let fd = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::ioctl_fionbio(&fd, true)?;
    loop {
        match rustix::net::connect(&fd, &SocketAddrUnix::new(address.path())?) {
            Ok(()) => return Ok(UnixStream::from(fd)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn send(stream: &mut UnixStream, event: &Event, deadline: &Deadline) -> io::Result<()> {
    let process = event
        .agent_process
        .as_ref()
        .map_or_else(String::new, |process| {
            format!("{AGENT_PROCESS_HEADER}: {process}\r\n")
        });
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: sessiond\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n{EVENT_ID_HEADER}: {}\r\n\
         {FIRED_AT_HEADER}: {}\r\n{process}\r\n",
        hook_path(&event.agent),
        event.payload.len(),
        event.id,
        event.fired_at_ms,
    );
    let (mut head, mut body) = (head.as_bytes(), event.payload.as_slice());
    while !head.is_empty() || !body.is_empty() {
        match stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)]) {
            Ok(written) => {
                let from_head = written.min(head.len());
                head = &head[from_head..];
                body = &body[written - from_head..];
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let either = PollFlags::OUT | PollFlags::IN;
                match deadline.ready(stream.as_fd(), either, Duration::MAX) {
                    Some(ready) if !ready.contains(PollFlags::IN) => {}
                    // An early answer, or no time.
                    _ => return Ok(()),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The answer; `None` when none can be made out in time.
fn receive(stream: &mut UnixStream, deadline: &Deadline) -> Option<Delivery> {
    let mut reply = Vec::with_capacity(HEAD_MAX_BYTES);
    let status = loop {
        if let Some(status) = status(&reply) {
            break status?;
        }
        if reply.len() > HEAD_MAX_BYTES || !receive_more(stream, &mut reply, deadline) {
            return None;
        }
    };
    match status {
        200 => Some(Delivery::Accepted {
            output: receive_output(stream, reply, deadline),
        }),
        201..=299 => Some(Delivery::Accepted { output: None }),
        400..=499 => {
            let body_at = receive_head(stream, &mut reply, deadline)?;
            let head = str::from_utf8(&reply[..body_at]).ok()?;
            let is_set_aside = header(head, SET_ASIDE_HEADER) == Some(IS_SET_ASIDE);
            is_set_aside.then_some(Delivery::Refused)
        }
        _ => None,
    }
}

/// The whole body of a reply that is meant for the agent: half a JSON text is worse than none.
fn receive_output(
    stream: &mut UnixStream,
    mut reply: Vec<u8>,
    deadline: &Deadline,
) -> Option<Vec<u8>> {
    let body_at = receive_head(stream, &mut reply, deadline)?;
    let head = str::from_utf8(&reply[..body_at]).ok()?;
    if header(head, OUTPUT_HEADER)? != OUTPUT_AGENT {
        return None;
    }
    let length: usize = header(head, "content-length")?.parse().ok()?;
    if length == 0 || length > OUTPUT_MAX_BYTES {
        return None;
    }
    while reply.len() < body_at + length {
        if !receive_more(stream, &mut reply, deadline) {
            return None;
        }
    }
    reply.truncate(body_at + length);
    Some(reply.split_off(body_at))
}

/// Where the body of a reply begins, once all headers are there.
fn receive_head(
    stream: &mut UnixStream,
    reply: &mut Vec<u8>,
    deadline: &Deadline,
) -> Option<usize> {
    loop {
        if let Some(end) = reply.windows(4).position(|four| four == b"\r\n\r\n") {
            return Some(end + 4);
        }
        if reply.len() > HEAD_MAX_BYTES || !receive_more(stream, reply, deadline) {
            return None;
        }
    }
}

/// Whether another piece of the reply came before its end and the deadline.
fn receive_more(stream: &mut UnixStream, reply: &mut Vec<u8>, deadline: &Deadline) -> bool {
    let mut piece = [0; 8 << 10];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return false,
            Ok(read) => {
                reply.extend_from_slice(&piece[..read]);
                return true;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let wait = deadline.ready(stream.as_fd(), PollFlags::IN, Duration::MAX);
                if wait.is_none() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
}

/// The status of a reply: `None` while its first line is not all there, `Some(None)` when that is
/// no HTTP.
fn status(reply: &[u8]) -> Option<Option<u16>> {
    let end = reply.windows(2).position(|two| two == b"\r\n")?;
    Some(parse_status(&reply[..end]))
}

fn parse_status(line: &[u8]) -> Option<u16> {
    let rest = str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    let (_, rest) = rest.split_once(' ')?;
    rest.get(..3)?.parse().ok()
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;

    const OUTPUT: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                          sessiond-output: agent\r\ncontent-length: 7\r\n\r\n{\"a\":1}";
    const REPLIES: [&str; 4] = [
        OUTPUT,
        "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 400 Bad Request\r\nsessiond-set-aside: 1\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
    ];

    /// What is made of this reply, after which the worker is gone.
    fn received(reply: &[u8]) -> Option<Delivery> {
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
        theirs.write_all(reply).expect("it has room for a reply");
        drop(theirs);
        ours.set_nonblocking(true).expect("non-blocking");
        receive(&mut ours, &Deadline::start(Some("60000".into())))
    }

    #[test]
    fn reply_cut_short_gives_no_half_output_and_refuses_nothing() {
        let whole = Some(Delivery::Accepted {
            output: Some(b"{\"a\":1}".to_vec()),
        });
        assert_eq!(received(OUTPUT.as_bytes()), whole);
        for reply in REPLIES {
            for cut in 0..reply.len() {
                let delivery = received(&reply.as_bytes()[..cut]);
                let is_less = matches!(delivery, None | Some(Delivery::Accepted { output: None }));
                assert!(
                    is_less || delivery == received(reply.as_bytes()),
                    "{reply} at {cut}"
                );
                assert!(is_less || delivery != whole, "{reply} at {cut}");
            }
        }
    }

    /// A reply with things put in where they do not belong.
    fn any_reply() -> impl Strategy<Value = Vec<u8>> {
        const PIECES: [&str; 15] = [
            "",
            "\r\n",
            "\r\n\r\n",
            "\n",
            ":",
            " ",
            "\0",
            "-",
            "+",
            "9",
            "99999999999999999999",
            "é",
            "content-length: 0\r\n",
            "Sessiond-Set-Aside:1\r\n",
            "sessiond-output: x\r\n",
        ];
        let pieces = select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec());
        let any_bytes = proptest::collection::vec(any::<u8>(), 0..4);
        let damage = (any::<Index>(), 0..30_usize, prop_oneof![pieces, any_bytes]);
        let damage = proptest::collection::vec(damage, 0..5);
        (select(&REPLIES[..]), damage).prop_map(|(reply, damage)| {
            let mut reply = reply.as_bytes().to_vec();
            for (at, removed, piece) in damage {
                let at = at.index(reply.len() + 1);
                let end = reply.len().min(at + removed);
                reply.splice(at..end, piece);
            }
            reply
        })
    }

    proptest! {
        #[test]
        fn any_reply_is_made_out_or_not(reply in any_reply()) {
            match received(&reply) {
                Some(Delivery::Accepted { output: Some(output) }) => {
                    let body = reply.windows(4).position(|four| four == b"\r\n\r\n");
                    let body = &reply[body.expect("a head") + 4..];
                    prop_assert!(!output.is_empty() && body.starts_with(&output));
                }
                Some(Delivery::Refused) => {
                    let text = String::from_utf8_lossy(&reply).to_ascii_lowercase();
                    prop_assert!(text.contains(SET_ASIDE_HEADER));
                }
                Some(Delivery::Accepted { output: None }) | None => {}
                other => prop_assert!(false, "{other:?}"),
            }
            let is_http = reply.starts_with(b"HTTP/1.");
            prop_assert!(is_http || received(&reply).is_none());
        }
    }
}
