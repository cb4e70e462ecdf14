//! A close whose worker dies half-way is finished at the next start.

use std::os::unix::process::ExitStatusExt;

use sessiond_queue::types::{Life, State};

use super::{NAME, wait_for_life};
use crate::support::http::Request;
use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, payload, wait_until};

/// A home whose worker died at `step` of the close that `query` asks for.
fn cut_off(step: &str, query: &str) -> Home {
    let mut home = Home::new().with("rehearsal.kill_at", step);
    let mut worker = home.start();
    let api = worker.api();
    for session in ["s", "kept"] {
        api.accept(payload::prompt(session, "the marmalade question"));
        api.accept(payload::stop(session, "marmalade it is"));
    }
    worker.wait_idle();
    let target = format!("/v1/sessions/{NAME}{query}");
    let request = Request {
        method: "DELETE",
        target: &target,
        ..Request::default()
    };
    assert!(
        api.try_send(&request).is_err(),
        "{step}: the worker answered"
    );
    assert_eq!(
        worker.wait_exit().signal(),
        Some(9),
        "{step}: the worker lives"
    );
    home.unset("rehearsal.kill_at");
    home
}

#[test]
fn close_cut_off_at_any_step_is_finished_at_start_up() {
    for step in ["marked", "stopped"] {
        let home = cut_off(step, "");
        let left = home
            .database()
            .session("claude-code", "s")
            .expect("its row");
        assert_eq!(left.life, Life::Closing, "{step}");
        let worker = home.start();
        wait_for_life(worker.api(), Life::Ended);
        let messages = worker.api().messages(NAME);
        assert_eq!(messages.len(), 2, "{step}");
        assert!(
            messages.iter().all(|message| message.state == State::Done),
            "{step}"
        );
    }
}

#[test]
fn purge_cut_off_at_any_step_is_finished_at_start_up() {
    for step in ["marked", "stopped", "purged", "forgotten"] {
        let home = cut_off(step, "?purge=true");
        let id = home
            .database()
            .session("claude-code", "s")
            .expect("its row")
            .id;
        let worker = home.start();
        let api = worker.api();
        wait_until("the purge is finished", LIMIT, || {
            let session = api.find_session(NAME);
            ok_if(session.is_none(), session)
        });
        worker.wait_idle();
        let database = home.database();
        assert!(
            database
                .messages()
                .iter()
                .all(|message| message.session != id),
            "{step}"
        );
        assert!(database.results(id).is_empty(), "{step}");
        let hits = api.search("marmalade");
        let kept = api.session("claude-code:kept").session.id;
        assert!(!hits.is_empty(), "{step}: the other session is still found");
        assert!(
            hits.iter().all(|hit| hit.session == kept),
            "{step}: {hits:?}"
        );
        let deep = api.doctor_deep().deep.expect("a verification");
        assert!(deep.is_sound(), "{step}: {deep:?}");
    }
}
