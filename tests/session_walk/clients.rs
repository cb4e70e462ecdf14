//! The clients of a session: its registered process with a token; and such as only last while they
//! are touched, which are a slot's so that one thread at a time knows them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::look::Seen;
use super::slot::{Slot, Wanted};
use super::world::{Down, SAVE_INTERVAL, TTL, World, metadata};
use crate::support::random::Random;
use crate::support::wait::ok_if;
use crate::support::{LIMIT, Sleeper, wait_until};

/// Of one slot at once.
const TTL_CLIENTS_MAX: usize = 3;
/// Touches that follow each other closely are one.
const THROTTLE: Duration = Duration::from_millis(150);
/// What else a batch may take to be on disk, on a machine that is busy.
const SAVING: Duration = Duration::from_secs(3);

/// A process with a token.
pub(super) struct Registered {
    id: String,
    token: String,
    process: Sleeper,
    /// Its token must be good; otherwise it may be.
    pub(super) is_sure: bool,
}

/// A client that lasts while it is touched.
#[derive(Debug)]
pub(super) struct TtlClient {
    id: String,
    changed_at: Instant,
    /// Until then it must be there, if that is known.
    there_until: Option<Instant>,
    /// From then on it must be gone.
    gone_from: Instant,
    /// What its metadata must say.
    number: Option<u64>,
}

impl TtlClient {
    /// Its time begins anew, at a moment between these.
    fn touched(&mut self, before: Instant, after: Instant) {
        self.changed_at = after;
        self.there_until = Some(before + TTL.saturating_sub(THROTTLE));
        self.gone_from = after + TTL;
    }

    pub(super) fn forget(&mut self) {
        self.there_until = None;
        self.number = None;
        // What was not answered may have been a touch.
        self.gone_from = self.gone_from.max(Instant::now() + LIMIT);
    }

    pub(super) fn forget_unsaved(&mut self, ended_at: Instant) {
        if self.changed_at + SAVE_INTERVAL + SAVING > ended_at {
            self.there_until = None;
            self.number = None;
        }
    }

    fn must_be_there(&self, at: Instant) -> bool {
        self.there_until.is_some_and(|until| at < until)
    }
}

impl Slot {
    pub(super) fn register(&mut self, world: &World, _: &mut Random) -> Result<(), Down> {
        let process = Sleeper::start();
        let body = json!({
            "session": self.name(), "pid": process.pid(), "display_name": "walker",
        });
        let answer = world.ask("POST", "/v1/clients/register", Some(&body))?;
        match answer.status {
            201 => assert_ne!(self.wanted, Wanted::Absent),
            404 => {
                assert!(matches!(self.wanted, Wanted::Absent | Wanted::Anything));
                return Ok(());
            }
            409 => {
                answer.error(409, "session_not_open");
                assert!(!self.is_surely_open(), "{} is open", self.name());
                return Ok(());
            }
            status => panic!("{status}: {}", answer.text()),
        }
        let answer: Value = answer.json();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let (id, token) = (text(&answer["client"]["id"]), text(&answer["token"]));
        let is_sure = self.is_surely_open();
        world.known().tokens.insert(token.clone(), id.clone());
        world.count("tokens");
        let old = self.registered.replace(Registered {
            id,
            token: token.clone(),
            process,
            is_sure,
        });
        if is_sure {
            assert!(world.is_good(&token)?, "a token is good at once");
        }
        if let Some(old) = old {
            if old.is_sure {
                assert_eq!(answer["replaced"], json!(old.id));
            }
            if !self.is_shared {
                let is_good = world.is_good(&old.token)?;
                assert!(!is_good, "a token that was replaced is refused at once");
            }
        }
        Ok(())
    }

    pub(super) fn kill_client(&mut self, world: &World, _: &mut Random) -> Result<(), Down> {
        let Some(mut registered) = self.registered.take() else {
            return Ok(());
        };
        registered.process.kill();
        world.count("kills of clients");
        wait_for("the token goes with its process", || {
            Ok(!world.is_good(&registered.token)?)
        })
    }

    pub(super) fn deregister(&mut self, world: &World, _: &mut Random) -> Result<(), Down> {
        let Some(registered) = self.registered.take() else {
            return Ok(());
        };
        let target = format!("/v1/clients/{}", registered.id);
        let answer = world.ask("DELETE", &target, None)?;
        if registered.is_sure || answer.status != 404 {
            answer.json::<Value>();
        }
        let is_good = world.is_good(&registered.token)?;
        assert!(!is_good, "a client that was removed is refused at once");
        world.count("clients removed");
        Ok(())
    }

    /// The session is over: its token must be refused.
    pub(super) fn refuse(&mut self, world: &World) -> Result<(), Down> {
        let Some(registered) = self.registered.take_if(|_| !self.is_shared) else {
            return Ok(());
        };
        let is_good = world.is_good(&registered.token)?;
        assert!(!is_good, "{}: its token outlives it", self.name());
        Ok(())
    }

    pub(super) fn open_ttl(&mut self, world: &World, random: &mut Random) -> Result<(), Down> {
        if self.ttl_clients.len() == TTL_CLIENTS_MAX {
            return Ok(());
        }
        let kind = ["http", "mcp"][random.index(2)];
        let body = json!({ "kind": kind, "name": "walker" });
        let before = Instant::now();
        let answer = world.ask("POST", "/v1/clients", Some(&body))?;
        let after = Instant::now();
        assert_eq!(answer.status, 201, "{}", answer.text());
        let opened: Value = answer.json();
        let mut client = TtlClient {
            id: opened["id"].as_str().expect("an id").to_owned(),
            changed_at: after,
            there_until: None,
            gone_from: after,
            number: None,
        };
        client.touched(before, after);
        self.ttl_clients.push(client);
        world.count("TTL clients");
        Ok(())
    }

    pub(super) fn touch_ttl(&mut self, world: &World, random: &mut Random) -> Result<(), Down> {
        self.change_ttl(world, random, |client, world, _| {
            let target = format!("/v1/clients/{}/touch", client.id);
            let before = Instant::now();
            let answer = world.ask("POST", &target, None)?;
            if answer.status != 404 {
                answer.json::<Value>();
                client.touched(before, Instant::now());
                world.count("touches");
            }
            Ok(answer.status != 404)
        })
    }

    pub(super) fn patch_ttl(&mut self, world: &World, random: &mut Random) -> Result<(), Down> {
        self.change_ttl(world, random, |client, world, random| {
            let number = random.below(100);
            let target = format!("/v1/clients/{}", client.id);
            let answer = world.ask("PATCH", &target, Some(&metadata(number)))?;
            if answer.status != 404 {
                answer.json::<Value>();
                client.number = Some(number);
                client.changed_at = Instant::now();
            }
            Ok(answer.status != 404)
        })
    }

    pub(super) fn remove_ttl(&mut self, world: &World, random: &mut Random) -> Result<(), Down> {
        let mut removed = None;
        self.change_ttl(world, random, |client, world, _| {
            let target = format!("/v1/clients/{}", client.id);
            let answer = world.ask("DELETE", &target, None)?;
            if answer.status != 404 {
                answer.json::<Value>();
                let shown = world.ask("GET", &target, None)?;
                shown.error(404, "unknown_client");
                removed = Some(client.id.clone());
            }
            Ok(answer.status != 404)
        })?;
        self.ttl_clients
            .retain(|client| Some(&client.id) != removed.as_ref());
        Ok(())
    }

    /// Does something to one of them, which tells whether it was there, and compares.
    fn change_ttl(
        &mut self,
        world: &World,
        random: &mut Random,
        change: impl FnOnce(&mut TtlClient, &World, &mut Random) -> Result<bool, Down>,
    ) -> Result<(), Down> {
        if self.ttl_clients.is_empty() {
            return Ok(());
        }
        let number = random.index(self.ttl_clients.len());
        let client = &mut self.ttl_clients[number];
        let (before, gone_from) = (Instant::now(), client.gone_from);
        let there_until = client.there_until;
        let was_there = change(client, world, random)?;
        let after = Instant::now();
        if was_there {
            assert!(before < gone_from, "{client:?} outlives its time");
        } else {
            let is_early = there_until.is_some_and(|until| after < until);
            assert!(!is_early, "{client:?} goes before its time");
            self.ttl_clients.remove(number);
            world.count("TTL clients found expired");
        }
        Ok(())
    }

    pub(super) fn agree_on_clients(&mut self, world: &World, seen: &Seen, found: Wanted) {
        if let Some(registered) = &mut self.registered {
            let is_there = seen.clients.contains_key(&registered.id);
            assert!(
                is_there || !registered.is_sure || found != Wanted::Open,
                "the client of {} is lost",
                self.key
            );
            assert!(
                !is_there || found == Wanted::Open,
                "the client of {} outlives its session",
                self.key
            );
            registered.is_sure = is_there;
        }
        self.registered.take_if(|registered| !registered.is_sure);
        let mut expired = 0;
        self.ttl_clients.retain_mut(|client| {
            let found = seen.clients.get(&client.id);
            match found {
                None => {
                    let is_early = client.must_be_there(seen.until);
                    assert!(!is_early, "{client:?} goes before its time");
                    expired += 1;
                }
                Some(shown) => {
                    assert!(seen.from < client.gone_from, "{client:?} outlives its time");
                    if let Some(number) = client.number {
                        assert_eq!(shown["metadata"]["number"], number, "{shown}");
                    }
                }
            }
            found.is_some()
        });
        for _ in 0..expired {
            world.count("TTL clients found expired");
        }
    }
}

/// Waits until a look is what it should be; for what follows by itself.
pub(super) fn wait_for(
    what: &str,
    mut is_so: impl FnMut() -> Result<bool, Down>,
) -> Result<(), Down> {
    wait_until(what, LIMIT, || match is_so() {
        Ok(so) => ok_if(so, "not yet").map(|()| Ok(())),
        Err(down) => Ok(Err(down)),
    })
}
