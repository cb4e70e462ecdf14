//! The API, typed: what it takes and gives as the library's own types.

use std::io;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sessiond::doctor::Report;
use sessiond::http::Status;
use sessiond::search::Hit;
use sessiond::sessions::{CloseReport, Live};
use sessiond_queue::types::{Message, Receipt, Session, StoredResult};

use super::http::{Request, Response, encode, over_unix};

/// A session as the API shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct SessionView {
    /// As stored.
    #[serde(flatten)]
    pub session: Session,
    /// `active` or `dormant`.
    pub residence: String,
    /// What it does in memory.
    pub live: Option<Box<Live>>,
}

/// The API of a home's worker, over its unix socket. Methods that give a value panic when the
/// worker refuses.
#[derive(Clone, Debug)]
pub struct Api {
    socket: PathBuf,
}

impl Api {
    /// Of the worker that listens at `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Any request at all.
    pub fn try_send(&self, request: &Request<'_>) -> io::Result<Response> {
        over_unix(&self.socket, request)
    }

    /// Any request at all, of a worker that is there.
    #[track_caller]
    pub fn send(&self, request: &Request<'_>) -> Response {
        self.try_send(request)
            .unwrap_or_else(|error| panic!("{} {}: {error}", request.method, request.target))
    }

    /// A request without a body.
    #[track_caller]
    pub fn call(&self, method: &str, target: &str) -> Response {
        self.send(&Request {
            method,
            target,
            ..Request::default()
        })
    }

    /// A request with a JSON body.
    #[track_caller]
    pub fn call_with(&self, method: &str, target: &str, body: &Value) -> Response {
        let headers = vec![("content-type", "application/json".to_owned())];
        let body = Some(body.to_string().into_bytes());
        self.send(&Request {
            method,
            target,
            headers,
            body,
        })
    }

    /// What a `GET` gives.
    #[track_caller]
    pub fn get<T: DeserializeOwned>(&self, target: &str) -> T {
        self.call("GET", target).json()
    }

    /// Hands an event over as a hook does.
    #[track_caller]
    pub fn post_hook(&self, agent: &str, payload: impl AsRef<[u8]>) -> Response {
        self.post_firing(agent, payload, &[])
    }

    /// The same with a firing's own headers: `sessiond-event-id`, `sessiond-fired-at`.
    #[track_caller]
    pub fn post_firing(
        &self,
        agent: &str,
        payload: impl AsRef<[u8]>,
        firing: &[(&str, &str)],
    ) -> Response {
        let mut headers = vec![("content-type", "application/json".to_owned())];
        headers.extend(
            firing
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let target = format!("/v1/hooks/{}", encode(agent));
        let body = Some(payload.as_ref().to_vec());
        self.send(&Request {
            method: "POST",
            target: &target,
            headers,
            body,
        })
    }

    /// The receipt of an event of Claude Code's that is taken without an answer for the agent.
    #[track_caller]
    pub fn accept(&self, payload: impl AsRef<[u8]>) -> Receipt {
        self.post_hook("claude-code", payload).json()
    }

    /// Whether start-up is done.
    pub fn is_ready(&self) -> bool {
        let request = Request {
            method: "GET",
            target: "/readyz",
            ..Request::default()
        };
        self.try_send(&request)
            .is_ok_and(|response| response.status == 200)
    }

    /// The spinner's question.
    #[track_caller]
    pub fn status(&self) -> Status {
        self.get("/v1/status")
    }

    /// The doctor's report.
    #[track_caller]
    pub fn doctor(&self) -> Report {
        self.get("/v1/admin/doctor")
    }

    /// The doctor's report after a look at every row.
    #[track_caller]
    pub fn doctor_deep(&self) -> Report {
        self.get("/v1/admin/doctor?deep=true")
    }

    /// A session, by id or `agent:key`; `None` when there is none.
    #[track_caller]
    pub fn find_session(&self, name: &str) -> Option<SessionView> {
        let response = self.call("GET", &format!("/v1/sessions/{}", encode(name)));
        (response.status != 404).then(|| response.json())
    }

    /// A session that exists.
    #[track_caller]
    pub fn session(&self, name: &str) -> SessionView {
        self.find_session(name)
            .unwrap_or_else(|| panic!("session {name} does not exist"))
    }

    /// Up to a thousand sessions, the last active first.
    #[track_caller]
    pub fn sessions(&self) -> Vec<SessionView> {
        self.list("/v1/sessions?limit=1000", "sessions")
    }

    /// Up to a thousand messages of a session, in order.
    #[track_caller]
    pub fn messages(&self, session: &str) -> Vec<Message> {
        self.list(
            &format!("/v1/sessions/{}/messages?limit=1000", encode(session)),
            "messages",
        )
    }

    /// One message.
    #[track_caller]
    pub fn message(&self, id: i64) -> Message {
        self.get(&format!("/v1/messages/{id}"))
    }

    /// Up to a thousand results of a session, in order.
    #[track_caller]
    pub fn results(&self, session: &str) -> Vec<StoredResult> {
        self.list(
            &format!("/v1/sessions/{}/results?limit=1000", encode(session)),
            "results",
        )
    }

    /// What a search for `words` finds.
    #[track_caller]
    pub fn search(&self, words: &str) -> Vec<Hit> {
        self.list(&format!("/v1/search?q={}&limit=100", encode(words)), "hits")
    }

    /// The context a SessionStart in `project` would get.
    #[track_caller]
    pub fn context(&self, project: &str) -> Option<String> {
        let answer: Value = self.get(&format!("/v1/context?project={}", encode(project)));
        answer["context"].as_str().map(str::to_owned)
    }

    /// Closes a session; `query` is for example `?purge=true`.
    #[track_caller]
    pub fn close(&self, session: &str, query: &str) -> CloseReport {
        self.call(
            "DELETE",
            &format!("/v1/sessions/{}{query}", encode(session)),
        )
        .json()
    }

    #[track_caller]
    fn list<T: DeserializeOwned>(&self, target: &str, name: &str) -> Vec<T> {
        let mut answer: Value = self.get(target);
        serde_json::from_value(answer[name].take())
            .unwrap_or_else(|error| panic!("{name} of {target}: {error}"))
    }
}
