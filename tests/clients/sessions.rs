//! HTTP and MCP sessions: clients that last as long as they are used.

use super::*;

impl Stage {
    #[track_caller]
    fn open(&self, body: Value) -> Response {
        self.worker.api().call_with("POST", "/v1/clients", &body)
    }
}

#[test]
fn session_is_opened_found_changed_counted_and_removed() {
    let stage = Stage::start(Home::new());
    let api = stage.worker.api();
    let body = json!({
        "kind": "mcp", "name": "editor", "version": "1.2", "cwd": "/p/sub", "project": "/p",
        "metadata": { "a": 1, "b": 2 },
    });
    let opened = stage.open(body);
    assert_eq!(opened.status, 201);
    let opened: Value = opened.json();
    let id = text(&opened["id"]);
    let shown: Value = api.get(&format!("/v1/clients/{id}"));
    assert_eq!(shown, opened);
    assert_eq!(shown["version"], "1.2");
    assert_eq!(shown["project"], "/p");

    // By an id that it has already, known here or not.
    let again = stage.open(json!({ "id": id, "kind": "mcp", "metadata": { "b": null, "c": 3 } }));
    assert_eq!(again.status, 200);
    let again: Value = again.json();
    assert_eq!(again["metadata"], json!({ "a": 1, "c": 3 }));
    assert_eq!(again["name"], "editor");
    stage
        .open(json!({ "id": id, "kind": "http" }))
        .error(409, "wrong_kind");
    let own = "0192d3c4-0000-4000-8000-000000000001";
    assert_eq!(stage.open(json!({ "id": own })).status, 201);

    let patch = json!({ "metadata": { "a": null } });
    let patched: Value = api
        .call_with("PATCH", &format!("/v1/clients/{id}"), &patch)
        .json();
    assert_eq!(patched["metadata"], json!({ "c": 3 }));

    let listed: Value = api.get("/v1/clients?kind=mcp&project=/p");
    assert_eq!(listed["count"], 1);
    assert_eq!(listed["clients"][0]["id"], id);
    let page: Value = api.get("/v1/clients?limit=1");
    assert_eq!(
        (&page["count"], page["clients"].as_array().map(Vec::len)),
        (&json!(2), Some(1))
    );
    let rest: Value = api.get(&format!(
        "/v1/clients?after={}",
        text(&page["clients"][0]["id"])
    ));
    assert_eq!(rest["clients"].as_array().map(Vec::len), Some(1));

    api.call("DELETE", &format!("/v1/clients/{own}"))
        .json::<Value>();
    stage.register(json!({}));
    let cleared: Value = api.call("DELETE", "/v1/clients?kind=mcp").json();
    assert_eq!(cleared, json!({ "removed": 1 }));
    let cleared: Value = api.call("DELETE", "/v1/clients").json();
    assert_eq!(cleared, json!({ "removed": 1 }), "the registered one");
    assert_eq!(stage.count(), 0);
    assert_eq!(stored(&stage.home), Vec::<String>::new());

    api.call("GET", "/v1/clients/nobody")
        .error(400, "invalid_field");
    api.call("POST", &format!("/v1/clients/{own}/touch"))
        .error(404, "unknown_client");
    stage
        .open(json!({ "kind": "registered" }))
        .error(400, "invalid_field");
    for name in ["x".repeat(300), "a\u{1b}[2J".to_owned()] {
        let error = stage
            .open(json!({ "name": name }))
            .error(400, "invalid_field");
        assert_eq!(error["details"]["field"], "name");
    }
    for limit in ["0", "1001"] {
        let target = format!("/v1/clients?limit={limit}");
        let error = api.call("GET", &target).error(400, "invalid_field");
        assert_eq!(error["details"]["field"], "limit");
    }
}

#[test]
fn session_lasts_while_it_is_touched() {
    let home = Home::new()
        .with("clients.ttl_ms", 600)
        .with("clients.save_interval_ms", 1);
    let stage = Stage::start(home);
    let [kept, left] = ["kept", "left"].map(|name| {
        let opened: Value = stage.open(json!({ "name": name })).json();
        text(&opened["id"])
    });
    let touch = format!("/v1/clients/{kept}/touch");
    let api = stage.worker.api();
    api.call_with("POST", &touch, &json!({ "ttl_ms": 1 }))
        .error(400, "invalid_json");
    api.call_with("POST", &touch, &json!({})).json::<Value>();
    wait_until("the other one is gone", LIMIT, || {
        stage.worker.api().call("POST", &touch).json::<Value>();
        let status = stage
            .worker
            .api()
            .call("GET", &format!("/v1/clients/{left}"))
            .status;
        ok_if(status == 404, status)
    });
    wait_until("only one is stored", LIMIT, || {
        stage.worker.api().call("POST", &touch).json::<Value>();
        let stored = stored(&stage.home);
        ok_if(stored == [kept.clone()], stored)
    });
    wait_until("it is gone when nobody touches it", LIMIT, || {
        ok_if(stage.count() == 0, stage.count())
    });
}

#[test]
fn session_is_stored_with_the_next_batch_and_at_the_end() {
    let stage = Stage::start(Home::new().with("clients.save_interval_ms", 3_600_000));
    let opened: Value = stage.open(json!({ "name": "a" })).json();
    assert_eq!(
        stored(&stage.home),
        Vec::<String>::new(),
        "a batch comes later"
    );
    let stage = stage.restart(false, |_| {});
    let listed: Value = stage.worker.api().get("/v1/clients");
    assert_eq!(
        listed["clients"],
        json!([opened]),
        "with the time it had left"
    );

    let Stage {
        worker, mut home, ..
    } = stage;
    worker.stop();
    home.set("clients.enabled", false);
    let stage = Stage::start(home);
    stage
        .open(json!({ "name": "b" }))
        .error(409, "clients_disabled");
    assert_eq!(stage.count(), 0);
}
