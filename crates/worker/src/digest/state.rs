//! The checkpoint: what the digest remembers of a session.
//!
//! Every list is bounded and counts what it dropped. When a session of extremes still exceeds the
//! bound, lists are halved until it fits. Counts stop at their end: a checkpoint that another
//! generator has left may have the shape of ours and any numbers.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use sessiond_queue::ids::Timestamp;

use super::text::one_line;

/// Bytes of a checkpoint at most.
pub const CHECKPOINT_MAX_BYTES: usize = 32 << 10;

/// Shape of the checkpoint; one of another shape is not read.
const VERSION: u32 = 1;

/// Entries of a list; enough for a summary that is still read.
const LIST_MAX: usize = 24;

/// Files of one kind that are remembered.
const FILES_MAX: usize = 48;

/// Characters of a path, a name, an id that are remembered.
pub(super) const NAME_CHARS: usize = 240;

/// Characters of a sentence (prompt, command, error) that are remembered.
pub(super) const SENTENCE_CHARS: usize = 240;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    v: u32,
    /// When the first and the latest event were accepted.
    pub(super) first_at: Option<Timestamp>,
    pub(super) last_at: Option<Timestamp>,
    pub(super) cwd: Option<String>,
    pub(super) model: Option<String>,
    pub(super) prompts: Tail<String>,
    /// Of the whole session, subagents included.
    pub(super) work: Work,
    pub(super) commands: Tail<Command>,
    pub(super) changed: Files,
    pub(super) read: Files,
    pub(super) failures: Tail<String>,
    pub(super) subagents: BTreeMap<String, Subagent>,
    pub(super) subagents_dropped: u64,
    /// Calls that have begun and not ended.
    pub(super) running: Tail<Call>,
    /// Calls that were begun and given up: an interrupt fires no event.
    pub(super) unfinished: Tail<Call>,
    /// Ids of calls that ended since the last batch, to tell which calls of a batch are news.
    pub(super) ended_ids: Tail<String>,
    pub(super) last_message: Option<String>,
}

/// Counts of tool calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Work {
    pub(super) calls: u64,
    pub(super) failed: u64,
    pub(super) tool_ms: u64,
    pub(super) by_tool: BTreeMap<String, u64>,
}

impl Work {
    pub(super) fn count(&mut self, tool: &str, failed: bool, ms: Option<u64>) {
        let tool = one_line(tool, 80);
        let known = self.by_tool.contains_key(&tool) || self.by_tool.len() < LIST_MAX;
        let name = if known { tool } else { "other".to_owned() };
        let calls = self.by_tool.entry(name).or_default();
        *calls = calls.saturating_add(1);
        self.calls = self.calls.saturating_add(1);
        self.failed = self.failed.saturating_add(u64::from(failed));
        self.tool_ms = self.tool_ms.saturating_add(ms.unwrap_or(0));
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Subagent {
    pub(super) kind: Option<String>,
    pub(super) started_at: Option<Timestamp>,
    pub(super) stopped_at: Option<Timestamp>,
    pub(super) work: Work,
    pub(super) changed: Files,
    pub(super) last_message: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Command {
    pub(super) line: String,
    pub(super) failed: bool,
    pub(super) exit_code: Option<i64>,
    pub(super) ms: Option<u64>,
}

/// A call whose end has not been seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Call {
    pub(super) agent_id: Option<String>,
    pub(super) id: Option<String>,
    pub(super) tool: String,
    pub(super) subject: String,
    pub(super) at: Timestamp,
}

/// The latest entries of a list, and how many there were in all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Tail<T> {
    pub(super) total: u64,
    pub(super) last: VecDeque<T>,
}

impl<T> Default for Tail<T> {
    fn default() -> Self {
        Self {
            total: 0,
            last: VecDeque::new(),
        }
    }
}

impl<T> Tail<T> {
    pub(super) fn push(&mut self, entry: T) {
        self.total = self.total.saturating_add(1);
        self.last.push_back(entry);
        self.keep(LIST_MAX);
    }

    pub(super) fn keep(&mut self, max: usize) {
        let excess = self.last.len().saturating_sub(max);
        self.last.drain(..excess);
    }

    /// Takes out the oldest entry that matches.
    pub(super) fn take(&mut self, matches: impl Fn(&T) -> bool) -> Option<T> {
        let at = self.last.iter().position(matches)?;
        self.total = self.total.saturating_sub(1);
        self.last.remove(at)
    }
}

/// Paths in the order of their latest use, each once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Files {
    pub(super) latest: VecDeque<String>,
    /// How many had to be forgotten.
    pub(super) dropped: u64,
}

impl Files {
    pub(super) fn touch(&mut self, path: &str) {
        let path = one_line(path, NAME_CHARS);
        self.latest.retain(|known| *known != path);
        self.latest.push_back(path);
        self.keep(FILES_MAX);
    }

    pub(super) fn total(&self) -> u64 {
        self.dropped.saturating_add(self.latest.len() as u64)
    }

    fn keep(&mut self, max: usize) {
        let excess = self.latest.len().saturating_sub(max);
        self.latest.drain(..excess);
        self.dropped = self.dropped.saturating_add(excess as u64);
    }
}

impl State {
    /// An unreadable checkpoint, or one of another shape, gives an empty state; so does one that is
    /// too long to be the digest's, since what is written of a state is as long as its entries.
    pub(super) fn load(checkpoint: &str) -> Self {
        if checkpoint.len() > CHECKPOINT_MAX_BYTES {
            return Self::default();
        }
        serde_json::from_str(checkpoint)
            .ok()
            .filter(|state: &Self| state.v == VERSION)
            .unwrap_or_default()
    }

    /// JSON text of at most [`CHECKPOINT_MAX_BYTES`].
    pub(super) fn save(mut self) -> String {
        self.v = VERSION;
        let mut keep = FILES_MAX;
        loop {
            // Cannot fail: every key of every map is a string.
            let text = serde_json::to_string(&self).unwrap_or_default();
            if text.len() <= CHECKPOINT_MAX_BYTES {
                return text;
            }
            if keep == 0 {
                return serde_json::to_string(&Self {
                    v: VERSION,
                    ..Self::default()
                })
                .unwrap_or_default();
            }
            keep /= 2;
            self.keep(keep);
        }
    }

    /// The subagent of this id; the one that stopped first gives way when there are too many.
    pub(super) fn subagent(&mut self, id: &str) -> &mut Subagent {
        let id = one_line(id, NAME_CHARS);
        if !self.subagents.contains_key(&id) && self.subagents.len() >= LIST_MAX {
            self.drop_subagent();
        }
        self.subagents.entry(id).or_default()
    }

    fn drop_subagent(&mut self) {
        let oldest = self
            .subagents
            .iter()
            .min_by_key(|(id, agent)| {
                let running = agent.stopped_at.is_none();
                (
                    running,
                    agent.stopped_at.or(agent.started_at),
                    (*id).clone(),
                )
            })
            .map(|(id, _)| id.clone());
        if let Some(id) = oldest {
            self.subagents.remove(&id);
            self.subagents_dropped = self.subagents_dropped.saturating_add(1);
        }
    }

    fn keep(&mut self, max: usize) {
        self.prompts.keep(max);
        self.commands.keep(max);
        self.changed.keep(max);
        self.read.keep(max);
        self.failures.keep(max);
        self.running.keep(max);
        self.unfinished.keep(max);
        self.ended_ids.keep(max);
        while self.subagents.len() > max {
            self.drop_subagent();
        }
        for agent in self.subagents.values_mut() {
            agent.changed.keep(max);
        }
    }
}
