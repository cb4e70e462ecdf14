//! Claims of a batch: the heads of all their sessions are read at once and taken at once.

use std::collections::HashMap;

use super::request::{Call, Take};
use super::rows::{Columns, message_row};
use super::statements::{FIND_HEADS, ROWS_MAX};
use super::transition::{MessageRow, Step};
use super::work::Work;
use crate::error::StoreError;
use crate::ids::{EventId, Generation, SessionId, Timestamp};
use crate::types::{Claim, Claimed, Fence, Message, SessionRef, State};

type ClaimCall = Call<Take, Claimed, StoreError>;

/// Works the claims of a batch.
pub(super) async fn run(work: &mut Work, calls: &mut [&mut ClaimCall]) -> Result<(), StoreError> {
    if calls.is_empty() {
        return Ok(());
    }
    let sessions: Vec<_> = calls
        .iter()
        .map(|call| SessionRef::Id(call.question.session))
        .collect();
    work.load_sessions(sessions.iter()).await?;
    let nums: Vec<_> = sessions
        .iter()
        .filter_map(|session| work.sessions.num_of(session))
        .collect();
    let mut heads = load_heads(work, &nums).await?;
    let mut taken = Vec::new();
    for call in calls {
        let Take {
            session,
            owner,
            now,
        } = call.question;
        let num = work.sessions.num_of_id(session);
        let head = num.and_then(|num| heads.get_mut(&num));
        let answer = take(work, head, session, owner, now);
        if let (Claimed::Message(_), Some(num)) = (&answer, num) {
            taken.push(heads[&num].row.clone());
        }
        call.answer(Ok(answer));
    }
    work.save_messages(&taken).await
}

/// The head of a session, with what its holder needs.
struct Head {
    row: MessageRow,
    event_id: EventId,
    kind: String,
    agent_id: Option<String>,
    payload: String,
}

async fn load_heads(work: &mut Work, nums: &[i64]) -> Result<HashMap<i64, Head>, StoreError> {
    let mut heads = HashMap::with_capacity(nums.len());
    for chunk in nums.chunks(ROWS_MAX) {
        let query = FIND_HEADS.with_rows(chunk, |values, num| {
            values.push(*num);
        });
        for row in query.fetch_all(&mut work.conn).await? {
            let mut c = Columns::of(&row);
            let row = message_row(&mut c)?;
            let head = Head {
                event_id: c.event_id()?,
                kind: c.get()?,
                agent_id: c.get()?,
                payload: c.get()?,
                row,
            };
            heads.insert(head.row.session, head);
        }
    }
    Ok(heads)
}

fn take(
    work: &mut Work,
    head: Option<&mut Head>,
    session: SessionId,
    owner: Generation,
    now: Timestamp,
) -> Claimed {
    let Some(head) = head else {
        return Claimed::Empty;
    };
    if head.row.state == State::Claimed {
        return Claimed::Busy;
    }
    if let Some(until) = head.row.not_before.filter(|until| *until > now) {
        return Claimed::Delayed { until };
    }
    let claim_seq = work.counters.last_claim.next();
    work.counters.last_claim = claim_seq;
    work.step(&mut head.row, Step::Claim(owner, claim_seq), now);
    work.sessions
        .change(head.row.session, |row| row.active_at = now);
    Claimed::Message(Box::new(Claim {
        message: head.message(session),
        fence: Fence {
            generation: owner,
            epoch: head.row.epoch,
            claim_seq,
        },
    }))
}

impl Head {
    fn message(&mut self, session: SessionId) -> Message {
        Message {
            id: self.row.id,
            session,
            seq: self.row.seq,
            epoch: self.row.epoch,
            event_id: self.event_id,
            kind: std::mem::take(&mut self.kind),
            agent_id: self.agent_id.take(),
            // A head is handed out once: the next claim of its session finds it claimed.
            payload: std::mem::take(&mut self.payload),
            state: self.row.state,
            attempt: self.row.attempt,
            rescues: self.row.rescues,
            accepted_at: self.row.accepted_at,
            not_before: self.row.not_before,
            finished_at: self.row.finished_at,
            last_error: self.row.last_error.clone(),
        }
    }
}
