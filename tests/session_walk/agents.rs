//! The agents of a session: processes that fire real hooks and are killed.

use serde_json::{Value, json};
use sessiond_queue::types::Life;

use super::clients::wait_for;
use super::look::Seen;
use super::slot::{Slot, Wanted};
use super::world::{Down, World};
use crate::support::Agent;
use crate::support::random::Random;

/// Of one session at once.
const MEMBERS_MAX: usize = 2;

/// An agent.
pub(super) struct Member {
    agent: Agent,
    /// The worker must know it; otherwise it may.
    pub(super) is_sure: bool,
}

impl Member {
    pub(super) fn pid(&self) -> u32 {
        self.agent.pid()
    }
}

impl Slot {
    /// A new agent, or one that is there, fires a prompt by the real hook. Without a worker that is
    /// spooled; so it counts in any case.
    pub(super) fn fire(&mut self, world: &World, random: &mut Random) -> Result<(), Down> {
        if self.members.len() < MEMBERS_MAX && !random.once_in(3) {
            self.members.push(Member {
                agent: Agent::start(&world.home, &[]),
                is_sure: false,
            });
        }
        let payload = self.prompt_payload();
        if self.members.is_empty() {
            return Ok(());
        }
        let (is_ending, number) = (self.is_ending, random.index(self.members.len()));
        let member = &mut self.members[number];
        member.agent.fire(&payload);
        // One that is taken in while the close forgets the others may be forgotten with them.
        member.is_sure |= !is_ending;
        self.want(Wanted::Open);
        world.count("events by agents");
        Ok(())
    }

    /// With the last one of them its session ends.
    pub(super) fn kill_agent(&mut self, world: &World, random: &mut Random) -> Result<(), Down> {
        if self.members.is_empty() {
            return Ok(());
        }
        let number = random.index(self.members.len());
        let Member { agent, is_sure } = self.members.remove(number);
        let pid = agent.pid();
        agent.kill();
        world.count("kills of agents");
        if !is_sure || self.is_ending {
            // It may have been the last one that the worker knows of.
            self.wanted = Wanted::Anything;
            self.is_ending = true;
            self.leave_members();
            return Ok(());
        }
        let show = || -> Result<Value, Down> { Ok(world.ask("GET", &self.target(), None)?.json()) };
        if !self.members.is_empty() {
            wait_for("the worker knows that it is gone", || {
                let agents = &show()?["agents"];
                Ok(!agents.as_array().expect("pids").contains(&json!(pid)))
            })?;
        }
        if self.members.iter().any(|member| member.is_sure) {
            return Ok(());
        }
        if !self.members.is_empty() {
            self.wanted = Wanted::Anything;
            self.is_ending = true;
            return Ok(());
        }
        wait_for("its session ends with it", || {
            Ok(show()?["life"] == json!(Life::Ended))
        })?;
        self.want(Wanted::Ended);
        self.refuse(world)
    }

    pub(super) fn agree_on_members(&mut self, seen: &Seen, id: &Option<String>) {
        for member in &mut self.members {
            let pair = (member.pid(), id.clone().unwrap_or_default());
            let is_known = seen.agents.contains(&pair);
            assert!(
                is_known || !member.is_sure,
                "agent {} of {} is forgotten",
                pair.0,
                self.key
            );
            member.is_sure = is_known;
        }
    }
}
