//! Registered processes: their tokens and their ends.

use super::*;

#[test]
fn token_is_shown_once_and_neither_it_nor_the_presence_is_told_again() {
    let home = Home::new()
        .with("log.filter", "trace")
        .with("clients.log_payloads", true);
    let stage = Stage::start(home);
    let presence = "presence-0f3c9a7be1d24856";
    let own = "an-0wn-T0ken.of~the+caller/90bc7de1f23a4b58";
    let registered = stage.register(json!({ "presence": presence, "role": "editor" }));
    let token = text(&registered["token"]);
    let id = text(&registered["client"]["id"]);
    assert_eq!(token.len(), 64, "256 bits");
    assert_eq!(registered["client"]["has_presence"], true);
    let with_own = stage.register(json!({ "token": own, "groups": ["a"] }));
    assert_eq!(with_own["token"], Value::Null, "the caller has it");
    assert!(stage.is_known(&token) && stage.is_known(own));

    let patch = json!({ "metadata": { "colour": "petrol" } });
    let patched = stage.tcp(&token, "PATCH", &format!("/v1/clients/{id}"), Some(&patch));
    assert_eq!(patched.json::<Value>()["metadata"]["colour"], "petrol");
    let api = stage.worker.api();
    let mut told = String::new();
    for target in ["/v1/clients", "/v1/admin/doctor", "/v1/status", "/metrics"] {
        told += &api.call("GET", target).text();
    }
    told += &stage.unix(&token, "GET", "/v1/clients/me").text();
    for args in [
        &["doctor"][..],
        &["clients"],
        &["client", "show", &id],
        &["logs"],
    ] {
        told += &String::from_utf8_lossy(&stage.home.cli(args).stdout);
    }
    let Stage { worker, home, .. } = stage;
    worker.stop();
    let log = home.log();
    assert!(log.contains(&id), "what a client does is logged");
    assert!(
        log.contains("petrol"),
        "and what it sends, if that is asked for"
    );
    told += &log;
    for entry in std::fs::read_dir(home.layout().root()).expect("the home") {
        // Directories are read as nothing.
        let bytes = std::fs::read(entry.expect("an entry").path()).unwrap_or_default();
        told += &String::from_utf8_lossy(&bytes);
    }
    assert!(told.contains(&id), "where it would be found is looked at");
    for secret in [token.as_str(), own, presence] {
        assert!(!told.contains(secret), "{secret} is told");
    }
}

#[test]
fn registering_again_and_removing_end_the_old_token() {
    let stage = Stage::start(Home::new());
    let session = stage.session("s", None);
    // Of one process, whose watch must not go with the one that is replaced.
    let pid = std::process::id();
    let first = stage.register(json!({ "session": session, "pid": pid }));
    let second = stage.register(json!({ "session": "generic:s", "pid": pid }));
    assert_eq!(second["replaced"], first["client"]["id"]);
    let (old, new) = (text(&first["token"]), text(&second["token"]));
    assert!(!stage.is_known(&old) && stage.is_known(&new));
    assert_eq!(stored(&stage.home), [text(&second["client"]["id"])]);

    let own = format!("/v1/clients/{}", text(&second["client"]["id"]));
    stage.tcp(&new, "DELETE", &own, None).json::<Value>();
    assert!(!stage.is_known(&new));
    assert_eq!(stored(&stage.home), Vec::<String>::new());
    let api = stage.worker.api();
    api.call("GET", &own).error(404, "unknown_client");
    api.call("DELETE", &own).error(404, "unknown_client");
}

#[test]
fn bad_registrations_are_refused_and_nothing_is_stored() {
    let stage = Stage::start(Home::new().with("clients.clients_max", 2));
    let mut sleeper = Sleeper::start();
    sleeper.kill();
    let ended = stage.session("ended", None);
    stage.worker.api().close(&ended, "");
    let check = |body: Value, status: u16, code: &str, field: Option<&str>| {
        let mut all = json!({ "display_name": "test" });
        let named = body.as_object().expect("an object").clone();
        all.as_object_mut().expect("an object").extend(named);
        let api = stage.worker.api();
        let answer = api.call_with("POST", "/v1/clients/register", &all);
        let error = answer.error(status, code);
        assert_eq!(error["details"]["field"].as_str(), field, "{error}");
    };
    let field = |body: Value, name: &str| check(body, 400, "invalid_field", Some(name));
    field(json!({ "display_name": "" }), "display_name");
    field(json!({ "display_name": "x".repeat(257) }), "display_name");
    field(json!({ "role": "x".repeat(65) }), "role");
    for rules in ["a\u{1b}[2J", "a\nb", "a\u{9b}b"] {
        field(json!({ "display_name": rules }), "display_name");
        field(json!({ "role": rules }), "role");
        field(json!({ "groups": ["g", rules] }), "groups");
    }
    field(json!({ "cwd": "x".repeat(4_097) }), "cwd");
    field(json!({ "groups": vec!["g"; 33] }), "groups");
    field(
        json!({ "metadata": { "a": "x".repeat(17_000) } }),
        "metadata",
    );
    field(json!({ "presence": "x".repeat(5_000) }), "presence");
    field(json!({ "token": "short" }), "token");
    field(json!({ "token": "password".repeat(8) }), "token");
    field(json!({ "pid": 1 }), "pid");
    field(json!({ "pid": sleeper.pid() }), "pid");
    check(
        json!({ "session": "generic:none" }),
        404,
        "unknown_session",
        None,
    );
    check(json!({ "session": ended }), 409, "session_not_open", None);
    check(json!({ "scope": "all" }), 400, "invalid_json", None);
    assert_eq!(stored(&stage.home), Vec::<String>::new());

    let own = "0f3c9a7be1d2485690bc7de1f23a4b58";
    stage.register(json!({ "token": own }));
    check(json!({ "token": own }), 409, "token_in_use", None);
    stage.register(json!({}));
    check(json!({}), 429, "too_many_clients", None);
    assert_eq!(stored(&stage.home).len(), 2);
}

#[test]
fn client_goes_with_its_process() {
    let stage = Stage::start(Home::new().with("clients.save_interval_ms", 1));
    let mut sleeper = Sleeper::start();
    let tokens: Vec<_> = (0..2)
        .map(|_| text(&stage.register(json!({ "pid": sleeper.pid() }))["token"]))
        .collect();
    let other = stage.register(json!({}));
    sleeper.kill();
    for token in &tokens {
        stage.wait_unknown(token);
    }
    wait_until("its row goes, too", LIMIT, || {
        let stored = stored(&stage.home);
        ok_if(stored == [text(&other["client"]["id"])], stored)
    });
    assert!(stage.is_known(&text(&other["token"])));
}

#[test]
fn clients_outlive_the_worker_but_not_their_processes_and_tokens_do_not_outlive_their_time() {
    let stage = Stage::start(Home::new());
    let (alive, mut killed, reused) = (Sleeper::start(), Sleeper::start(), Sleeper::start());
    let stays = stage.register(json!({ "pid": alive.pid(), "presence": "p", "groups": ["g"] }));
    let gone: Vec<_> = [killed.pid(), reused.pid()]
        .map(|pid| text(&stage.register(json!({ "pid": pid }))["token"]))
        .into();
    let stage = stage.restart(false, |home| {
        killed.kill();
        // The same pid, taken by a process that started at another time.
        let database = rusqlite::Connection::open(home.layout().state_db()).expect("state.db");
        let changed = database.execute(
            "UPDATE clients SET process = json_set(process, '$.start_ticks', 1)
             WHERE process ->> 'pid' = ?1",
            [reused.pid()],
        );
        assert_eq!(changed.expect("a table"), 1);
    });
    for token in &gone {
        assert!(!stage.is_known(token));
    }
    let mut expected = stays["client"].clone();
    expected["has_presence"] = json!(false);
    let token = text(&stays["token"]);
    let me: Value = stage.tcp(&token, "GET", "/v1/clients/me", None).json();
    assert_eq!(me["client"], expected, "only its presence is gone");

    let late = text(&stage.register(json!({}))["token"]);
    let stage = stage.restart(true, |_| {});
    assert!(stage.is_known(&late), "it was stored before it was shown");
    assert!(stage.is_known(&token));

    let stage = stage.restart(true, |home| {
        let database = rusqlite::Connection::open(home.layout().state_db()).expect("state.db");
        let changed = database.execute(
            "UPDATE clients SET expires_at = 1 WHERE process IS NULL",
            [],
        );
        assert_eq!(changed.expect("a table"), 1);
    });
    assert!(!stage.is_known(&late));
    assert_eq!(stage.count(), 1);
    drop(stage);
    drop(alive);
}

#[test]
fn token_lasts_its_time_and_no_longer() {
    let home = Home::new()
        .with("clients.token_ttl_ms", 700)
        .with("clients.save_interval_ms", 1);
    let stage = Stage::start(home);
    let registered = stage.register(json!({}));
    let token = text(&registered["token"]);
    let touch = format!("/v1/clients/{}/touch", text(&registered["client"]["id"]));
    assert!(stage.is_known(&token));
    wait_until("the token is refused", LIMIT, || {
        // That it is used does not keep it.
        let answer = stage.tcp(&token, "POST", &touch, None);
        ok_if(answer.status == 401, answer.status)
    });
    wait_until("its row goes, too", LIMIT, || {
        let stored = stored(&stage.home);
        ok_if(stored.is_empty(), stored)
    });
}

#[test]
fn closing_a_session_revokes_its_token_whatever_comes_between() {
    let stage = Stage::start(Home::new());
    let session = stage.session("s", Some("/p"));
    let token = stage.token_for(&session);
    let report = stage.worker.api().close(&session, "");
    assert_eq!(report.tokens_revoked, 1);
    assert!(!stage.is_known(&token));
    assert_eq!(stored(&stage.home), Vec::<String>::new());
    assert_eq!(stage.worker.api().close(&session, "").tokens_revoked, 0);

    // The same, when the worker dies between the mark and the revocation.
    let Stage {
        worker, mut home, ..
    } = stage;
    worker.stop();
    home.set("rehearsal.kill_at", "stopped");
    let mut stage = Stage::start(home);
    let session = stage.session("s", Some("/p"));
    let token = stage.token_for(&session);
    let purge = format!("/v1/sessions/{session}?purge=true");
    let request = Request {
        method: "DELETE",
        target: &purge,
        ..Request::default()
    };
    stage
        .worker
        .api()
        .try_send(&request)
        .expect_err("it kills itself");
    stage.worker.wait_exit();
    stage.home.unset("rehearsal.kill_at");
    let stage = stage.restart(true, |_| {});
    stage.wait_unknown(&token);
    wait_until("the session is purged", LIMIT, || {
        let found = stage.worker.api().find_session(&session);
        ok_if(found.is_none(), found)
    });
    assert_eq!(stored(&stage.home), Vec::<String>::new());
}
