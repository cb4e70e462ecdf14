//! What a client's token reaches, on both sides, and that nothing else is done for it.

use sessiond::http::{Access, access_table};

use super::*;

/// Own session and project, another session of it, and a foreign one.
struct Scopes {
    stage: Stage,
    own: String,
    sibling: String,
    foreign: String,
    token: String,
    id: String,
}

impl Scopes {
    fn new() -> Self {
        let stage = Stage::start(Home::new());
        let [own, sibling, foreign] = [("own", "/p"), ("sibling", "/p"), ("foreign", "/q")]
            .map(|(key, project)| stage.session(key, Some(project)));
        let registered = stage.register(json!({ "session": own }));
        let (token, id) = (
            text(&registered["token"]),
            text(&registered["client"]["id"]),
        );
        Self {
            stage,
            own,
            sibling,
            foreign,
            token,
            id,
        }
    }

    #[track_caller]
    fn check(&self, method: &str, target: &str, body: Option<&Value>, status: u16) -> Response {
        let answer = self.stage.tcp(&self.token, method, target, body);
        assert_eq!(
            answer.status,
            status,
            "{method} {target}: {}",
            answer.text()
        );
        if status == 403 {
            answer.error(403, "forbidden");
        }
        answer
    }
}

#[test]
fn every_route_that_is_the_owners_is_refused_to_clients() {
    let scopes = Scopes::new();
    let routes = access_table().routes();
    assert!(routes.len() > 40, "the table is walked through");
    let before = scopes.stage.worker.api().sessions();
    for (method, path, access) in routes {
        let target = path
            .replace("{session}", &scopes.foreign)
            .replace("{client}", "0192d3c4-0000-4000-8000-000000000001")
            .replace("{message}", "1")
            .replace("{agent}", "generic")
            // An answer that ends.
            .replace("/v1/events", "/v1/events?type=!");
        let answer = scopes
            .stage
            .tcp(&scopes.token, method.as_str(), &target, None);
        match access {
            // With a foreign name in its path, each of these is nobody's but the owner's.
            Access::Owner | Access::Itself | Access::OwnSession | Access::OwnProject => {
                assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text());
                answer.error(403, "forbidden");
            }
            Access::Open | Access::Client | Access::Narrowed => {
                assert_ne!(answer.status, 403, "{method} {path}: {}", answer.text());
            }
        }
    }
    assert!(scopes.stage.worker.process().is_alive());
    assert_eq!(scopes.stage.worker.api().sessions().len(), before.len());
    assert_eq!(scopes.stage.count(), 1);
}

#[test]
fn client_reads_its_project_and_writes_its_own_session_only() {
    let scopes = Scopes::new();
    let message = json!({ "kind": "note", "payload": {} });
    let patch = json!({ "metadata": { "a": 1 } });
    for (session, read, write) in [
        (scopes.own.as_str(), 200, 200),
        ("generic:own", 200, 200),
        (scopes.sibling.as_str(), 200, 403),
        (scopes.foreign.as_str(), 403, 403),
        // Whether there is such a session is not told either.
        ("generic:none", 403, 403),
    ] {
        let at = |rest: &str| format!("/v1/sessions/{session}{rest}");
        scopes.check("GET", &at(""), None, read);
        scopes.check("GET", &at("/messages"), None, read);
        scopes.check("GET", &at("/results"), None, read);
        scopes.check("PATCH", &at(""), Some(&patch), write);
        let accepted = if write == 200 { 202 } else { write };
        scopes.check("POST", &at("/messages"), Some(&message), accepted);
        if write == 403 {
            scopes.check("DELETE", &at("?purge=true"), None, 403);
        }
    }
    let api = scopes.stage.worker.api();
    for session in [&scopes.sibling, &scopes.foreign] {
        assert!(api.messages(session).is_empty(), "nothing was done");
        assert!(api.session(session).session.metadata.is_empty());
    }
    let own = format!("/v1/clients/{}", scopes.id);
    scopes.check("PATCH", &own, Some(&patch), 200);
    scopes.check("GET", &own, None, 200);

    // Over the unix socket a token narrows as well; without one the peer is the owner.
    let foreign = format!("/v1/sessions/{}", scopes.foreign);
    scopes
        .stage
        .unix(&scopes.token, "GET", &foreign)
        .error(403, "forbidden");
    api.session(&scopes.foreign);
    let owner = scopes.stage.tcp(&scopes.stage.owner, "GET", &foreign, None);
    assert_eq!(owner.status, 200);
}

#[test]
fn listings_show_a_client_what_is_its_own() {
    let scopes = Scopes::new();
    let keys = |answer: Response| {
        let listed: Value = answer.json();
        let sessions = listed["sessions"].as_array().expect("a list").clone();
        let mut keys: Vec<_> = sessions
            .iter()
            .map(|session| text(&session["key"]))
            .collect();
        keys.sort();
        keys
    };
    let listed = scopes.check("GET", "/v1/sessions", None, 200);
    assert_eq!(keys(listed), ["own", "sibling"]);
    scopes.check("GET", "/v1/sessions?project=/q", None, 403);
    scopes.check("GET", "/v1/context?project=/p", None, 200);
    scopes.check("GET", "/v1/context?project=/q", None, 403);
    scopes.check("GET", "/v1/search?q=x&project=/q", None, 403);
    // What is found is of the project, whoever's words it has.
    let api = scopes.stage.worker.api();
    for (key, project) in [("own", "/p"), ("foreign", "/q")] {
        let event = json!({
            "session_id": key, "event": "UserPromptSubmit", "prompt": "heliotrope", "cwd": project,
        });
        api.post_hook("generic", event.to_string()).json::<Value>();
    }
    scopes.stage.worker.wait_idle();
    let all = api.search("heliotrope").len();
    let found = scopes.check("GET", "/v1/search?q=heliotrope", None, 200);
    let found = found.json::<Value>()["hits"].as_array().cloned();
    let found = found.expect("hits");
    assert!(all > found.len(), "the owner finds more");
    assert!(found.iter().all(|hit| hit["project"] == "/p"), "{found:?}");

    // A client without a project has its session alone.
    let lone = scopes.stage.session("lone", None);
    let token = scopes.stage.token_for(&lone);
    let listed = scopes.stage.tcp(&token, "GET", "/v1/sessions", None);
    assert_eq!(keys(listed), ["lone"]);
    let token = text(&scopes.stage.register(json!({}))["token"]);
    let nothing = scopes.stage.tcp(&token, "GET", "/v1/sessions", None);
    nothing.error(403, "forbidden");
}

#[test]
fn client_adds_worktrees_of_repositories_in_its_project_only() {
    let stage = Stage::start(Home::new());
    let dir = stage.home.layout().root().parent().expect("a directory");
    let [own, foreign] = ["own-repo", "foreign-repo"].map(|name| {
        let repo = dir.join(name);
        let script = format!(
            "git init -q {name} && cd {name} && git -c user.name=t -c user.email=t@localhost \
             commit -q --allow-empty -m first"
        );
        let mut command = stage.home.command("sh");
        let made = launch::run(command.current_dir(dir).args(["-c", &script]), b"", LIMIT);
        assert_eq!(made.code(), 0, "{made:?}");
        repo
    });
    std::os::unix::fs::symlink(&foreign, own.join("link")).expect("a link");
    let session = stage.session("s", own.to_str());
    let token = stage.token_for(&session);
    let target = format!("/v1/sessions/{session}/worktrees");
    let add = |token: &str, repo: &std::path::Path| {
        let body = json!({ "repo": repo });
        stage.tcp(token, "POST", &target, Some(&body))
    };
    // Whether there is such a directory is not told either.
    for repo in [
        &foreign,
        &own.join("link"),
        &dir.join("nowhere"),
        &own.join(".."),
    ] {
        add(&token, repo).error(403, "forbidden");
    }
    let added = add(&token, &own);
    assert_eq!(added.status, 201, "{}", added.text());
    assert_eq!(add(&stage.owner, &foreign).status, 201, "the owner may");
    // A client without a project has none of its own.
    let lone = stage.session("lone", None);
    let target = format!("/v1/sessions/{lone}/worktrees");
    let body = json!({ "repo": own });
    let refused = stage.tcp(&stage.token_for(&lone), "POST", &target, Some(&body));
    refused.error(403, "forbidden");
}

#[test]
fn client_is_not_told_which_sessions_there_are() {
    let scopes = Scopes::new();
    for session in [scopes.foreign.as_str(), "generic:foreign", "generic:none"] {
        for target in ["/v1/search?q=x&", "/v1/events?type=worker&"] {
            let target = format!("{target}session={session}");
            scopes.check("GET", &target, None, 403);
        }
    }
    for session in [&scopes.own, &scopes.sibling] {
        let target = format!("/v1/search?q=x&session={session}");
        scopes.check("GET", &target, None, 200);
    }
}

/// Headers, and the status and code that they are answered with.
type Case<'a> = (&'a [(&'a str, &'a str)], u16, &'static str);

#[test]
fn requests_from_elsewhere_are_turned_away_in_order_and_nothing_is_done() {
    let scopes = Scopes::new();
    let stage = &scopes.stage;
    let body = json!({ "display_name": "intruder" }).to_string();
    let ours = format!("127.0.0.1:{}", stage.port);
    let owner = format!("Bearer {}", stage.owner);
    let client = format!("Bearer {}", scopes.token);
    let wrong = format!("Bearer {}", "0".repeat(64));
    let json = "application/json";
    let cases: [Case<'_>; 10] = [
        (
            &[
                ("host", "evil.example"),
                ("authorization", &owner),
                ("content-type", json),
            ],
            403,
            "forbidden",
        ),
        (
            &[("host", "evil.example"), ("content-type", "text/plain")],
            403,
            "forbidden",
        ),
        (
            &[
                ("host", &ours),
                ("origin", "http://evil.example"),
                ("authorization", &owner),
                ("content-type", json),
            ],
            403,
            "forbidden",
        ),
        (
            &[
                ("host", &ours),
                ("origin", "null"),
                ("authorization", &wrong),
            ],
            403,
            "forbidden",
        ),
        (
            &[("host", &ours), ("content-type", json)],
            401,
            "unauthorized",
        ),
        (
            &[
                ("host", &ours),
                ("authorization", &wrong),
                ("content-type", "text/plain"),
            ],
            401,
            "unauthorized",
        ),
        (
            &[
                ("host", &ours),
                ("authorization", "Basic eDp5"),
                ("content-type", json),
            ],
            401,
            "unauthorized",
        ),
        (
            &[
                ("host", &ours),
                ("authorization", &client),
                ("content-type", json),
            ],
            403,
            "forbidden",
        ),
        (
            &[
                ("host", &ours),
                ("authorization", &owner),
                ("content-type", "text/plain"),
            ],
            415,
            "unsupported_media_type",
        ),
        (
            &[("host", &ours), ("authorization", &owner)],
            415,
            "unsupported_media_type",
        ),
    ];
    for target in ["/v1/clients/register", "/v1/sessions", "/v1/hooks/generic"] {
        for (headers, status, code) in &cases {
            let headers = headers
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()));
            let request = Request {
                method: "POST",
                target,
                headers: headers.collect(),
                body: Some(body.clone().into_bytes()),
            };
            let answer = over_tcp(stage.port, &request).expect("an answer");
            answer.error(*status, code);
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
        // The unix socket asks for no host and no token, but for JSON.
        for kind in ["text/plain", "application/x-www-form-urlencoded"] {
            let answer = stage.worker.api().send(&Request {
                method: "POST",
                target,
                headers: vec![("content-type", kind.to_owned())],
                body: Some(body.clone().into_bytes()),
            });
            answer.error(415, "unsupported_media_type");
        }
        stage
            .unix("nobody", "POST", target)
            .error(401, "unauthorized");
    }
    assert_eq!(stored(&stage.home), std::slice::from_ref(&scopes.id));
    assert_eq!(stage.worker.api().sessions().len(), 3);
    assert!(stage.home.database().messages().is_empty());
}
