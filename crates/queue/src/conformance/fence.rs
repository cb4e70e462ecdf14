//! Behaviour of ends that come late: of a claim that is over, however it came to be, nothing is
//! stored any more.

use futures::future::join_all;

use super::bench::{Bench, NOW, event, result};
use crate::error::SettleError;
use crate::ids::{ClaimSeq, Epoch, Generation, MessageId, SessionId};
use crate::types::{
    Claim, Claimed, CloseDepth, Confirm, Effect, Fence, Release, ReleaseWhy, ResultFilter,
    Retention, SessionFilter, State, Usage,
};

/// How a claim came to be over.
#[derive(Clone, Copy, Debug)]
enum Over {
    Confirmed,
    Retried,
    GivenBack,
    Poisoned,
    /// Its instance died.
    Rescued,
    /// Another one died over it, too: it is dead.
    RescuedTwice,
    /// Its generator was aborted.
    SessionReleased,
    Cancelled,
    BacklogCancelled,
    /// Dead, and made pending again.
    Redriven,
    /// Dead, and deleted by hand.
    Purged,
    /// Done, and deleted by retention.
    Retained,
    /// Given back by a close; then the session was opened again.
    Closed,
    /// Deleted by the purge of its session, to which something came meanwhile.
    SessionPurged,
}

impl Over {
    const ALL: [Self; 14] = [
        Self::Confirmed,
        Self::Retried,
        Self::GivenBack,
        Self::Poisoned,
        Self::Rescued,
        Self::RescuedTwice,
        Self::SessionReleased,
        Self::Cancelled,
        Self::BacklogCancelled,
        Self::Redriven,
        Self::Purged,
        Self::Retained,
        Self::Closed,
        Self::SessionPurged,
    ];
}

/// What a generator that does not know may ask for still.
#[derive(Clone, Copy, Debug)]
enum Late {
    Confirm,
    Retry,
    GiveBack,
    Poison,
}

impl Late {
    const ALL: [Self; 4] = [Self::Confirm, Self::Retry, Self::GiveBack, Self::Poison];
}

/// Right after, while its successor is at work, and when that is done.
pub async fn late_end_of_a_claim_that_is_over_changes_nothing(q: &Bench) {
    let mut owner = q.owner;
    for over in Over::ALL {
        let session = q.fill("a", 2).await[0].session;
        let claim = claim(q, session, owner).await;
        owner = end(q, &claim, over, owner).await;
        assert_lost(q, &claim, &format!("{over:?}")).await;
        if let Claimed::Message(next) = try_claim(q, session, owner).await {
            let when = format!("{over:?}, {:?} claimed after it", next.fence);
            assert!(next.fence.claim_seq > claim.fence.claim_seq, "{when}");
            assert_lost(q, &claim, &when).await;
            q.confirm(&next).await;
            assert_lost(q, &claim, &format!("{when} and confirmed")).await;
        }
        let cancelled = q.store.cancel_session(session, NOW).await;
        cancelled.expect("the rest is cancelled");
    }
}

/// Each of its fields counts, and none is compared with more or less.
pub async fn end_with_a_fence_of_another_claim_changes_nothing(q: &Bench) {
    let session = q.put(event("a")).await.session;
    q.mark(session, CloseDepth::Close).await;
    q.put(event("a")).await;
    let claim = claim(q, session, q.owner).await;
    let Fence {
        generation,
        epoch,
        claim_seq,
    } = claim.fence;
    for by in [-1, 1] {
        let others = [
            Fence {
                generation: Generation(generation.0 + by),
                ..claim.fence
            },
            Fence {
                epoch: Epoch(epoch.0 + by),
                ..claim.fence
            },
            Fence {
                claim_seq: ClaimSeq(claim_seq.0 + by),
                ..claim.fence
            },
        ];
        for fence in others {
            let message = claim.message.clone();
            let other = Claim { message, fence };
            assert_lost(q, &other, &format!("{fence:?}, not {:?}", claim.fence)).await;
        }
    }
    let mut of_nothing = claim.clone();
    of_nothing.message.id = MessageId(99);
    assert_lost(q, &of_nothing, "a message that is not there").await;
    q.confirm(&claim).await;
}

/// What comes in the same moment is told apart all the same.
pub async fn late_ends_beside_a_live_one_change_nothing(q: &Bench) {
    let session = q.put(event("a")).await.session;
    let first = claim(q, session, q.owner).await;
    let owner = end(q, &first, Over::Rescued, q.owner).await;
    let second = claim(q, session, owner).await;
    let late = Late::ALL.map(|late| settle(q, &first, late));
    let live = settle(q, &second, Late::Confirm);
    let again = settle(q, &second, Late::Confirm);
    let answers = join_all(late.into_iter().chain([live, again])).await;
    let taken: Vec<_> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(taken, [false, false, false, false, true, false]);
    let results = q.store.results(ResultFilter::default()).await;
    assert_eq!(results.expect("the results are listed").len(), 2);
    assert_eq!(q.session(session).await.usage.input_tokens, 7);
    assert_eq!(q.message(first.message.id).await.state, State::Done);
}

/// Ends of a claim that is not its holder's any more are refused, and leave no trace anywhere.
pub(super) async fn assert_lost(q: &Bench, claim: &Claim, when: &str) {
    let before = everything(q).await;
    for late in Late::ALL {
        let answer = settle(q, claim, late).await;
        let is_lost = matches!(&answer, Err(SettleError::ClaimLost(id)) if *id == claim.message.id);
        assert!(is_lost, "{when}, late {late:?}: {answer:?}");
        let after = everything(q).await;
        assert_eq!(after, before, "{when}, late {late:?}");
    }
}

async fn settle(q: &Bench, claim: &Claim, late: Late) -> Result<(), SettleError> {
    let reason = "late".to_owned();
    let why = match late {
        Late::Confirm => {
            let confirm = Confirm {
                message: claim.message.id,
                fence: claim.fence,
                results: vec![result("observation"), result("summary")],
                checkpoint: Some(format!("{:?}", claim.fence.claim_seq)),
                usage: Usage {
                    input_tokens: 7,
                    output_tokens: 7,
                    cost_usd: 7.0,
                },
            };
            return q.store.confirm(confirm, NOW).await;
        }
        Late::Retry => ReleaseWhy::Retry {
            reason,
            not_before: NOW,
        },
        Late::GiveBack => ReleaseWhy::GiveBack {
            reason,
            not_before: None,
        },
        Late::Poison => ReleaseWhy::Poison { reason },
    };
    let release = Release {
        message: claim.message.id,
        fence: claim.fence,
        why,
    };
    q.store.release(release, NOW).await.map(drop)
}

async fn try_claim(q: &Bench, session: SessionId, owner: Generation) -> Claimed {
    let claimed = q.store.claim(session, owner, NOW).await;
    claimed.expect("the claim is answered")
}

async fn claim(q: &Bench, session: SessionId, owner: Generation) -> Claim {
    match try_claim(q, session, owner).await {
        Claimed::Message(claim) => *claim,
        other => panic!("session {session} has no head to claim: {other:?}"),
    }
}

/// Brings a claim to its end; the generation that goes on.
async fn end(q: &Bench, claim: &Claim, over: Over, owner: Generation) -> Generation {
    let (message, session) = (claim.message.id, claim.message.session);
    match over {
        Over::Confirmed => q.confirm(claim).await,
        Over::Retried => settled(q, claim, Late::Retry).await,
        Over::GivenBack => settled(q, claim, Late::GiveBack).await,
        Over::Poisoned => settled(q, claim, Late::Poison).await,
        Over::Rescued => return rescue(q).await,
        Over::RescuedTwice => {
            let second = rescue(q).await;
            self::claim(q, session, second).await;
            let third = rescue(q).await;
            assert_eq!(q.message(message).await.state, State::Dead);
            return third;
        }
        Over::SessionReleased => release_session(q, session).await,
        Over::Cancelled => {
            let cancelled = q.store.cancel(message, NOW).await;
            cancelled.expect("the message is cancelled");
        }
        Over::BacklogCancelled => {
            let cancelled = q.store.cancel_session(session, NOW).await;
            assert_eq!(cancelled.expect("it is cancelled").claimed, Some(message));
        }
        Over::Redriven => {
            settled(q, claim, Late::Poison).await;
            let redriven = q.store.redrive(message, NOW).await;
            redriven.expect("the message is redriven");
        }
        Over::Purged => {
            settled(q, claim, Late::Poison).await;
            let purged = q.store.purge_message(message).await;
            purged.expect("the message is purged");
        }
        Over::Retained => {
            q.confirm(claim).await;
            let none = Retention {
                done_max: Some(0),
                ..Retention::default()
            };
            let retained = q.store.retain(none, NOW).await;
            assert!(retained.expect("messages are deleted").done > 0);
        }
        Over::Closed => {
            q.mark(session, CloseDepth::Close).await;
            release_session(q, session).await;
            q.finish_close(session).await;
            q.put_effect("a", Effect::Start).await;
        }
        Over::SessionPurged => {
            q.mark(session, CloseDepth::Purge).await;
            q.put_effect("a", Effect::Start).await;
            q.purge(session).await;
            q.finish_close(session).await;
        }
    }
    owner
}

async fn settled(q: &Bench, claim: &Claim, end: Late) {
    let settled = settle(q, claim, end).await;
    settled.expect("the claim is its holder's");
}

async fn rescue(q: &Bench) -> Generation {
    let next = q.next_generation().await;
    let rescued = q.store.rescue(next, NOW).await;
    rescued.expect("claims are rescued");
    next
}

async fn release_session(q: &Bench, session: SessionId) {
    let released = q.store.release_session(session, "aborted", NOW).await;
    assert_eq!(released.expect("the session is released"), 1);
}

/// All that the store shows, as text.
async fn everything(q: &Bench) -> String {
    let store = &q.store;
    let sessions = store.sessions(SessionFilter::default()).await;
    let sessions = sessions.expect("the sessions are listed");
    let messages = q.messages().await;
    let results = store.results(ResultFilter::default()).await;
    let results = results.expect("the results are listed");
    let mut seen = format!("{messages:#?}\n{results:#?}\n");
    for message in &messages {
        let attempts = store.attempts(message.id).await;
        let attempts = attempts.expect("the history is read");
        seen += &format!("{}: {attempts:#?}\n", message.id);
    }
    for session in &sessions {
        let checkpoint = store.checkpoint(session.id).await;
        let checkpoint = checkpoint.expect("the checkpoint is read");
        seen += &format!("{session:#?}: {checkpoint:?}\n");
    }
    let (unfinished, days, stats) = (
        store.unfinished().await.expect("they are listed"),
        store.usage_days(0).await.expect("the days are listed"),
        store.stats().await.expect("stats are read"),
    );
    seen + &format!("{unfinished:#?}\n{days:#?}\n{stats:#?}")
}
