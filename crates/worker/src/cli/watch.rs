//! `sessiond watch`: what happens, live, over restarts of the worker.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{IsTerminal, Write, stdout};
use std::os::fd::AsFd;
use std::pin::pin;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::Value;
use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::time::Instant;

use super::client::Client;
use super::{CliError, Global, project, told};
use crate::events::{Filter, InvalidTypes, Place, STATUS, table_of_types};

/// How often a worker that is gone is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Where a reader says what it was told last.
const LAST_EVENT_ID: &str = "last-event-id";

/// The longest line of a stream; the worker's are far shorter.
const LINE_MAX_BYTES: usize = 1 << 20;

/// How long the last worker's events may be awaited before it is said that there is a worker again.
const REST_WAIT: Duration = Duration::from_secs(1);

/// The state while there is none.
const NO_WORKER: &str = "no worker";

/// From one picture of the spinner to the next, while anything is in work.
const SPIN_EVERY: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
#[command(after_long_help = types_help())]
pub(super) struct WatchArgs {
    /// Only what happens in this session: its id, or AGENT:KEY.
    #[arg(long, value_parser = super::sessions::session_name)]
    session: Option<String>,
    /// Only events of these types, with commas between them: `message.dead`, or `session` for all of
    /// that kind. `--help` lists them.
    #[arg(long = "type", value_name = "TYPES", value_parser = types)]
    types: Option<String>,
    /// Only what happens in sessions of this project: its root, or any directory in it when
    /// it is a git repository.
    #[arg(long, value_name = "DIR")]
    project: Option<String>,
    /// Begin after the event of this id, if it is still kept.
    #[arg(long, value_name = "ID")]
    after: Option<Place>,
    /// End after so many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// A list of types as it was typed.
fn types(list: &str) -> Result<String, InvalidTypes> {
    Filter::default().set_types(list)?;
    Ok(list.to_owned())
}

fn types_help() -> String {
    let table = table_of_types().replace('\n', "\n  ");
    format!("Types of events:\n  {table}")
}

/// Follows the worker's events until Ctrl-C, the end of whoever reads our output, or `--count`.
pub(super) async fn watch(global: &Global, args: WatchArgs) -> Result<(), CliError> {
    let mut watch = Watch {
        query: [
            ("session", args.session),
            ("type", args.types),
            ("project", args.project.as_deref().map(project).transpose()?),
            ("after", args.after.map(|place| place.to_string())),
        ],
        last_id: None,
        left_at: None,
        greet_at: None,
        left: args.count,
        screen: Screen::new(global.json),
    };
    let ended = tokio::select! {
        ended = watch.follow(global) => ended,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(|error| anyhow::Error::new(error).into()),
        () = reader_gone() => Ok(()),
    };
    watch.screen.clear();
    ended
}

struct Watch {
    query: [(&'static str, Option<String>); 4],
    /// What was told last, to go on there.
    last_id: Option<HeaderValue>,
    /// The same when the last worker was lost.
    left_at: Option<Place>,
    /// When it is said at the latest that there is a worker again: not before the events that the last
    /// one has left.
    greet_at: Option<Instant>,
    /// Events until the end.
    left: Option<u64>,
    screen: Screen,
}

impl Watch {
    async fn follow(&mut self, global: &Global) -> Result<(), CliError> {
        let client = Client::new(global)?;
        let mut stream = self.connect(&client).await?;
        loop {
            let how = match self.read(&mut stream).await? {
                End::Enough => return Ok(()),
                End::Stopped => "has stopped",
                End::Gone => "is gone",
            };
            self.left_at = self.last_place();
            self.screen.lose(how);
            stream = self.connect_again(global).await?;
            self.greet_at = Some(Instant::now() + REST_WAIT);
        }
    }

    fn last_place(&self) -> Option<Place> {
        self.last_id.as_ref()?.to_str().ok()?.parse().ok()
    }

    async fn connect(&self, client: &Client) -> Result<Stream, CliError> {
        let mut headers = HeaderMap::new();
        if let Some(id) = &self.last_id {
            headers.insert(LAST_EVENT_ID, id.clone());
        }
        let response = client.follow("/v1/events", &self.query, headers).await?;
        Ok(Stream::new(response))
    }

    /// Waits as long as it takes: only another process can change anything about it.
    async fn connect_again(&self, global: &Global) -> Result<Stream, CliError> {
        loop {
            match self.connect(&Client::at_once(global)?).await {
                Ok(stream) => return Ok(stream),
                // It would refuse the next time too, but for want of room.
                Err(CliError::Refused { code, message }) if code != "too_many_readers" => {
                    return Err(CliError::Refused { code, message });
                }
                Err(_not_yet) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Shows what comes until the stream ends.
    async fn read(&mut self, stream: &mut Stream) -> Result<End, CliError> {
        loop {
            let block = match self.next(stream).await {
                Ok(Some(block)) => block,
                Ok(None) => return Ok(End::Stopped),
                // A worker that stops ends its streams.
                Err(_cut_off) => return Ok(End::Gone),
            };
            if let Some(id) = block.id.and_then(|id| HeaderValue::from_str(&id).ok()) {
                self.last_id = Some(id);
                let generation = |place: Place| place.generation;
                if self.last_place().map(generation) > self.left_at.map(generation) {
                    self.greet();
                }
            }
            let Some(data) = block.data else {
                continue;
            };
            let is_status = block.event == STATUS;
            self.screen.show(&block.event, &data)?;
            if let Some(left) = self.left.as_mut().filter(|_| !is_status) {
                *left -= 1;
                if *left == 0 {
                    return Ok(End::Enough);
                }
            }
        }
    }

    /// What comes next. When nothing has for a moment, the last worker's events have all been shown.
    async fn next(&mut self, stream: &mut Stream) -> anyhow::Result<Option<Block>> {
        let mut next = pin!(stream.next());
        if let Some(at) = self.greet_at {
            tokio::select! {
                biased;
                block = &mut next => return block,
                () = tokio::time::sleep_until(at) => self.greet(),
            }
        }
        next.await
    }

    /// Says once that there is a worker again.
    fn greet(&mut self) {
        if self.greet_at.take().is_some() {
            self.screen.find();
        }
    }
}

/// How a stream has ended.
enum End {
    /// All that was wanted was shown.
    Enough,
    /// The worker has ended it.
    Stopped,
    /// It was cut off.
    Gone,
}

/// Where events are shown.
struct Screen {
    is_json: bool,
    is_coloured: bool,
    /// Only on a terminal.
    spinner: Option<ProgressBar>,
}

impl Screen {
    fn new(is_json: bool) -> Self {
        let is_terminal = stdout().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let spinner = (is_terminal && !is_json).then(|| {
            let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            // Without a template error: it is a constant.
            let style = ProgressStyle::with_template("{spinner} {msg}");
            spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            spinner
        });
        Self {
            is_json,
            is_coloured: is_terminal && !no_color,
            spinner,
        }
    }

    fn show(&self, event: &str, data: &str) -> Result<(), CliError> {
        if self.is_json {
            return self.print(data);
        }
        let data: Value = serde_json::from_str(data).unwrap_or_default();
        if event == STATUS {
            self.spin(&data);
            return Ok(());
        }
        match told::line(event, &data, self.is_coloured) {
            Some(line) => self.print(line.trim_end()),
            None => Ok(()),
        }
    }

    /// Flushed: whoever reads a pipe wants it now.
    fn print(&self, line: &str) -> Result<(), CliError> {
        let print = || {
            let mut out = stdout().lock();
            writeln!(out, "{line}").and_then(|()| out.flush())
        };
        let printed = match &self.spinner {
            Some(spinner) => spinner.suspend(print),
            None => print(),
        };
        Ok(printed.map_err(anyhow::Error::new)?)
    }

    /// Turns while anything is in work; otherwise it stands still and costs nothing.
    fn spin(&self, status: &Value) {
        let Some(spinner) = &self.spinner else {
            return;
        };
        let depth = status["depth"].as_i64().unwrap_or_default();
        if status["is_processing"] == true {
            spinner.set_message(format!("working, {depth} to do"));
            spinner.enable_steady_tick(SPIN_EVERY);
        } else {
            self.rest(match depth {
                0 => "idle".to_owned(),
                _ => format!("waiting, {depth} to do"),
            });
        }
    }

    /// Says that the worker stands no longer behind what is shown, and how it went.
    fn lose(&self, how: &str) {
        self.remark(&format!("the worker {how}; waiting for the next one"));
        self.rest(NO_WORKER);
    }

    /// Says that there is one again. Its state follows, unless other events were asked for.
    fn find(&self) {
        self.remark("the worker is there again");
        let spinner = self.spinner.as_ref();
        if spinner.is_some_and(|spinner| spinner.message() == NO_WORKER) {
            self.rest("watching");
        }
    }

    /// Stands still with these words.
    fn rest(&self, words: impl Into<Cow<'static, str>>) {
        if let Some(spinner) = &self.spinner {
            spinner.disable_steady_tick();
            spinner.set_message(words);
            spinner.tick();
        }
    }

    /// Not on standard output, which has what the worker tells.
    fn remark(&self, words: &str) {
        let line = told::remark(words);
        let print = || eprintln!("{line}");
        match &self.spinner {
            Some(spinner) => spinner.suspend(print),
            None => print(),
        }
    }

    fn clear(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// Server-sent events as they come.
struct Stream {
    response: reqwest::Response,
    unread: VecDeque<u8>,
}

/// One event of a stream, or an id alone.
#[derive(Default)]
struct Block {
    id: Option<String>,
    event: String,
    data: Option<String>,
}

impl Stream {
    fn new(response: reqwest::Response) -> Self {
        Self {
            response,
            unread: VecDeque::new(),
        }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> anyhow::Result<Option<Block>> {
        let mut block = Block::default();
        loop {
            let Some(line) = self.line().await? else {
                return Ok(None);
            };
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "" if line.is_empty() => {
                    if block.id.is_some() || block.data.is_some() {
                        return Ok(Some(block));
                    }
                    block = Block::default();
                }
                "id" => block.id = Some(value.to_owned()),
                "event" => block.event = value.to_owned(),
                // The worker's are one line each.
                "data" => block.data = Some(value.to_owned()),
                // A comment, or what another version has.
                _ => {}
            }
        }
    }

    async fn line(&mut self) -> anyhow::Result<Option<String>> {
        let mut looked_at = 0;
        loop {
            let end = self.unread.iter().skip(looked_at).position(|b| *b == b'\n');
            if let Some(end) = end.map(|end| looked_at + end) {
                let mut line: Vec<u8> = self.unread.drain(..=end).collect();
                line.pop();
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            looked_at = self.unread.len();
            anyhow::ensure!(looked_at <= LINE_MAX_BYTES, "the worker's line is too long");
            match self.response.chunk().await? {
                Some(bytes) => self.unread.extend(bytes),
                None => return Ok(None),
            }
        }
    }
}

/// Waits until nobody reads our output any more, also while nothing is written; for ever if that
/// cannot be known, as of a file.
async fn reader_gone() {
    // A copy that nothing is written to: it stays as blocking as it is. What is no pipe at all may be
    // watched the same way, or not.
    let watched = stdout()
        .as_fd()
        .try_clone_to_owned()
        .and_then(pipe::Sender::from_owned_fd_unchecked);
    if let Ok(out) = watched
        && out.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
