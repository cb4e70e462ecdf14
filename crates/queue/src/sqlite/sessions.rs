//! Sessions in the writer's memory: the rows it has read, and what becomes of a life.
//!
//! The writer is the only one to write, so what it holds is what is stored. The cache is bounded
//! and dropped as a whole, at a rollback or when it is full: a batch reads back what it needs.

use std::collections::HashMap;
use std::mem;

use crate::ids::{Epoch, Seq, SessionId, Timestamp};
use crate::limits::{PROMPT_KEPT_BYTES, REASON_KEPT_BYTES};
use crate::types::{CloseDepth, Closed, Effect, Life, Marked, Usage};
use crate::validate::kept;

/// Sessions held at most: about half a megabyte, and the reasons of those that are failing.
const HELD_MAX: usize = 1024;

/// What the writer has to know of a session, and what it has changed.
#[derive(Clone, Debug)]
pub(super) struct SessionRow {
    /// The number of its row.
    pub(super) num: i64,
    pub(super) id: SessionId,
    pub(super) agent: String,
    pub(super) key: String,
    pub(super) life: Life,
    pub(super) close_depth: Option<CloseDepth>,
    pub(super) drain_until: Option<Timestamp>,
    /// A start or a prompt came while it was closing.
    pub(super) reopen: bool,
    pub(super) epoch: Epoch,
    pub(super) prompt_number: i64,
    pub(super) active_at: Timestamp,
    pub(super) next_seq: Seq,
    /// The first of the backlog is not before this place.
    pub(super) head_seq: Seq,
    pub(super) pending: i64,
    pub(super) dead: i64,
    pub(super) success_at: Option<Timestamp>,
    pub(super) consecutive_failures: i64,
    pub(super) failing: Option<String>,
    pub(super) project: Option<String>,
    pub(super) cwd: Option<String>,
    pub(super) usage: Usage,
    /// The next two are never read by the writer: `Some` is a value to be stored.
    pub(super) prompt: Option<String>,
    pub(super) last_error: Option<String>,
    /// Whether it differs from what is stored, and is listed as such.
    pub(super) changed: bool,
    /// What is stored of what seldom changes; `None` while the row has only been inserted.
    pub(super) stored: Option<Seldom>,
}

/// What most messages leave as it is: when it is the same, a shorter statement will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seldom {
    life: Life,
    close_depth: Option<CloseDepth>,
    drain_until: Option<Timestamp>,
    reopen: bool,
    epoch: Epoch,
    prompt_number: i64,
    failing: Option<String>,
    project: Option<String>,
    cwd: Option<String>,
    is_unfinished: bool,
}

impl SessionRow {
    /// A session that was not known.
    pub(super) fn new(num: i64, agent: &str, key: &str, now: Timestamp) -> Self {
        Self {
            num,
            id: SessionId::mint(),
            agent: agent.to_owned(),
            key: key.to_owned(),
            life: Life::Open,
            close_depth: None,
            drain_until: None,
            reopen: false,
            epoch: Epoch::default(),
            prompt_number: 0,
            active_at: now,
            next_seq: Seq(1),
            head_seq: Seq(1),
            pending: 0,
            dead: 0,
            success_at: None,
            consecutive_failures: 0,
            failing: None,
            project: None,
            cwd: None,
            usage: Usage::default(),
            prompt: None,
            last_error: None,
            changed: false,
            stored: None,
        }
    }

    /// It is closing or drains, or has pending or claimed messages.
    pub(super) fn is_unfinished(&self) -> bool {
        self.life == Life::Closing || self.drain_until.is_some() || self.pending > 0
    }

    fn seldom(&self) -> Seldom {
        Seldom {
            life: self.life,
            close_depth: self.close_depth,
            drain_until: self.drain_until,
            reopen: self.reopen,
            epoch: self.epoch,
            prompt_number: self.prompt_number,
            failing: self.failing.clone(),
            project: self.project.clone(),
            cwd: self.cwd.clone(),
            is_unfinished: self.is_unfinished(),
        }
    }

    /// Whether only what changes with every message differs from what is stored.
    pub(super) fn differs_in_counts_only(&self) -> bool {
        self.prompt.is_none()
            && self.last_error.is_none()
            && self.stored.as_ref() == Some(&self.seldom())
    }

    /// It has been handed to the engine, or comes from it.
    pub(super) fn set_stored(&mut self) {
        self.changed = false;
        self.prompt = None;
        self.last_error = None;
        self.stored = Some(self.seldom());
    }

    /// The next place in the session.
    pub(super) fn take_seq(&mut self) -> Seq {
        let seq = self.next_seq;
        self.next_seq = seq.next();
        seq
    }

    /// A message at this place is not pending or claimed any more.
    pub(super) fn leave(&mut self, seq: Seq) {
        if self.pending == 0 {
            self.head_seq = self.next_seq;
        } else if self.head_seq == seq {
            self.head_seq = seq.next();
        }
    }

    /// What an event means for the session's life.
    pub(super) fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::None => {}
            Effect::Start => self.start(),
            Effect::Prompt(prompt) => {
                self.start();
                self.failing = None;
                self.prompt = Some(kept(prompt, PROMPT_KEPT_BYTES).to_owned());
                self.prompt_number += 1;
            }
            Effect::End { drain_until } => self.drain(*drain_until),
        }
    }

    /// Remembers where the agent works, as far as it says so.
    pub(super) fn refresh(&mut self, cwd: Option<&String>, project: Option<&String>) {
        if let Some(cwd) = cwd {
            self.cwd = Some(cwd.clone());
        }
        if let Some(project) = project {
            self.project = Some(project.clone());
        }
    }

    /// The agent is there (again).
    pub(super) fn start(&mut self) {
        match self.life {
            Life::Open => self.drain_until = None,
            Life::Closing => self.reopen = true,
            Life::Ended => self.life = Life::Open,
        }
    }

    /// The agent is gone, or somebody wants it to be.
    pub(super) fn drain(&mut self, until: Timestamp) {
        match self.life {
            Life::Open => self.drain_until = Some(until),
            // Whoever came while it was closing has left again.
            Life::Closing => self.reopen = false,
            Life::Ended => {}
        }
    }

    /// The durable mark of a close.
    pub(super) fn mark_closing(&mut self, depth: CloseDepth, only_if_draining: bool) -> Marked {
        if let Some(marked) = self.close_depth {
            let depth = depth.max(marked);
            self.close_depth = Some(depth);
            return Marked::Closing(depth);
        }
        if only_if_draining && self.drain_until.is_none() {
            return Marked::DrainCalledOff;
        }
        self.life = Life::Closing;
        self.close_depth = Some(depth);
        self.drain_until = None;
        self.epoch = self.epoch.next();
        Marked::Closing(depth)
    }

    /// Forgets the prompt when a mark that was `was` before it has become one of a purge: at the
    /// mark, since what comes from now on is not to be purged. Answers whether it did, for the
    /// stored prompt. If somebody came since a shallower mark the prompt may be theirs, and stays.
    pub(super) fn forget_prompt_if_purged(&mut self, was: Option<CloseDepth>) -> bool {
        let purge = Some(CloseDepth::Purge);
        let forgets = self.close_depth == purge && was != purge && !self.reopen;
        if forgets {
            self.prompt = None;
            self.prompt_number = 0;
        }
        forgets
    }

    /// Clears the mark of a session whose row stays.
    pub(super) fn finish_close(&mut self) -> Closed {
        if self.life == Life::Closing {
            self.life = if self.reopen { Life::Open } else { Life::Ended };
            self.close_depth = None;
            self.reopen = false;
        }
        Closed {
            life: Some(self.life),
            pending: self.pending,
        }
    }

    /// An attempt at one of its messages failed.
    pub(super) fn count_failure(&mut self, reason: &str) {
        self.consecutive_failures += 1;
        self.last_error = Some(kept(reason, REASON_KEPT_BYTES).to_owned());
    }
}

/// The rows the writer holds.
#[derive(Default)]
pub(super) struct Sessions {
    /// Rows that differ from what is stored.
    changed: Vec<i64>,
    rows: HashMap<i64, SessionRow>,
    by_id: HashMap<SessionId, i64>,
    /// By agent, then by key.
    by_key: HashMap<String, HashMap<String, i64>>,
}

impl Sessions {
    pub(super) fn by_num(&self, num: i64) -> Option<&SessionRow> {
        self.rows.get(&num)
    }

    pub(super) fn num_of_id(&self, id: SessionId) -> Option<i64> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn num_of_key(&self, agent: &str, key: &str) -> Option<i64> {
        self.by_key.get(agent)?.get(key).copied()
    }

    /// A held row, to be changed by `change`, which marks it for storing.
    pub(super) fn change<T>(&mut self, num: i64, change: impl FnOnce(&mut SessionRow) -> T) -> T {
        let row = self.rows.get_mut(&num);
        let row = row.expect("what a batch changes, it has found");
        if !mem::replace(&mut row.changed, true) {
            self.changed.push(num);
        }
        change(row)
    }

    /// Answers its number.
    pub(super) fn hold(&mut self, row: SessionRow) -> i64 {
        let num = row.num;
        self.by_id.insert(row.id, num);
        let of_agent = self.by_key.entry(row.agent.clone()).or_default();
        of_agent.insert(row.key.clone(), num);
        self.rows.insert(num, row);
        num
    }

    pub(super) fn forget(&mut self, num: i64) {
        if let Some(row) = self.rows.remove(&num) {
            self.by_id.remove(&row.id);
            if let Some(of_agent) = self.by_key.get_mut(&row.agent) {
                of_agent.remove(&row.key);
            }
        }
    }

    /// The numbers of what was changed since the last time, in order.
    pub(super) fn take_changed(&mut self) -> Vec<i64> {
        let mut changed = mem::take(&mut self.changed);
        changed.sort_unstable();
        changed
    }

    /// A held row that is about to be stored.
    pub(super) fn storing(&mut self, num: i64) -> Option<&mut SessionRow> {
        self.rows.get_mut(&num)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Keeps to its bound, between two batches.
    pub(super) fn trim(&mut self) {
        if self.rows.len() > HELD_MAX {
            self.clear();
        }
    }
}
