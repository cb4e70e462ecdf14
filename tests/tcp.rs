//! The TCP side: only for the bearer of the token, from this machine, and not from a web page.

use serde_json::{Value, json};

use crate::support::http::{Request, over_tcp};
use crate::support::{Home, Response, Worker, payload};

/// A worker with its TCP side.
struct Tcp {
    // Before its home: the home looks for survivors when it is dropped.
    worker: Worker,
    home: Home,
    port: u16,
    token: String,
}

impl Tcp {
    fn start() -> Self {
        let home = Home::new();
        let worker = home.start();
        let discovery = home.discovery().expect("the worker is published");
        let port = discovery.port.expect("a TCP side");
        let token = std::fs::read_to_string(discovery.token_path).expect("a token");
        Self {
            home,
            worker,
            port,
            token: token.trim().to_owned(),
        }
    }

    /// A request with these headers besides the right `host`, unless they have one.
    fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Response {
        let mut all: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        if !headers.iter().any(|(name, _)| *name == "host") {
            all.push(("host", format!("127.0.0.1:{}", self.port)));
        }
        let body = body.map(|body| body.as_bytes().to_vec());
        let request = Request {
            method,
            target,
            headers: all,
            body,
        };
        over_tcp(self.port, &request).expect("an answer")
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

#[test]
fn bearer_of_the_token_is_served() {
    let tcp = Tcp::start();
    let bearer = tcp.bearer();
    let auth = ("authorization", bearer.as_str());
    let json = ("content-type", "application/json");
    let event = payload::prompt("s", "hello");
    tcp.send("POST", "/v1/hooks/claude-code", &[auth, json], Some(&event))
        .json::<Value>();
    tcp.worker.wait_idle();
    let session: Value = tcp
        .send("GET", "/v1/sessions/claude-code:s", &[auth], None)
        .json();
    assert_eq!(session["prompt"], "hello");
    let origin = format!("http://localhost:{}", tcp.port);
    let host = format!("localhost:{}", tcp.port);
    let ours = [auth, ("origin", origin.as_str()), ("host", host.as_str())];
    tcp.send("GET", "/v1/status", &ours, None).json::<Value>();
    for scheme in ["bearer", "BEARER"] {
        let credentials = format!("{scheme} {}", tcp.token);
        let auth = ("authorization", credentials.as_str());
        tcp.send("GET", "/v1/status", &[auth], None).json::<Value>();
    }
}

#[test]
fn nobody_is_served_without_the_token() {
    let tcp = Tcp::start();
    let wrong = format!("Bearer {}", "0".repeat(tcp.token.len()));
    let shorter = format!("Bearer {}", &tcp.token[1..]);
    let basic = format!("Basic {}", tcp.token);
    let attempts: [&[(&str, &str)]; 6] = [
        &[],
        &[("authorization", "Bearer ")],
        &[("authorization", &wrong)],
        &[("authorization", &shorter)],
        &[("authorization", &basic)],
        &[("authorization", &tcp.token)],
    ];
    for headers in attempts {
        for (method, target) in [
            ("GET", "/v1/status"),
            ("GET", "/v1/admin/doctor"),
            ("GET", "/metrics"),
            ("GET", "/nowhere"),
        ] {
            tcp.send(method, target, headers, None)
                .error(401, "unauthorized");
        }
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json"));
        let event = payload::prompt("s", "hello");
        let response = tcp.send("POST", "/v1/hooks/claude-code", &headers, Some(&event));
        response.error(401, "unauthorized");
        for target in ["/v1/admin/shutdown", "/v1/admin/doctor/fix"] {
            tcp.send("POST", target, &headers, Some(""))
                .error(401, "unauthorized");
        }
    }
    assert!(tcp.worker.api().find_session("claude-code:s").is_none());
    assert!(tcp.worker.process().is_alive());
    assert_eq!(
        tcp.send("GET", "/livez", &[], None).status,
        200,
        "liveness tells nothing"
    );
}

#[test]
fn foreign_hosts_and_origins_are_turned_away_even_with_the_token() {
    let tcp = Tcp::start();
    let bearer = tcp.bearer();
    let other_port = tcp.port.wrapping_add(1);
    let foreign_hosts = [
        "evil.example".to_owned(),
        format!("evil.example:{}", tcp.port),
        format!("127.0.0.1.evil.example:{}", tcp.port),
        format!("127.0.0.1:{other_port}"),
        "localhost".to_owned(),
    ];
    for host in &foreign_hosts {
        let headers = [("authorization", bearer.as_str()), ("host", host)];
        tcp.send("GET", "/v1/status", &headers, None)
            .error(403, "forbidden");
        tcp.send("GET", "/livez", &[("host", host)], None)
            .error(403, "forbidden");
    }
    let foreign_origins = [
        "http://evil.example",
        "null",
        "https://127.0.0.1",
        "http://localhost:1",
        "",
    ];
    for origin in foreign_origins {
        let headers = [("authorization", bearer.as_str()), ("origin", origin)];
        tcp.send("GET", "/v1/status", &headers, None)
            .error(403, "forbidden");
    }
}

#[test]
fn bodies_that_a_web_page_may_send_unasked_are_refused() {
    let tcp = Tcp::start();
    let bearer = tcp.bearer();
    let event = payload::prompt("s", "hello");
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/json",
    ] {
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        tcp.send("POST", "/v1/hooks/claude-code", &headers, Some(&event))
            .error(415, "unsupported_media_type");
    }
    let headers = [("authorization", bearer.as_str())];
    tcp.send("POST", "/v1/hooks/claude-code", &headers, Some(&event))
        .error(415, "unsupported_media_type");
    assert!(tcp.worker.api().find_session("claude-code:s").is_none());
}

#[test]
fn token_is_the_owners_and_stays_over_a_restart() {
    use std::os::unix::fs::PermissionsExt;
    let Tcp {
        home,
        worker,
        token,
        ..
    } = Tcp::start();
    for path in [
        home.layout().token_file(),
        home.layout().instance_file(),
        home.layout().socket(),
    ] {
        let mode = std::fs::symlink_metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
    worker.stop();
    let _worker = home.start();
    let kept = std::fs::read_to_string(home.layout().token_file()).expect("a token");
    assert_eq!(kept.trim(), token);
    assert!(!home.log().contains(&token), "the token is not logged");
}

#[test]
fn tcp_side_can_be_switched_off() {
    let home = Home::new().with("http.tcp", false);
    let worker = home.start();
    assert_eq!(home.discovery().expect("published").port, None);
    let report = worker.api().doctor();
    assert_eq!(json!(report.verdict), "ok", "{:?}", report.findings);
}
