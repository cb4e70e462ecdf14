//! Clients: who is registered, how long, what their tokens reach, and what is never told.

mod scopes;
mod sessions;
mod tokens;
mod told;

use serde_json::{Value, json};

use crate::support::http::{Request, over_tcp};
use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, Response, Sleeper, Worker, launch, wait_until};

/// A worker with both of its sides.
struct Stage {
    // Before its home: the home looks for survivors when it is dropped.
    worker: Worker,
    home: Home,
    port: u16,
    owner: String,
}

impl Stage {
    fn start(home: Home) -> Self {
        let worker = home.start();
        let discovery = home.discovery().expect("the worker is published");
        let owner = std::fs::read_to_string(discovery.token_path).expect("a token");
        Self {
            worker,
            home,
            port: discovery.port.expect("a TCP side"),
            owner: owner.trim().to_owned(),
        }
    }

    /// Ends the worker, with `SIGKILL` or in order, and starts the next one.
    fn restart(self, is_killed: bool, meanwhile: impl FnOnce(&Home)) -> Self {
        let Self { worker, home, .. } = self;
        if is_killed {
            worker.kill();
        } else {
            worker.stop();
        }
        meanwhile(&home);
        Self::start(home)
    }

    /// Over TCP by the bearer of a token.
    #[track_caller]
    fn tcp(&self, token: &str, method: &str, target: &str, body: Option<&Value>) -> Response {
        let mut headers = vec![
            ("host", format!("127.0.0.1:{}", self.port)),
            ("authorization", format!("Bearer {token}")),
        ];
        if body.is_some() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        let body = body.map(|body| body.to_string().into_bytes());
        let request = Request {
            method,
            target,
            headers,
            body,
        };
        over_tcp(self.port, &request).expect("an answer")
    }

    /// Over the unix socket by somebody who says who he is.
    #[track_caller]
    fn unix(&self, token: &str, method: &str, target: &str) -> Response {
        self.worker.api().send(&Request {
            method,
            target,
            headers: vec![("authorization", format!("Bearer {token}"))],
            body: None,
        })
    }

    /// What registering answers; `body` besides the name.
    #[track_caller]
    fn register(&self, mut body: Value) -> Value {
        body["display_name"] = json!("test");
        let api = self.worker.api();
        api.call_with("POST", "/v1/clients/register", &body).json()
    }

    /// The token of a client that registers for a session.
    #[track_caller]
    fn token_for(&self, session: &str) -> String {
        text(&self.register(json!({ "session": session }))["token"])
    }

    /// A session in a project.
    #[track_caller]
    fn session(&self, key: &str, project: Option<&str>) -> String {
        let body = json!({ "agent": "generic", "key": key, "project": project });
        let opened = self.worker.api().call_with("POST", "/v1/sessions", &body);
        text(&opened.json::<Value>()["id"])
    }

    #[track_caller]
    fn is_known(&self, token: &str) -> bool {
        let tcp = self.tcp(token, "GET", "/v1/clients/me", None);
        let unix = self.unix(token, "GET", "/v1/clients/me");
        assert_eq!(tcp.status, unix.status, "both sides say the same");
        if tcp.status == 200 {
            assert_eq!(tcp.json::<Value>()["caller"], "client");
            return true;
        }
        tcp.error(401, "unauthorized");
        false
    }

    #[track_caller]
    fn wait_unknown(&self, token: &str) {
        wait_until("the token is refused", LIMIT, || {
            ok_if(!self.is_known(token), "it is known")
        });
    }

    fn count(&self) -> i64 {
        let listed: Value = self.worker.api().get("/v1/clients");
        listed["count"].as_i64().expect("a count")
    }
}

/// Ids of the clients that are stored.
fn stored(home: &Home) -> Vec<String> {
    let database = rusqlite::Connection::open(home.layout().state_db()).expect("state.db");
    let mut ids = database
        .prepare("SELECT id FROM clients ORDER BY id")
        .expect("a table");
    let ids = ids.query_map([], |row| row.get(0)).expect("rows");
    ids.map(|id| id.expect("a text")).collect()
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("a text: {value}"))
        .to_owned()
}
