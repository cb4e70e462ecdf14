//! A claim: the head of a session is read and taken.

use super::request::{Call, Take};
use super::rows::{Columns, leading_message_row};
use super::statements::{CLAIM_MESSAGE, FIND_HEAD};
use super::transition::{MessageRow, Step};
use super::work::Work;
use crate::error::StoreError;
use crate::ids::{EventId, SessionId};
use crate::types::{Claim, Claimed, Fence, Message, State};

type ClaimCall = Call<Take, Claimed, StoreError>;

/// Works a claim and keeps its answer.
pub(super) fn run(work: &mut Work, call: &mut ClaimCall) -> Result<(), StoreError> {
    let answer = take(work, &call.question)?;
    call.answer(Ok(answer));
    Ok(())
}

/// The head of a session, with what its holder needs.
struct Head {
    row: MessageRow,
    event_id: EventId,
    kind: String,
    agent_id: Option<String>,
    payload: String,
}

fn find_head(work: &Work, num: i64) -> Result<Option<Head>, StoreError> {
    let session = work.held(num);
    if session.pending == 0 {
        return Ok(None);
    }
    work.db.first(FIND_HEAD, [num, session.head_seq.0], |row| {
        let mut c = Columns::of(row);
        Ok(Head {
            row: leading_message_row(&mut c)?,
            event_id: c.event_id()?,
            kind: c.get()?,
            agent_id: c.get()?,
            payload: c.get()?,
        })
    })
}

fn take(work: &mut Work, question: &Take) -> Result<Claimed, StoreError> {
    let Take {
        session,
        owner,
        now,
    } = *question;
    let Some(num) = work.session_num(session)? else {
        return Ok(Claimed::Empty);
    };
    let Some(mut head) = find_head(work, num)? else {
        return Ok(Claimed::Empty);
    };
    if head.row.state == State::Claimed {
        return Ok(Claimed::Busy);
    }
    if let Some(until) = head.row.not_before.filter(|until| *until > now) {
        return Ok(Claimed::Delayed { until });
    }
    let claim_seq = work.counters.last_claim.next();
    work.counters.last_claim = claim_seq;
    work.step(&mut head.row, Step::Claim(owner, claim_seq), now);
    if work.held(num).head_seq != head.row.seq {
        work.sessions.change(num, |row| row.head_seq = head.row.seq);
    }
    let taken = [
        head.row.id.0,
        i64::from(head.row.attempt),
        owner.0,
        claim_seq.0,
    ];
    work.db.run(CLAIM_MESSAGE, taken)?;
    let fence = Fence {
        generation: owner,
        epoch: head.row.epoch,
        claim_seq,
    };
    Ok(Claimed::Message(Box::new(Claim {
        message: head.into_message(session),
        fence,
    })))
}

impl Head {
    fn into_message(self, session: SessionId) -> Message {
        let row = self.row;
        Message {
            id: row.id,
            session,
            seq: row.seq,
            epoch: row.epoch,
            event_id: self.event_id,
            kind: self.kind,
            agent_id: self.agent_id,
            payload: self.payload,
            state: row.state,
            attempt: row.attempt,
            rescues: row.rescues,
            accepted_at: row.accepted_at,
            not_before: row.not_before,
            finished_at: row.finished_at,
            last_error: row.last_error,
        }
    }
}
