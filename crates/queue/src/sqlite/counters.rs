//! The one row of counters, as the writer holds it.

use rusqlite::ToSql;

use super::rows::Columns;
use crate::error::StoreError;
use crate::ids::{ClaimSeq, MessageId, ResultId};
use crate::types::{Depth, Life, LifeCounts, State};

/// How much there is, and which numbers were given out last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) depth: Depth,
    pub(super) duplicates: i64,
    pub(super) lives: LifeCounts,
    pub(super) last_session: i64,
    pub(super) last_message: MessageId,
    pub(super) last_result: ResultId,
    pub(super) last_claim: ClaimSeq,
}

impl Counters {
    /// A row of `load_counters`.
    pub(super) fn read(row: &rusqlite::Row<'_>) -> Result<Self, StoreError> {
        let mut c = Columns::of(row);
        Ok(Self {
            depth: c.message_counts()?,
            duplicates: c.get()?,
            lives: c.life_counts()?,
            last_session: c.get()?,
            last_message: MessageId(c.get()?),
            last_result: ResultId(c.get()?),
            last_claim: ClaimSeq(c.get()?),
        })
    }

    /// The values of `save_counters`.
    pub(super) fn values(&self) -> [&dyn ToSql; 13] {
        [
            &self.depth.pending,
            &self.depth.claimed,
            &self.depth.done,
            &self.depth.dead,
            &self.depth.cancelled,
            &self.duplicates,
            &self.lives.open,
            &self.lives.closing,
            &self.lives.ended,
            &self.last_session,
            &self.last_message.0,
            &self.last_result.0,
            &self.last_claim.0,
        ]
    }

    pub(super) fn depth_mut(&mut self, state: State) -> &mut i64 {
        match state {
            State::Pending => &mut self.depth.pending,
            State::Claimed => &mut self.depth.claimed,
            State::Done => &mut self.depth.done,
            State::Dead => &mut self.depth.dead,
            State::Cancelled => &mut self.depth.cancelled,
        }
    }

    pub(super) fn lives_mut(&mut self, life: Life) -> &mut i64 {
        match life {
            Life::Open => &mut self.lives.open,
            Life::Closing => &mut self.lives.closing,
            Life::Ended => &mut self.lives.ended,
        }
    }

    /// Messages that are done, dead or cancelled.
    pub(super) fn finished(&self) -> i64 {
        self.depth.done + self.depth.dead + self.depth.cancelled
    }

    /// Messages that count against the depth of the whole queue.
    pub(super) fn backlog(&self) -> i64 {
        self.depth.pending + self.depth.claimed
    }
}
