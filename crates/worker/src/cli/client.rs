//! Talks to the worker over its unix socket. Waits a little for one that is starting, and not for
//! one that has stopped answering; says which of the two, or why there is none.

use std::future::Future;
use std::io::{IsTerminal, stderr};
use std::pin::pin;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::pipe::SocketsMayClose;
use super::{CliError, Global};
use crate::config::Config;
use crate::home;
use crate::occupant::{Occupant, Phase};
use crate::wire::layout::Layout;
use crate::wire::socket::{SocketAddress, socket_address};

/// How long the worker may take to answer; it answers in milliseconds.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// How long a worker that is starting is waited for, which takes it a fraction of that.
const START_WAIT: Duration = Duration::from_secs(2);
/// How long the socket of a worker that serves may refuse: it changes hands just now, or is gone.
const SOCKET_WAIT: Duration = Duration::from_secs(1);
/// How often a state that only another process can change is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);
/// After this a person at a terminal is told what takes so long.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// What goes with a request.
#[derive(Clone, Copy)]
enum Sent<'a> {
    /// Pairs; those without a value are left out.
    Query(&'a [(&'a str, Option<String>)]),
    Body(&'a Value),
}

/// A connection to the worker of a home.
pub(super) struct Client {
    http: reqwest::Client,
    layout: Layout,
    /// Until when a worker that is starting is waited for; `None`: nobody is waited for, and
    /// nobody asks why.
    waits_until: Option<Instant>,
    /// Keeps the directory open that a very long path is reached through.
    _socket: SocketAddress,
}

impl Client {
    /// Waits a moment for a worker that is starting.
    pub(super) fn new(global: &Global) -> Result<Self, CliError> {
        Self::waiting(global, START_WAIT)
    }

    /// Waits so long, from now on, for a worker that is starting.
    pub(super) fn waiting(global: &Global, wait: Duration) -> Result<Self, CliError> {
        let waits_until = Some(Instant::now() + wait);
        Ok(Self {
            waits_until,
            ..Self::at_once(global)?
        })
    }

    /// Finds a worker that listens, or else [`CliError::NotRunning`].
    pub(super) fn at_once(global: &Global) -> Result<Self, CliError> {
        let socket = socket_address(&global.layout.socket()).map_err(|_| CliError::NotRunning)?;
        let http = reqwest::Client::builder()
            .unix_socket(socket.path())
            .build()
            .map_err(anyhow::Error::new)?;
        Ok(Self {
            http,
            layout: global.layout.clone(),
            waits_until: None,
            _socket: socket,
        })
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.send(Method::GET, path, &[]).await
    }

    /// The plain text of an endpoint; an error when its status is one.
    pub(super) async fn get_text(&self, path: &str) -> Result<String, CliError> {
        self.get_text_of(path, &[]).await
    }

    /// The same with a query.
    pub(super) async fn get_text_of(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
    ) -> Result<String, CliError> {
        let limit = Some(ANSWER_WAIT);
        let bytes = self
            .exchange(Method::GET, path, Sent::Query(query), limit)
            .await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Sends a request; `query` pairs without a value are left out.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, Option<String>)],
    ) -> Result<T, CliError> {
        let limit = Some(ANSWER_WAIT);
        let bytes = self
            .exchange(method, path, Sent::Query(query), limit)
            .await?;
        Ok(serde_json::from_slice(&bytes).map_err(anyhow::Error::new)?)
    }

    /// Sends a request whose answer takes as long as the work it asks for. The worker must show
    /// first that it answers at all.
    pub(super) async fn send_and_wait<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, Option<String>)],
    ) -> Result<T, CliError> {
        self.get_text("/livez").await?;
        let words = self.words_of(&method, query);
        let exchange = self.exchange(method, path, Sent::Query(query), None);
        let bytes = telling(words, exchange).await?;
        Ok(serde_json::from_slice(&bytes).map_err(anyhow::Error::new)?)
    }

    /// The same with a JSON body; `words` say what is waited for.
    pub(super) async fn post_and_wait<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        words: &str,
    ) -> Result<T, CliError> {
        self.get_text("/livez").await?;
        let sent = Sent::Body(body);
        let exchange = self.exchange(Method::POST, path, sent, None);
        let bytes = telling(words.to_owned(), exchange).await?;
        Ok(serde_json::from_slice(&bytes).map_err(anyhow::Error::new)?)
    }

    /// What an answer is waited for.
    fn words_of(&self, method: &Method, query: &[(&str, Option<String>)]) -> String {
        if *method != Method::DELETE {
            return "waiting for the worker's answer".to_owned();
        }
        // Whatever became of the file meanwhile, the worker can be asked.
        let config = Config::load(self.layout.config_file(), Config::variables());
        let session = config.unwrap_or_default().session;
        let is_drain = query
            .iter()
            .any(|(name, value)| *name == "drain" && value.is_some());
        let drain_ms = if is_drain { session.drain_max_ms } else { 0 };
        let seconds = (drain_ms + session.generator_stop_wait_ms).div_ceil(1000);
        format!("waiting for what is in work, up to {seconds} s")
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        sent: Sent<'_>,
        limit: Option<Duration>,
    ) -> Result<Vec<u8>, CliError> {
        let answer = self.exchange_once(method.clone(), path, sent, limit).await;
        let (Err(CliError::NotRunning), Some(until)) = (&answer, self.waits_until) else {
            return answer;
        };
        // Nothing was sent, so that sending it is no repetition.
        self.wait_for_worker(until).await?;
        self.exchange_once(method, path, sent, limit).await
    }

    /// Waits until the start-up of a worker that is on its way is done: only then it has taken in
    /// what hooks have left for it. The error says why none will answer.
    async fn wait_for_worker(&self, until: Instant) -> Result<(), CliError> {
        let socket_until = until.max(Instant::now() + SOCKET_WAIT);
        loop {
            let answer = self
                .exchange_once(Method::GET, "/readyz", Sent::Query(&[]), Some(ANSWER_WAIT))
                .await;
            let listens = match answer {
                Ok(_) => return Ok(()),
                Err(error @ CliError::NotAnswering { .. }) => return Err(error),
                Err(error) => !matches!(error, CliError::NotRunning),
            };
            let now = Instant::now();
            match Occupant::look(&self.layout) {
                _ if listens && now >= until => return Ok(()),
                _ if listens => {}
                None => return Err(absence(&self.layout)),
                Some(Occupant {
                    phase: Phase::Serving,
                    ..
                }) => {
                    if now >= socket_until {
                        let holder = holder(&self.layout);
                        return Err(CliError::NotAnswering { holder });
                    }
                }
                Some(occupant) if now >= until || !occupant.is_coming() => {
                    return Err(CliError::NotServing(occupant));
                }
                Some(_) => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// An answer that comes bit by bit and has no end of its own; `headers` go with the request. The
    /// worker must begin it as soon as any other.
    pub(super) async fn follow(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
        headers: header::HeaderMap,
    ) -> Result<Response, CliError> {
        let begin = || async {
            let sent = self
                .request(Method::GET, path, Sent::Query(query))
                .headers(headers.clone())
                .send();
            let response = {
                let _sockets = SocketsMayClose::new();
                tokio::time::timeout(ANSWER_WAIT, sent).await
            };
            let response = response.map_err(|_elapsed| CliError::NotAnswering {
                holder: holder(&self.layout),
            })?;
            self.accepted(response.map_err(|error| self.failure(error))?)
                .await
        };
        let answer = begin().await;
        let (Err(CliError::NotRunning), Some(until)) = (&answer, self.waits_until) else {
            return answer;
        };
        self.wait_for_worker(until).await?;
        begin().await
    }

    async fn exchange_once(
        &self,
        method: Method,
        path: &str,
        sent: Sent<'_>,
        limit: Option<Duration>,
    ) -> Result<Vec<u8>, CliError> {
        let _sockets = SocketsMayClose::new();
        let mut request = self.request(method, path, sent);
        if let Some(limit) = limit {
            request = request.timeout(limit);
        }
        let response = request.send().await.map_err(|error| self.failure(error))?;
        let response = self.accepted(response).await?;
        let bytes = response.bytes().await;
        Ok(bytes.map_err(|error| self.failure(error))?.into())
    }

    fn request(&self, method: Method, path: &str, sent: Sent<'_>) -> RequestBuilder {
        let mut url = reqwest::Url::parse("http://sessiond").expect("a constant that is a URL");
        // Each segment by itself: a session's key may hold a slash.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(
                path.split('/')
                    .filter(|part| !part.is_empty())
                    .map(unescape),
            );
        }
        if let Sent::Query(query) = sent {
            for (name, value) in query {
                if let Some(value) = value {
                    url.query_pairs_mut().append_pair(name, value);
                }
            }
        }
        let request = self.http.request(method, url);
        match sent {
            Sent::Query(_) => request,
            Sent::Body(body) => request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body.to_string()),
        }
    }

    /// The answer, if it is none that refuses.
    async fn accepted(&self, response: Response) -> Result<Response, CliError> {
        if response.status().is_success() {
            return Ok(response);
        }
        let bytes = response.bytes().await;
        let bytes = bytes.map_err(|error| self.failure(error))?;
        let error: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let word = |name: &str| error["error"][name].as_str().unwrap_or_default().to_owned();
        Err(CliError::Refused {
            code: word("code"),
            message: word("message"),
        })
    }

    fn failure(&self, error: reqwest::Error) -> CliError {
        // Asked for first: a connection may be what could not be made in time.
        if error.is_timeout() {
            CliError::NotAnswering {
                holder: holder(&self.layout),
            }
        } else if error.is_connect() {
            CliError::NotRunning
        } else {
            anyhow::Error::new(error).into()
        }
    }
}

/// The process id of the worker, as it wrote it when it took the lock; a question mark when it
/// cannot be read.
fn holder(layout: &Layout) -> String {
    let pid = Occupant::look(layout).and_then(|occupant| occupant.pid);
    pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string())
}

/// Why nobody has the home.
fn absence(layout: &Layout) -> CliError {
    home::problem(layout).map_or(CliError::NotRunning, CliError::Unfit)
}

/// Does `work`; when it takes long, a person at a terminal is told what is waited for.
pub(super) async fn telling<T>(words: String, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(TELL_AFTER) => {}
    }
    if stderr().is_terminal() {
        eprintln!("{words}");
    }
    work.await
}

/// A path segment in which a slash is part of the name.
pub(super) fn segment(name: &str) -> String {
    name.replace('/', "\u{1}")
}

fn unescape(part: &str) -> String {
    part.replace('\u{1}', "/")
}

/// One request to the worker of a home.
pub(super) async fn ask<T: DeserializeOwned>(
    global: &Global,
    method: Method,
    path: &str,
    query: &[(&str, Option<String>)],
) -> Result<T, CliError> {
    Client::new(global)?.send(method, path, query).await
}

/// The part of an answer called `name`.
pub(super) fn part<T: DeserializeOwned>(answer: &Value, name: &str) -> Result<T, CliError> {
    Ok(serde_json::from_value(answer[name].clone()).map_err(anyhow::Error::new)?)
}

/// For programs.
pub(super) fn print_json(value: &Value) -> Result<(), CliError> {
    println!(
        "{}",
        serde_json::to_string_pretty(value).map_err(anyhow::Error::new)?
    );
    Ok(())
}
