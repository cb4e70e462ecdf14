//! What a load asks of a store, one after the other, each noted before it is asked for and after.

use sessiond_queue::error::{EnqueueError, MessageError, SessionError, SettleError};
use sessiond_queue::ids::{Generation, MessageId, SessionId};
use sessiond_queue::store::Store;
use sessiond_queue::types::{
    Claim, Claimed, CloseDepth, Closed, Confirm, Receipt, Release, ReleaseWhy, Retention, Usage,
};
use uuid::Uuid;

use crate::load::{Journal, NOW, event, results};
use crate::notes::{Note, Of, Place, Step};

/// Finished messages that retention leaves: fewer than a load makes.
const KEPT: Retention = Retention {
    done_age: None,
    done_max: Some(10),
    dead_age: None,
    dead_max: None,
};

/// One ask, for the session of a number.
pub(crate) enum Ask {
    Enqueue(usize, Uuid),
    Claim(usize, SessionId),
    Confirm(usize, Box<Claim>),
    /// For a retry, or as poison.
    Release(usize, Box<Claim>, bool),
    Cancel(usize, Uuid, MessageId),
    Redrive(usize, Uuid, MessageId),
    Purge(usize, Uuid, MessageId),
    Close(usize, SessionId, CloseStep),
    Retain,
}

/// One step of a close, and how deep it goes.
#[derive(Clone, Copy)]
pub(crate) enum CloseStep {
    Mark(CloseDepth),
    PurgeRows,
    Finish(CloseDepth),
}

/// What an answer changes in the load's own mind.
pub(crate) enum Answer {
    Accepted(Uuid, Receipt),
    EnqueueAgain(Uuid),
    Holds(Box<Claim>),
    Lost,
    Dead(Uuid, MessageId),
    NotDead(Uuid),
    Marked(CloseDepth),
    RowsPurged,
    Finished(Closed),
    Nothing,
    /// The store could not do it.
    Refused,
}

pub(crate) struct Asker<'a> {
    pub(crate) journal: Journal<'a>,
    /// Begins the keys of its sessions.
    pub(crate) name: String,
    pub(crate) owner: Generation,
}

impl Asker<'_> {
    /// Asks, and answers with the number of the session.
    pub(crate) async fn ask(&self, store: &dyn Store, ask: Ask) -> (usize, Answer) {
        match ask {
            Ask::Enqueue(key, event) => (key, self.enqueue(store, key, event).await),
            Ask::Claim(key, id) => (key, self.claim(store, id).await),
            Ask::Confirm(key, claim) => (key, self.confirm(store, &claim).await),
            Ask::Release(key, claim, retry) => (key, self.release(store, &claim, retry).await),
            Ask::Cancel(key, event, message) => (key, self.cancel(store, event, message).await),
            Ask::Redrive(key, event, message) => (key, self.redrive(store, event, message).await),
            Ask::Purge(key, event, message) => (key, self.purge(store, event, message).await),
            Ask::Close(key, id, step) => (key, self.close(store, key, id, step).await),
            Ask::Retain => (0, self.retain(store).await),
        }
    }

    fn key(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    /// Awaits an answer, and notes that it was asked for and what came of it.
    async fn noted<T, E>(
        &self,
        of: Of,
        step: Step,
        answer: impl Future<Output = Result<T, E>>,
        done: impl Fn(&T) -> Step,
    ) -> Result<T, E> {
        (self.journal)(Note::Asked(of.clone(), step.clone()));
        let answer = answer.await;
        (self.journal)(match &answer {
            Ok(answer) => Note::Done(of, done(answer)),
            Err(_) => Note::Refused(of, step),
        });
        answer
    }

    async fn enqueue(&self, store: &dyn Store, number: usize, id: Uuid) -> Answer {
        let key = self.key(number);
        let step = |place| Step::Enqueue {
            key: key.clone(),
            place,
        };
        let stored = store.enqueue(event(id, key.clone()), NOW);
        let placed = |receipt: &Receipt| {
            step(Place {
                message: receipt.message.0,
                seq: receipt.seq.0,
            })
        };
        match self
            .noted(Of::Event(id), step(Place::default()), stored, placed)
            .await
        {
            Ok(receipt) => {
                // A refused one had no effect, so it is no duplicate of itself.
                assert!(!receipt.duplicate, "{receipt:?}");
                Answer::Accepted(id, receipt)
            }
            Err(EnqueueError::Store(_)) => Answer::EnqueueAgain(id),
            Err(error) => panic!("{error}"),
        }
    }

    async fn claim(&self, store: &dyn Store, id: SessionId) -> Answer {
        match store.claim(id, self.owner, NOW).await {
            Ok(Claimed::Message(claim)) => {
                let step = Step::Claim {
                    number: claim.fence.claim_seq.0,
                    place: Place {
                        message: claim.message.id.0,
                        seq: claim.message.seq.0,
                    },
                };
                (self.journal)(Note::Done(Of::Event(claim.message.event_id.0), step));
                Answer::Holds(claim)
            }
            Ok(_) => Answer::Nothing,
            Err(_) => Answer::Refused,
        }
    }

    async fn confirm(&self, store: &dyn Store, claim: &Claim) -> Answer {
        let event = claim.message.event_id.0;
        let confirm = Confirm {
            message: claim.message.id,
            fence: claim.fence,
            results: results(event),
            checkpoint: Some(event.to_string()),
            usage: Usage {
                input_tokens: 1,
                ..Usage::default()
            },
        };
        let answer = store.confirm(confirm, NOW);
        let answer = self.noted(Of::Event(event), Step::Confirm, answer, |()| Step::Confirm);
        settled(answer.await, Answer::Lost)
    }

    async fn release(&self, store: &dyn Store, claim: &Claim, retry: bool) -> Answer {
        let (event, message) = (claim.message.event_id.0, claim.message.id);
        let reason = "reason".to_owned();
        let (step, why, then) = if retry {
            let not_before = NOW;
            let why = ReleaseWhy::Retry { reason, not_before };
            (Step::Retry, why, Answer::Lost)
        } else {
            let why = ReleaseWhy::Poison { reason };
            (Step::Poison, why, Answer::Dead(event, message))
        };
        let release = Release {
            message,
            fence: claim.fence,
            why,
        };
        let answer = store.release(release, NOW);
        let done = step.clone();
        let answer = self.noted(Of::Event(event), step, answer, |_| done.clone());
        settled(answer.await, then)
    }

    async fn cancel(&self, store: &dyn Store, event: Uuid, message: MessageId) -> Answer {
        let answer = store.cancel(message, NOW);
        let answer = self.noted(Of::Event(event), Step::Cancel, answer, |_| Step::Cancel);
        match answer.await {
            Err(MessageError::Store(_)) => Answer::Refused,
            // It was worked before it, or is gone.
            Ok(_) | Err(_) => Answer::Nothing,
        }
    }

    async fn redrive(&self, store: &dyn Store, event: Uuid, message: MessageId) -> Answer {
        let step = |kept_place| Step::Redrive { kept_place };
        let answer = store.redrive(message, NOW);
        let answer = self.noted(Of::Event(event), step(true), answer, |redriven| {
            step(redriven.kept_place)
        });
        not_dead(answer.await, event)
    }

    async fn purge(&self, store: &dyn Store, event: Uuid, message: MessageId) -> Answer {
        let answer = store.purge_message(message);
        let answer = self.noted(Of::Event(event), Step::Purge, answer, |()| Step::Purge);
        not_dead(answer.await, event)
    }

    async fn close(
        &self,
        store: &dyn Store,
        number: usize,
        id: SessionId,
        step: CloseStep,
    ) -> Answer {
        let of = Of::Session(self.key(number));
        let closed = match step {
            CloseStep::Mark(depth) => {
                let answer = store.mark_closing(id, depth, false, NOW);
                let answer = self.noted(of, Step::Mark, answer, |_| Step::Mark).await;
                answer.map(|_| Answer::Marked(depth))
            }
            CloseStep::PurgeRows => {
                let answer = store.purge_rows(id, NOW);
                let answer = self.noted(of, Step::PurgeRows, answer, |()| Step::PurgeRows);
                answer.await.map(|()| Answer::RowsPurged)
            }
            CloseStep::Finish(depth) => {
                let gone = depth == CloseDepth::Purge;
                let answer = store.finish_close(id, NOW);
                let done = |closed: &Closed| Step::Finish {
                    gone: closed.life.is_none(),
                };
                let answer = self.noted(of, Step::Finish { gone }, answer, done).await;
                answer.map(Answer::Finished)
            }
        };
        match closed {
            Ok(answer) => answer,
            Err(SessionError::Store(_)) => Answer::Refused,
            Err(error) => panic!("{error}"),
        }
    }

    async fn retain(&self, store: &dyn Store) -> Answer {
        let answer = store.retain(KEPT, NOW);
        let answer = self.noted(Of::All, Step::Retain(0), answer, |retained| {
            Step::Retain(retained.messages())
        });
        match answer.await {
            Ok(_) => Answer::Nothing,
            Err(_) => Answer::Refused,
        }
    }
}

fn settled<T>(answer: Result<T, SettleError>, then: Answer) -> Answer {
    match answer {
        Ok(_) => then,
        // A cancel came before it, or a purge.
        Err(SettleError::ClaimLost(_)) => Answer::Lost,
        Err(SettleError::Store(_)) => Answer::Refused,
        Err(error) => panic!("{error}"),
    }
}

fn not_dead<T>(answer: Result<T, MessageError>, event: Uuid) -> Answer {
    match answer {
        // It may have died in a session that was marked to be purged, and gone with it.
        Ok(_) | Err(MessageError::Unknown(_)) => Answer::NotDead(event),
        Err(MessageError::Store(_)) => Answer::Refused,
        Err(error) => panic!("{error}"),
    }
}
