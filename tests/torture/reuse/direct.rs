//! An identity whose pid was taken by another process: by its own word, through a sweep of a
//! record that has it, and through `fix`.

use sessiond_supervisor::{
    Fix, ProcessIdentity, Registry, SpawnRecord, Standing, SweepReport, Tag, host_name,
};

use super::placed::Placed;
use super::stage::{EARLIER, GENERATION, INSTALL, LIMIT, Stage, look_at};
use super::{BY_NUMBER, BY_TICKS, COLLISIONS, Counts, REUSES};

/// Reuses that one sweep and one `fix` are asked about together.
const BATCH: u64 = 16;

pub(super) fn run(stage: &mut Stage, rounds: u64, counts: &mut Counts) {
    let mut left = rounds;
    while left > 0 && counts.wrong.is_empty() {
        let size = left.min(BATCH);
        batch(stage, size, counts);
        left -= size;
    }
}

/// A process that was replaced.
struct Reused {
    /// Of the one before.
    identity: ProcessIdentity,
    is_within_one_tick: bool,
}

fn batch(stage: &mut Stage, size: u64, counts: &mut Counts) {
    let (mut reused, mut canaries) = (Vec::new(), Vec::new());
    for _ in 0..size {
        let (before, canary) = force(stage);
        counts.add(REUSES, 1);
        counts.add(COLLISIONS, u64::from(before.is_within_one_tick));
        match before.identity.check() {
            Standing::Gone => {}
            other => counts.wrong(format!("{:?} stands as {other:?}", before.identity)),
        }
        reused.push(before);
        canaries.push(canary);
    }
    put_records(stage, &reused, &[EARLIER]);
    let report = sweep(stage, counts);
    if report.cleared != size || !report.stopped.is_empty() {
        counts.wrong(format!("{size} stale records were swept as {report:?}"));
    }
    look_at(&canaries, "sweep", counts);
    if !counts.wrong.is_empty() {
        // Those that were hit may not live, and the rest wants the living.
        return;
    }

    put_foreign_records(stage, &canaries);
    let report = sweep(stage, counts);
    if report.doubtful.len() as u64 != size || !report.stopped.is_empty() {
        counts.wrong(format!("{size} foreign records were swept as {report:?}"));
    }
    look_at(&canaries, "sweep of another namespace's records", counts);
    fix(stage, counts);
    look_at(&canaries, "fix of another namespace's records", counts);
    clear(stage);

    put_records(stage, &reused, &[EARLIER, GENERATION]);
    fix(stage, counts);
    look_at(&canaries, "fix", counts);
    clear(stage);
    control(&reused, &canaries, counts);
}

fn sweep(stage: &Stage, counts: &mut Counts) -> SweepReport {
    counts.add("sweeps of records with such a pid", 1);
    let swept = stage.runtime.block_on(async {
        let sweep = stage.supervisor.sweep().await;
        tokio::time::timeout(LIMIT, sweep.finished()).await
    });
    swept.expect("the sweep ends")
}

fn fix(stage: &Stage, counts: &mut Counts) {
    counts.add("fixes of records with such a pid", 1);
    for fix in stage.runtime.block_on(stage.supervisor.fix(false)) {
        if matches!(fix, Fix::End { .. }) {
            counts.wrong(format!("there is nobody to end: {fix:?}"));
        }
    }
}

/// Replaces a process as fast as can be, so that most share the tick they were started in.
fn force(stage: &mut Stage) -> (Reused, Placed) {
    let victim = stage.place_anywhere();
    let pid = victim.pid;
    let identity = ProcessIdentity::of(pid).expect("it lives");
    drop(victim);
    let canary = Placed::on(pid).expect("it was just given up");
    let is_within_one_tick = canary.start_ticks() == Some(identity.start_ticks);
    let reused = Reused {
        identity,
        is_within_one_tick,
    };
    (reused, canary)
}

/// Records that name who had the pids before, of these generations by turns: as the shim alone, as
/// the child alone, and as both.
fn put_records(stage: &Stage, reused: &[Reused], generations: &[&str]) {
    for (number, reused) in reused.iter().enumerate() {
        let generation = generations[number % generations.len()];
        put(stage, number, generation, &reused.identity);
    }
}

/// Records that are true of those who have the pids now, but for their pid namespace: what a worker
/// in another container has left in a directory that both see.
fn put_foreign_records(stage: &Stage, canaries: &[Placed]) {
    for (number, canary) in canaries.iter().enumerate() {
        let mut identity = ProcessIdentity::of(canary.pid).expect("it lives");
        identity.pid_namespace = identity.pid_namespace.map(|inode| inode + 1);
        put(stage, number, EARLIER, &identity);
    }
}

fn put(stage: &Stage, number: usize, generation: &str, identity: &ProcessIdentity) {
    let registry = Registry::open(&stage.registry_dir).expect("the registry");
    let spawn = format!("spawn-{number}");
    let tag = Tag::new(INSTALL, generation, "session", &spawn).expect("a tag");
    let mut record = SpawnRecord::intent(tag, "sh".to_owned(), 0, host_name());
    if number % 3 != 1 {
        record = record.with_identity(identity.clone());
    }
    if !number.is_multiple_of(3) {
        record = record.with_leader(identity.clone());
    }
    registry.put(&record).expect("a record");
}

fn clear(stage: &Stage) {
    let registry = Registry::open(&stage.registry_dir).expect("the registry");
    for record in registry.list().expect("the registry").records {
        registry.remove(&record.tag).expect("a record to remove");
    }
}

/// What a supervisor does that believes the pid, or the pid with its start time.
fn control(reused: &[Reused], canaries: &[Placed], counts: &mut Counts) {
    let hit = |canary: &Placed| {
        Placed::kill_by_number(canary.pid, libc::SIGTERM);
        u64::from(canary.hit().is_some())
    };
    counts.add(BY_NUMBER, hit(&canaries[0]));
    let mut pairs = reused.iter().zip(canaries).skip(1);
    if let Some((_, canary)) = pairs.find(|(reused, _)| reused.is_within_one_tick) {
        counts.add(BY_TICKS, hit(canary));
    }
}
