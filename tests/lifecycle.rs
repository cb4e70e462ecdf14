//! The life of a session: unload, close, drain, reopen, purge, shutdown, and each of them cut off.

mod close;
mod cut_off;
mod purge;
mod shutdown;
mod unload;

use sessiond_queue::types::{Life, State};

use crate::support::wait::ok_if;
use crate::support::{Api, LIMIT, SessionView, wait_until};

/// The session that most of these tests are about.
const NAME: &str = "claude-code:s";

/// A message that is being worked never ends by itself within a test.
const STUCK_MS: u64 = 600_000;

fn wait_for_life(api: &Api, life: Life) -> SessionView {
    wait_until("the session's life", LIMIT, || {
        let session = api.session(NAME);
        if session.session.life == life {
            Ok(session)
        } else {
            Err(session)
        }
    })
}

/// Waits until a generator has its message. A claim alone is not enough: whoever closes the session
/// before its generator is open gets the claim back at once.
fn wait_for_work(api: &Api) {
    wait_until("the generator's work", LIMIT, || {
        let live = api.session(NAME).live;
        let has_it = live
            .as_ref()
            .is_some_and(|live| live.working_on.is_some() && live.about.is_some());
        ok_if(has_it, live)
    });
}

/// Waits until message `index` of the session is in this state.
fn wait_for_state(api: &Api, index: usize, state: State) {
    wait_until("the message's state", LIMIT, || {
        let message = api.messages(NAME).into_iter().nth(index);
        ok_if(
            message
                .as_ref()
                .is_some_and(|message| message.state == state),
            message,
        )
    });
}
