//! Talks to the worker over its unix socket, and does not wait for one that has stopped answering.

use std::time::Duration;

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::pipe::SocketsMayClose;
use super::{CliError, Global};
use crate::instance::Discovery;
use crate::wire::layout::Layout;
use crate::wire::socket::{SocketAddress, socket_address};

/// How long the worker may take to answer; it answers in milliseconds.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// A connection to the worker of a home.
pub(super) struct Client {
    http: reqwest::Client,
    layout: Layout,
    /// Keeps the directory open that a very long path is reached through.
    _socket: SocketAddress,
}

impl Client {
    pub(super) fn new(global: &Global) -> Result<Self, CliError> {
        let socket = socket_address(&global.layout.socket()).map_err(|_| CliError::NotRunning)?;
        let http = reqwest::Client::builder()
            .unix_socket(socket.path())
            .build()
            .map_err(anyhow::Error::new)?;
        Ok(Self {
            http,
            layout: global.layout.clone(),
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
        let bytes = self.exchange(Method::GET, path, query, limit).await?;
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
        let bytes = self.exchange(method, path, query, limit).await?;
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
        let bytes = self.exchange(method, path, query, None).await?;
        Ok(serde_json::from_slice(&bytes).map_err(anyhow::Error::new)?)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, Option<String>)],
        limit: Option<Duration>,
    ) -> Result<Vec<u8>, CliError> {
        let mut url = reqwest::Url::parse("http://sessiond").expect("a constant that is a URL");
        // Each segment by itself: a session's key may hold a slash.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(
                path.split('/')
                    .filter(|part| !part.is_empty())
                    .map(unescape),
            );
        }
        for (name, value) in query {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        let _sockets = SocketsMayClose::new();
        let mut request = self.http.request(method, url);
        if let Some(limit) = limit {
            request = request.timeout(limit);
        }
        let response = request.send().await.map_err(|error| self.failure(error))?;
        let is_success = response.status().is_success();
        let bytes = response
            .bytes()
            .await
            .map_err(|error| self.failure(error))?;
        if is_success {
            return Ok(bytes.into());
        }
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
pub(super) fn holder(layout: &Layout) -> String {
    let noted = std::fs::read_to_string(layout.lock_file()).unwrap_or_default();
    match noted.trim() {
        "" => Discovery::read(layout).map_or_else(|| "?".to_owned(), |found| found.pid.to_string()),
        pid => pid.to_owned(),
    }
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
