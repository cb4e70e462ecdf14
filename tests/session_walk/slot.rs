//! One session by its name: what must be so of it, and what is done to it.
//!
//! A slot is one thread's at a time, so what its steps lead to is known, unless the worker was ended
//! in the middle of one, or the session is ending meanwhile by itself (`is_ending`).

use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};
use sessiond::sessions::CloseReport;
use sessiond_queue::types::{Life, Receipt};

use super::agents::Member;
use super::clients::{Registered, TtlClient};
use super::look::Seen;
use super::world::{Down, PROGRAMS_DIR, World, metadata};
use crate::support::http::encode;
use crate::support::random::Random;
use crate::support::{Api, payload};

const AGENT: &str = "claude-code";
/// One slot in so many is worked by a program.
const PROGRAM_ONE_IN: usize = 3;

/// What must be so of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Absent,
    Open,
    Ended,
    /// Anything but half a state.
    Anything,
}

/// One session.
pub(super) struct Slot {
    pub(super) key: String,
    cwd: &'static str,
    /// Several threads are at it: nothing is known but what each answer says.
    pub(super) is_shared: bool,
    pub(super) wanted: Wanted,
    /// It is drained or closed in the background: what comes now may meet either side of it.
    pub(super) is_ending: bool,
    pub(super) id: Option<String>,
    /// Messages that were acknowledged and not purged.
    acknowledged: Vec<i64>,
    pub(super) members: Vec<Member>,
    pub(super) registered: Option<Registered>,
    pub(super) ttl_clients: Vec<TtlClient>,
    trees: Vec<Tree>,
    words: u64,
}

/// A worktree.
#[derive(Debug)]
struct Tree {
    id: String,
    path: PathBuf,
    /// Something would be lost with it.
    is_dirty: bool,
}

impl Slot {
    pub(super) fn new(number: usize) -> Self {
        let cwd = match number % PROGRAM_ONE_IN {
            0 => PROGRAMS_DIR,
            _ => "/home/user/project",
        };
        Self {
            key: format!("s{number}"),
            cwd,
            is_shared: false,
            wanted: Wanted::Absent,
            is_ending: false,
            id: None,
            acknowledged: Vec::new(),
            members: Vec::new(),
            registered: None,
            ttl_clients: Vec::new(),
            trees: Vec::new(),
            words: 0,
        }
    }

    /// A thread's own idea of the one session that all threads are at.
    pub(super) fn shared() -> Self {
        Self {
            key: "crowd".to_owned(),
            is_shared: true,
            wanted: Wanted::Anything,
            is_ending: true,
            ..Self::new(1)
        }
    }

    pub(super) fn name(&self) -> String {
        format!("{AGENT}:{}", self.key)
    }

    pub(super) fn target(&self) -> String {
        format!("/v1/sessions/{}", encode(&self.name()))
    }

    /// Whether it must be open, and stay so.
    pub(super) fn is_surely_open(&self) -> bool {
        self.wanted == Wanted::Open && !self.is_ending
    }

    /// A request of this slot's was not answered.
    pub(super) fn forget(&mut self) {
        self.wanted = Wanted::Anything;
        self.is_ending = true;
        self.leave_members();
        if let Some(registered) = &mut self.registered {
            registered.is_sure = false;
        }
        for client in &mut self.ttl_clients {
            client.forget();
        }
    }

    /// The worker was killed at `ended_at`, and may have forgotten what it had not saved yet.
    pub(super) fn forget_unsaved(&mut self, ended_at: Instant) {
        for client in &mut self.ttl_clients {
            client.forget_unsaved(ended_at);
        }
    }

    pub(super) fn open(&mut self, world: &World, _: &mut Random) -> Result<(), Down> {
        let body = json!({
            "agent": AGENT, "key": self.key, "cwd": self.cwd, "project": self.cwd,
        });
        let opened: Value = world.ask("POST", "/v1/sessions", Some(&body))?.json();
        self.is_now(world, opened["id"].as_str().expect("an id"));
        self.want(Wanted::Open);
        world.count("sessions opened");
        Ok(())
    }

    pub(super) fn prompt(&mut self, world: &World, _: &mut Random) -> Result<(), Down> {
        let payload = self.prompt_payload();
        self.post(world, &payload)?;
        self.want(Wanted::Open);
        Ok(())
    }

    pub(super) fn tool(&mut self, world: &World, random: &mut Random) -> Result<(), Down> {
        let id = format!("toolu_{}", random.below(u64::MAX));
        let payload = payload::event(
            &self.key,
            "PostToolUse",
            json!({
                "cwd": self.cwd,
                "tool_name": "Bash",
                "tool_input": { "command": "true" },
                "tool_response": { "stdout": "" },
                "tool_use_id": id,
            }),
        );
        self.post(world, &payload)?;
        // Of one that has ended it is worked, and changes nothing else.
        if self.wanted == Wanted::Absent {
            self.want(Wanted::Open);
        }
        Ok(())
    }

    pub(super) fn end(&mut self, world: &World, _: &mut Random) -> Result<(), Down> {
        let payload = payload::event(&self.key, "SessionEnd", json!({ "cwd": self.cwd }));
        self.post(world, &payload)?;
        self.is_ending = true;
        self.want(Wanted::Ended);
        self.leave_members();
        if let Some(registered) = &mut self.registered {
            registered.is_sure = false;
        }
        world.count("sessions ended by their agent");
        Ok(())
    }

    pub(super) fn patch(&mut self, world: &World, random: &mut Random) -> Result<(), Down> {
        let body = metadata(random.below(100));
        let patched = world.ask("PATCH", &self.target(), Some(&body))?;
        if self.wanted == Wanted::Absent {
            patched.error(404, "unknown_session");
        } else if patched.status != 404 {
            let shown: Value = patched.json();
            assert_eq!(shown["metadata"]["number"], body["metadata"]["number"]);
        }
        Ok(())
    }

    pub(super) fn close(&mut self, world: &World, random: &mut Random) -> Result<(), Down> {
        let query = match random.below(3) {
            0 => "?drain=true",
            _ => "",
        };
        self.delete(world, query)?;
        Ok(())
    }

    pub(super) fn purge(&mut self, world: &World, _: &mut Random) -> Result<(), Down> {
        self.delete(world, "?purge=true")
    }

    fn delete(&mut self, world: &World, query: &str) -> Result<(), Down> {
        let target = format!("{}{query}", self.target());
        let response = world.ask("DELETE", &target, None)?;
        if response.status == 404 {
            response.error(404, "unknown_session");
            assert!(
                matches!(self.wanted, Wanted::Absent | Wanted::Anything),
                "{} is not there",
                self.name()
            );
            return Ok(());
        }
        let report: CloseReport = response.json();
        self.is_now(world, &report.session.to_string());
        let is_purge = query.contains("purge");
        let usual = match is_purge {
            true => None,
            false => Some(Life::Ended),
        };
        if !self.is_ending {
            assert_eq!(report.life, usual, "{}{query}: {report:?}", self.name());
        }
        for settled in &report.worktrees {
            let is_removed = settled.outcome == sessiond::worktrees::Outcome::Removed;
            let id = settled.id.to_string();
            let tree = self.trees.iter().find(|tree| tree.id == id);
            assert!(
                !is_removed || tree.is_none_or(|tree| !tree.is_dirty),
                "{settled:?} is lost"
            );
            assert_eq!(is_removed, settled.reasons.is_empty(), "{settled:?}");
            assert!(
                !is_removed || !settled.path.exists(),
                "{settled:?} is there"
            );
            if is_removed {
                self.trees.retain(|tree| tree.id != id);
            }
            world.count(match is_removed {
                true => "worktrees removed",
                false => "worktrees kept",
            });
        }
        self.leave_members();
        if report.life != Some(Life::Open) {
            self.is_ending = self.is_shared;
            self.refuse(world)?;
        }
        if report.life.is_none() {
            self.acknowledged.clear();
            if !self.is_shared {
                let id = self.id.take().expect("it was just named");
                let shown = world.ask("GET", &format!("/v1/sessions/{id}"), None)?;
                shown.error(404, "unknown_session");
            }
        } else if is_purge {
            // What was accepted before its mark is gone, and nobody tells what that was.
            self.acknowledged.clear();
        }
        self.want(match report.life {
            None => Wanted::Absent,
            Some(Life::Ended) => Wanted::Ended,
            Some(_) => Wanted::Open,
        });
        world.count(match is_purge {
            true => "purges",
            false => "closes",
        });
        Ok(())
    }

    pub(super) fn add_tree(&mut self, world: &World, _: &mut Random) -> Result<(), Down> {
        let target = format!("{}/worktrees", self.target());
        let body = json!({ "repo": world.repo });
        let added = world.ask("POST", &target, Some(&body))?;
        match added.status {
            201 => {}
            404 | 409 if !self.is_surely_open() => return Ok(()),
            // Its git was ended with the session's programs, twice.
            503 => return Ok(()),
            status => panic!("{status}: {}", added.text()),
        }
        let added: Value = added.json();
        let text = |name: &str| added[name].as_str().expect("a text").to_owned();
        self.trees.push(Tree {
            id: text("id"),
            path: text("path").into(),
            is_dirty: false,
        });
        world.count("worktrees");
        Ok(())
    }

    pub(super) fn soil_tree(&mut self, world: &World, _: &mut Random) -> Result<(), Down> {
        let is_open = self.is_surely_open();
        if let Some(tree) = self.trees.last_mut().filter(|_| is_open) {
            std::fs::write(tree.path.join("untracked"), "work").expect("its directory is there");
            tree.is_dirty = true;
            world.count("worktrees with work in them");
        }
        Ok(())
    }

    /// Kills its programs, as the kernel would that is short of memory.
    pub(super) fn kill_programs(&mut self, world: &World, _: &mut Random) -> Result<(), Down> {
        let Some(id) = self.id.clone() else {
            return Ok(());
        };
        let shown = world.ask("GET", &self.target(), None)?;
        if shown.status == 404 {
            return Ok(());
        }
        let shown: Value = shown.json();
        for spawn in shown["processes"].as_array().expect("processes") {
            let Some(pid) = spawn["pid"].as_u64() else {
                continue;
            };
            let pid = u32::try_from(pid).expect("a pid");
            let process = crate::support::Process { pid };
            // It may have ended since.
            if process.environment().iter().any(|own| own.contains(&id)) {
                process.signal(nix::sys::signal::Signal::SIGKILL);
                world.count("kills of programs");
            }
        }
        Ok(())
    }

    /// A prompt with words of its own.
    pub(super) fn prompt_payload(&mut self) -> String {
        self.words += 1;
        let prompt = format!("marmalade {}", self.words);
        let fields = json!({ "cwd": self.cwd, "prompt": prompt });
        payload::event(&self.key, "UserPromptSubmit", fields)
    }

    fn post(&mut self, world: &World, payload: &str) -> Result<(), Down> {
        let payload: Value = serde_json::from_str(payload).expect("JSON");
        let target = format!("/v1/hooks/{AGENT}");
        let receipt: Receipt = world.ask("POST", &target, Some(&payload))?.json();
        self.is_now(world, &receipt.session.to_string());
        self.acknowledged.push(receipt.message.0);
        world.count("events");
        Ok(())
    }

    /// An answer has named the session.
    fn is_now(&mut self, world: &World, id: &str) {
        let is_new = world.known().sessions.insert(id.to_owned());
        if !self.is_shared {
            match self.wanted {
                Wanted::Absent => assert!(is_new, "{id} comes back from the dead"),
                Wanted::Anything => {}
                Wanted::Open | Wanted::Ended => {
                    let known = self.id.as_deref().unwrap_or(id);
                    // A purge that met an event while it was ending has left the same one, too.
                    assert_eq!(known, id, "{} is another one", self.name());
                }
            }
        }
        self.id = Some(id.to_owned());
    }

    pub(super) fn want(&mut self, wanted: Wanted) {
        if self.wanted != Wanted::Anything || !self.is_ending {
            self.wanted = wanted;
        }
    }

    pub(super) fn leave_members(&mut self) {
        for member in &mut self.members {
            member.is_sure = false;
        }
    }

    /// Compares with what was seen; from now on that is what is known.
    pub(super) fn agree(&mut self, world: &World, seen: &Seen) {
        let name = self.name();
        let row = seen.session(&self.key);
        let life = row.map(|row| row.life);
        let found = match life {
            None => Wanted::Absent,
            Some(Life::Open) => Wanted::Open,
            Some(Life::Ended) => Wanted::Ended,
            Some(Life::Closing) => unreachable!("all is at rest"),
        };
        if self.wanted != Wanted::Anything {
            assert_eq!(found, self.wanted, "{name}: {row:?}");
        }
        let id = row.map(|row| row.id.clone());
        if let (Some(known), Some(id), false) = (&self.id, &id, self.wanted == Wanted::Anything) {
            assert_eq!(known, id, "{name} is another one");
        }
        let is_same = self.id == id;
        for message in &self.acknowledged {
            let is_there = seen.messages.contains(message);
            // An unanswered purge may have taken it.
            let may_be_gone = self.wanted == Wanted::Anything;
            assert!(
                is_there || may_be_gone,
                "message {message} of {name} is lost"
            );
        }
        self.acknowledged.retain(|_| is_same);
        self.agree_on_members(seen, &id);
        self.agree_on_clients(world, seen, found);
        for tree in &self.trees {
            let is_listed = seen.worktrees.contains(&tree.id);
            assert!(is_listed || !tree.is_dirty, "{tree:?} of {name} is lost");
            assert_eq!(is_listed, tree.path.exists(), "{tree:?} of {name}");
        }
        self.trees.retain(|tree| seen.worktrees.contains(&tree.id));
        if let Some(id) = &id {
            world.known().sessions.insert(id.clone());
        }
        self.id = id;
        self.wanted = found;
        self.is_ending = false;
    }

    /// Everything of it goes.
    pub(super) fn give_up(&mut self, world: &World) {
        self.members.clear();
        self.registered = None;
        self.ttl_clients.clear();
        self.trees.clear();
        self.acknowledged.clear();
        // A client or an agent less may end it meanwhile.
        self.wanted = Wanted::Anything;
        self.is_ending = true;
        let api: &Api = &world.api;
        if api.find_session(&self.name()).is_some() {
            api.close(&self.name(), "?purge=true");
        }
    }
}
