//! What is so once all is at rest: the API, the doctor, the databases, `/proc` and the disk, each
//! beside the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;
use sessiond::doctor::{Report, Verdict};
use sessiond_queue::types::Life;

use super::slot::Slot;
use super::stored::Stored;
use super::world::{Known, World};
use crate::support::SessionView;

/// Refused tokens that are tried again: those of the last rounds.
const REFUSED_MAX: usize = 40;

/// What was seen in one look.
pub(super) struct Seen {
    sessions: Vec<Row>,
    ids: BTreeSet<String>,
    /// Messages by id.
    pub(super) messages: BTreeSet<i64>,
    /// Clients as they are shown, by id.
    pub(super) clients: BTreeMap<String, Value>,
    /// Worktrees by id.
    pub(super) worktrees: BTreeSet<String>,
    /// Processes of agents with their sessions.
    pub(super) agents: BTreeSet<(u32, String)>,
    /// Between these moments clients were looked at.
    pub(super) from: Instant,
    pub(super) until: Instant,
}

/// A session.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) key: String,
    pub(super) life: Life,
}

impl Seen {
    pub(super) fn session(&self, key: &str) -> Option<&Row> {
        self.sessions.iter().find(|row| row.key == key)
    }
}

/// Looks at everything; the error is the first thing that does not agree, which may yet come to.
pub(super) fn look<'a>(
    world: &World,
    slots: impl Iterator<Item = &'a Slot>,
) -> Result<Seen, String> {
    let api = &world.api;
    let views = api.sessions();
    let stored = Stored::open(world.home.layout());
    let rows = stored.sessions();
    lives(&views, &rows)?;
    same("orphans", &stored.orphans(&rows), &Vec::new())?;
    let status = api.status();
    let by_life = |life: Life| rows.values().filter(|row| row.1 == life.as_str()).count() as i64;
    let found = [
        status.sessions.open,
        status.sessions.closing,
        status.sessions.ended,
    ];
    same("sessions of the status", &found, &Life::ALL.map(by_life))?;
    let active = views
        .iter()
        .filter(|view| view.residence == "active")
        .count();
    same("active sessions with a row", &active, &status.active)?;

    let report = api.doctor_deep();
    verify(&report)?;
    messages(&report, &stored)?;
    let from = Instant::now();
    let clients = clients(world, &report, &stored, &views)?;
    let until = Instant::now();
    let agents = agents(&report, &stored, slots, &views)?;
    let worktrees = worktrees(world, &report, &stored)?;
    processes(&report, &views)?;
    let index = |table: &str| stored.of_state(&format!("SELECT count(*) FROM {table}"));
    same(
        "rows of the index",
        &index("search_text"),
        &index("search_entries"),
    )?;

    let sessions = views.into_iter().map(|view| Row {
        id: view.session.id.to_string(),
        key: view.session.key,
        life: view.session.life,
    });
    Ok(Seen {
        sessions: sessions.collect(),
        ids: rows.into_keys().collect(),
        messages: stored.messages(),
        clients,
        worktrees,
        agents,
        from,
        until,
    })
}

fn lives(views: &[SessionView], rows: &BTreeMap<String, (String, String)>) -> Result<(), String> {
    let shown = views.iter().map(|view| {
        let session = &view.session;
        let life = session.life.as_str().to_owned();
        (session.id.to_string(), (session.key.clone(), life))
    });
    same("sessions", &shown.collect(), rows)?;
    for view in views {
        let session = &view.session;
        if session.life == Life::Closing || session.drain_until.is_some() {
            return Err(format!("{session:?} is ending"));
        }
    }
    Ok(())
}

fn verify(report: &Report) -> Result<(), String> {
    let deep = report.deep.as_ref().ok_or("nothing was verified")?;
    assert!(deep.is_sound(), "{deep:?}");
    if report.verdict == Verdict::Failing {
        return Err(format!("{:?}", report.findings));
    }
    same("lost events", &report.spool.lost, &0)?;
    same("refused events", &report.spool.rejected_count, &0)
}

fn messages(report: &Report, stored: &Stored) -> Result<(), String> {
    let depth = report.queue.as_ref().ok_or("no queue")?.stats.depth;
    let recount = |state: &str| {
        stored.of_queue(&format!(
            "SELECT count(*) FROM messages WHERE state = '{state}'"
        ))
    };
    let found = [
        depth.pending,
        depth.claimed,
        depth.done,
        depth.dead,
        depth.cancelled,
    ];
    let states = ["pending", "claimed", "done", "dead", "cancelled"];
    let recounted = states.map(recount);
    same("messages by state", &found, &recounted)?;
    same(
        "messages that are not done",
        &(recounted[0] + recounted[1] + recounted[3]),
        &0,
    )
}

fn clients(
    world: &World,
    report: &Report,
    stored: &Stored,
    views: &[SessionView],
) -> Result<BTreeMap<String, Value>, String> {
    let listed = world.listed_clients();
    let by_id = listed.into_iter().map(|client| {
        let id = client["id"].as_str().expect("an id").to_owned();
        (id, client)
    });
    let clients: BTreeMap<_, _> = by_id.collect();
    let ids: BTreeSet<_> = clients.keys().cloned().collect();
    same("clients", &ids, &stored.texts("SELECT id FROM clients"))?;
    let kinds = ["registered", "http", "mcp"];
    let listed = kinds.map(|kind| {
        clients
            .values()
            .filter(|client| client["kind"] == kind)
            .count()
    });
    let counted = world.api.status().clients;
    same(
        "clients of the status",
        &[counted.registered, counted.http, counted.mcp],
        &listed,
    )?;
    let told = report.clients.as_ref().ok_or("no clients")?;
    let counted = told.counts;
    same(
        "clients of the doctor",
        &[counted.registered, counted.http, counted.mcp],
        &listed,
    )?;
    let processes = "SELECT DISTINCT process FROM clients WHERE process IS NOT NULL";
    same(
        "processes of clients",
        &told.watched,
        &stored.texts(processes).len(),
    )?;
    same(
        "clients that cannot be told",
        &(told.swept, told.unverifiable, told.skipped),
        &(0, 0, 0),
    )?;
    same("what clients' rows failed with", &told.last_error, &None)?;
    let open: BTreeSet<_> = views
        .iter()
        .filter(|view| view.session.life == Life::Open)
        .map(|view| view.session.id.to_string())
        .collect();
    let sessions = stored.texts("SELECT session FROM clients WHERE session IS NOT NULL");
    let orphans: Vec<_> = sessions.difference(&open).collect();
    same(
        "clients of sessions that are not open",
        &orphans,
        &Vec::new(),
    )?;
    Ok(clients)
}

fn agents<'a>(
    report: &Report,
    stored: &Stored,
    slots: impl Iterator<Item = &'a Slot>,
    views: &[SessionView],
) -> Result<BTreeSet<(u32, String)>, String> {
    let pairs = stored.agents();
    let living: BTreeSet<u32> = slots
        .flat_map(|slot| slot.members.iter().map(|member| member.pid()))
        .collect();
    let pids: BTreeSet<u32> = pairs.iter().map(|(pid, _)| *pid).collect();
    let dead: Vec<_> = pids.difference(&living).collect();
    same("agents that are gone", &dead, &Vec::new())?;
    let told = report.agents.as_ref().ok_or("no agents")?;
    same("agents", &told.watched, &(pids.len() as u64))?;
    same(
        "agents that cannot be told",
        &(told.unseen, told.over_bound, told.malformed),
        &(0, 0, 0),
    )?;
    for (pid, session) in &pairs {
        let view = views
            .iter()
            .find(|view| view.session.id.to_string() == *session);
        let life = view.map(|view| view.session.life);
        same(
            &format!("the session of agent {pid}"),
            &life,
            &Some(Life::Open),
        )?;
    }
    Ok(pairs)
}

fn worktrees(world: &World, report: &Report, stored: &Stored) -> Result<BTreeSet<String>, String> {
    let listed: Value = world.api.get("/v1/worktrees");
    let listed = listed["worktrees"].as_array().expect("worktrees");
    let told = report.worktrees.as_ref().ok_or("no worktrees")?;
    let rows = |state: &str| {
        stored.of_state(&format!(
            "SELECT count(*) FROM worktrees WHERE state = '{state}'"
        ))
    };
    let found = [told.added, told.kept, told.unfinished].map(|count| count as i64);
    same(
        "worktrees of the doctor",
        &found,
        &[rows("added"), rows("kept"), 0],
    )?;
    same(
        "listed worktrees",
        &(listed.len() as i64),
        &(rows("added") + rows("kept")),
    )?;
    same("worktrees without a directory", &told.missing_count, &0)?;
    for worktree in listed {
        let is_kept = worktree["stage"] == "kept";
        if is_kept && worktree["reasons"].as_array().is_none_or(Vec::is_empty) {
            return Err(format!("kept for no reason: {worktree}"));
        }
    }
    let paths = stored.texts("SELECT path FROM worktrees");
    let there = directories_with_git(&told.root);
    same("directories of worktrees", &there, &paths)?;
    let branches = world.git(&[
        "for-each-ref",
        "--format=%(refname:short)",
        "refs/heads/session",
    ]);
    let branches: BTreeSet<_> = branches.lines().map(str::to_owned).collect();
    same(
        "branches of sessions",
        &branches,
        &stored.texts("SELECT branch FROM worktrees"),
    )?;
    Ok(stored.texts("SELECT id FROM worktrees"))
}

/// Working trees of git at or below a directory, at any depth that is of interest.
fn directories_with_git(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![root.to_owned()];
    while let Some(dir) = left.pop() {
        if dir.join(".git").exists() {
            found.insert(dir.to_string_lossy().into_owned());
            continue;
        }
        let entries = fs::read_dir(dir).into_iter().flatten();
        let entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
        left.extend(entries.filter(|path| path.is_dir()));
    }
    found
}

fn processes(report: &Report, views: &[SessionView]) -> Result<(), String> {
    let found = report.processes.as_ref().ok_or("no processes")?;
    same("strays", &format!("{:?}", found.strays), &"[]".to_owned())?;
    same(
        "stale records",
        &format!("{:?}", found.stale),
        &"[]".to_owned(),
    )?;
    same(
        "unreadable records",
        &format!("{:?}", found.unreadable),
        &"[]".to_owned(),
    )?;
    let worker = found.worker.as_ref().ok_or("no worker")?;
    same("zombies", &worker.zombies, &Vec::new())?;
    same(
        "programs",
        &worker.counts.live,
        &(report.spawns.len() as u64),
    )?;
    for spawn in &report.spawns {
        let session = &spawn.info.session;
        let view = views
            .iter()
            .find(|view| view.session.id.to_string() == *session);
        // A late event of an ended one is worked by a program, which ends soon.
        let life = view.map(|view| view.session.life);
        same("the session of a program", &life, &Some(Life::Open))?;
    }
    Ok(())
}

/// Asserts that nothing is left of the sessions that are gone.
#[track_caller]
pub(super) fn assert_nothing_is_left(world: &World, seen: &Seen) {
    let (gone, newly): (BTreeSet<String>, Vec<String>) = {
        let mut known = world.known();
        known.sessions.extend(seen.ids.iter().cloned());
        let Known { sessions, gone, .. } = &mut *known;
        let found: BTreeSet<_> = sessions.difference(&seen.ids).cloned().collect();
        let newly = found.difference(gone).cloned().collect();
        gone.clone_from(&found);
        (found, newly)
    };
    for process in world.home.processes() {
        let environment = process.environment();
        let tag = environment
            .iter()
            .find_map(|own| own.strip_prefix("SESSIOND_TAG="));
        let session = tag.and_then(|tag| tag.split(':').nth(2));
        if let Some(session) = session {
            assert!(
                !gone.contains(session),
                "{process:?} of a session that is gone"
            );
        }
    }
    for path in all_paths(world.home.layout().root()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        assert!(
            !gone.contains(name.as_ref()),
            "{path:?} of a session that is gone"
        );
    }
    for id in newly {
        let shown = world.api.call("GET", &format!("/v1/sessions/{id}"));
        shown.error(404, "unknown_session");
        world.count("sessions gone");
    }
    for hit in world.api.search("marmalade") {
        let session = serde_json::to_value(&hit).expect("JSON")["session"].clone();
        let session = session.as_str().expect("a session");
        assert!(!gone.contains(session), "{hit:?} of a session that is gone");
    }
}

fn all_paths(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(dir) = left.pop() {
        let entries = fs::read_dir(dir).into_iter().flatten();
        for entry in entries.filter_map(Result::ok) {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir {
                left.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

/// Asserts that exactly those tokens are good whose clients are there, and that one which was refused
/// is so for good.
#[track_caller]
pub(super) fn assert_tokens(world: &World, seen: &Seen) {
    let tokens = world.known().tokens.clone();
    for (token, client) in tokens {
        let is_good = world.is_good(&token).expect("the worker is there");
        let is_there = seen.clients.contains_key(&client);
        assert_eq!(is_good, is_there, "the token of client {client}");
        if !is_good {
            let mut known = world.known();
            known.tokens.remove(&token);
            known.refused.push(token);
        }
    }
    let refused = world.known().refused.clone();
    for token in refused.iter().rev().take(REFUSED_MAX) {
        let is_good = world.is_good(token).expect("the worker is there");
        assert!(!is_good, "a token that was refused is good again");
    }
}

/// Asserts that no table, no directory and no process is any session's.
#[track_caller]
pub(super) fn assert_empty(world: &World) {
    let stored = Stored::open(world.home.layout());
    assert_eq!(stored.not_empty(), Vec::<String>::new());
    let is_tagged = |own: &String| own.starts_with("SESSIOND_TAG=");
    let mut left = world.home.processes();
    left.retain(|process| process.environment().iter().any(is_tagged));
    assert!(left.is_empty(), "{left:?}");
    let records = fs::read_dir(world.home.layout().process_dir());
    assert_eq!(
        records.map_or(0, Iterator::count),
        0,
        "records of processes"
    );
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Result<(), String> {
    match found == wanted {
        true => Ok(()),
        false => Err(format!("{what}: {found:?}, not {wanted:?}")),
    }
}
