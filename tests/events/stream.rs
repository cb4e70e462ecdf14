//! A reader of `GET /v1/events`: plain, so that it can be slow, stop reading and hang up.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::support::{Home, LIMIT};

/// A connection that is told events.
pub(crate) struct Stream {
    input: BufReader<UnixStream>,
    /// The last id it was given.
    pub(crate) last_id: String,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    /// Absent: a state, which cannot be gone back to.
    pub(crate) id: Option<String>,
    pub(crate) kind: String,
    pub(crate) data: Value,
}

/// What comes on the line.
enum Block {
    Told(Told),
    /// An id alone.
    Passed,
    Heartbeat,
    End,
}

impl Stream {
    /// Follows with a query such as `?type=session`, and header lines.
    #[track_caller]
    pub(crate) fn open(home: &Home, query: &str, headers: &str) -> Self {
        let mut stream = UnixStream::connect(home.layout().socket()).expect("the worker listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        // Of this version, so that the answer is not in chunks.
        let request = format!("GET /v1/events{query} HTTP/1.0\r\nhost: sessiond\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).expect("it is sent");
        let mut stream = Self {
            input: BufReader::new(stream),
            last_id: String::new(),
        };
        let status = stream.line().expect("a status line");
        assert!(status.contains(" 200 "), "{status}");
        let mut is_event_stream = false;
        while let Some(line) = stream.line().filter(|line| !line.is_empty()) {
            is_event_stream |= line == "content-type: text/event-stream";
        }
        assert!(is_event_stream);
        // It is a reader from here on: its place was given.
        assert!(matches!(stream.block(), Block::Passed));
        stream
    }

    /// The next event but for states.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Told {
        loop {
            match self.block() {
                Block::Told(told) if told.kind != "status" => return told,
                Block::Told(_) | Block::Passed | Block::Heartbeat => {}
                Block::End => panic!("the stream has ended"),
            }
        }
    }

    /// Reads up to the first event of a type.
    #[track_caller]
    pub(crate) fn until(&mut self, kind: &str) -> Vec<Told> {
        let mut told = vec![self.next()];
        while told.last().is_some_and(|last| last.kind != kind) {
            told.push(self.next());
        }
        told
    }

    /// The next state.
    #[track_caller]
    pub(crate) fn status(&mut self) -> Value {
        loop {
            match self.block() {
                Block::Told(told) if told.kind == "status" => return told.data,
                Block::End => panic!("the stream has ended"),
                _ => {}
            }
        }
    }

    /// Waits for a heartbeat; events do not count.
    #[track_caller]
    pub(crate) fn heartbeat(&mut self) {
        while !matches!(self.block(), Block::Heartbeat) {}
    }

    /// Reads to the end of the stream.
    #[track_caller]
    pub(crate) fn end(mut self) {
        while !matches!(self.block(), Block::End) {}
    }

    fn block(&mut self) -> Block {
        let (mut id, mut kind, mut data, mut is_comment) = (None, String::new(), None, false);
        while let Some(line) = self.line() {
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').expect("a field");
            let value = value.trim_start().to_owned();
            match name {
                "" => is_comment = true,
                "id" => id = Some(value),
                "event" => kind = value,
                "data" => data = Some(serde_json::from_str(&value).expect("the data is JSON")),
                other => panic!("a field {other}"),
            }
        }
        if let Some(id) = &id {
            self.last_id.clone_from(id);
        }
        match (data, id) {
            (Some(data), id) => Block::Told(Told { id, kind, data }),
            (None, Some(_)) => Block::Passed,
            (None, None) if is_comment => Block::Heartbeat,
            (None, None) => Block::End,
        }
    }

    /// `None`: the worker has hung up.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.input.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("nothing came: {error}"),
        }
    }
}
