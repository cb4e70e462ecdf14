//! Who comes and goes is told, and a client is told what is its own.

use super::*;
use crate::events::stream::Stream;

#[test]
fn registration_and_end_are_told_without_the_token() {
    let stage = Stage::start(Home::new());
    let session = stage.session("s", Some("/p"));
    let mut stream = Stream::open(&stage.home, "?type=client", "");
    let registered = stage.register(json!({ "session": session, "presence": "hidden-key" }));
    let opened = json!({ "name": "editor", "kind": "mcp" });
    let opened = stage.worker.api().call_with("POST", "/v1/clients", &opened);
    let opened = text(&opened.json::<Value>()["id"]);
    stage.worker.api().close(&session, "");
    stage
        .worker
        .api()
        .call("DELETE", &format!("/v1/clients/{opened}"));
    let told: Vec<_> = (0..4).map(|_| stream.next()).collect();
    let said: Vec<_> = told
        .iter()
        .map(|told| (told.kind.as_str(), &told.data["client"], &told.data["why"]))
        .collect();
    let (client, opened, null) = (&registered["client"]["id"], &json!(opened), &Value::Null);
    let (ended, removed) = (&json!("session_ended"), &json!("removed"));
    assert_eq!(
        said,
        [
            ("client.registered", client, null),
            ("client.registered", opened, null),
            ("client.gone", client, ended),
            ("client.gone", opened, removed),
        ]
    );
    assert_eq!(
        told[0].data["project"], "/p",
        "whose session it is stands beside it"
    );
    let said = format!("{told:?}");
    assert!(!said.contains("hidden-key") && !said.contains(&text(&registered["token"])));
}

#[test]
fn people_are_told_whose_session_a_client_has_by_its_name() {
    let stage = Stage::start(Home::new());
    let session = stage.session("s", None);
    let registered = stage.register(json!({ "session": session }));
    assert_eq!(registered["client"]["session_name"], "generic:s");
    let id = text(&registered["client"]["id"]);
    for args in [&["clients"][..], &["client", "show", &id]] {
        let shown = stage.home.cli(args);
        assert!(shown.text().contains("generic:s"), "{shown:?}");
        assert!(!shown.text().contains(&session), "{shown:?}");
    }
}

#[test]
fn client_is_told_of_its_project_until_its_token_is_revoked() {
    let stage = Stage::start(Home::new());
    let session = stage.session("own", Some("/p"));
    let registered = stage.register(json!({ "session": session }));
    let token = text(&registered["token"]);
    let header = format!("authorization: Bearer {token}\r\n");
    let mut stream = Stream::open(&stage.home, "", &header);
    stage.session("foreign", Some("/q"));
    stage.session("sibling", Some("/p"));
    let told = stream.next();
    assert_eq!(told.kind, "session.created");
    assert_eq!(
        told.data["key"], "sibling",
        "and not the foreign one, which came before"
    );
    let foreign = stage.unix(&token, "GET", "/v1/events?project=/q");
    foreign.error(403, "forbidden");

    let own = format!("/v1/clients/{}", text(&registered["client"]["id"]));
    stage.worker.api().call("DELETE", &own).json::<Value>();
    // Something that it would have been told of.
    stage.session("late", Some("/p"));
    stream.end();
}

#[test]
fn clients_cannot_keep_the_owner_out_of_the_events() {
    let stage = Stage::start(Home::new().with("events.readers_max", 2));
    let token =
        text(&stage.register(json!({ "session": stage.session("s", Some("/p")) }))["token"]);
    let header = format!("authorization: Bearer {token}\r\n");
    let _seated = Stream::open(&stage.home, "", &header);
    let refused = stage.unix(&token, "GET", "/v1/events");
    let error = refused.error(503, "too_many_readers");
    assert_eq!(error["details"]["limit"], 1);
    let _owner = Stream::open(&stage.home, "", "");
}
