//! Who is left when trees that do not want to end are ended: by sessiond, and by the other ways.
//!
//! The trees, the ways and the looking are those of `tests/torture`, a program of its own. It runs
//! under a supervisor here, which ends whatever somebody leaves.

use std::collections::BTreeMap;

use anyhow::Context as _;
use rustix::process::geteuid;
use serde::Deserialize;
use sessiond_supervisor::{Command, Line, ProcessLimits};

use super::Sizes;
use super::stage::{SESSION, Stage, example};
use crate::table::Table;

/// As `torture` names them, ours first.
const MEANS: [&str; 6] = [
    OURS,
    "tokio",
    "killpg",
    "process-wrap",
    "process-wrap-session",
    "kill_tree",
];
const OURS: &str = "sessiond";

/// Nobody's user on most systems. Root may signal everybody, which would make it easy.
const ORDINARY: &str = "65534";

/// What is used of a line that `torture run --json` says of a case.
#[derive(Deserialize)]
struct Case {
    case: String,
    survivors: usize,
    bystanders: usize,
    problems: Vec<String>,
}

/// That ours leaves nobody and hits nobody else.
pub(super) async fn survivors(sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    for as_user in users() {
        let cases = torture(sizes, OURS, as_user).await?;
        let user = as_user.last().map_or("this user", |_| "ordinary user");
        let all = format!("{} cases x {}, {user}", cases.len(), sizes.rounds);
        let survivors = cases.iter().map(|case| case.survivors).sum();
        let bystanders = cases.iter().map(|case| case.bystanders).sum();
        table.zero(&format!("{all}: survivors"), survivors);
        table.zero(&format!("{all}: bystanders"), bystanders);
        for case in &cases {
            for problem in &case.problems {
                table.note(&format!("{}: {problem}", case.case));
            }
        }
    }
    Ok(())
}

/// The table of survivors, a column a way.
pub(super) async fn measure(sizes: &Sizes, table: &Table) -> anyhow::Result<()> {
    let as_user = users().last().copied().unwrap_or_default();
    let mut rows: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for means in MEANS {
        for case in torture(sizes, means, as_user).await? {
            rows.entry(case.case.clone()).or_default().push(case);
        }
    }
    // What only ours can play compares nothing.
    rows.retain(|_, row| row.len() == MEANS.len());
    table.note(&format!(
        "processes that were left in {} rounds of each case, by means:",
        sizes.rounds
    ));
    let line = |name: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells: String = cells.map(|cell| format!(" {cell:>20}")).collect();
        table.note(&format!("{name:<24}{cells}"));
    };
    line("case", &mut MEANS.map(str::to_owned).into_iter());
    for (name, row) in &rows {
        line(name, &mut row.iter().map(|case| case.survivors.to_string()));
    }
    let sum = |column: usize, count: fn(&Case) -> usize| {
        let cases = rows.values().map(|row| count(&row[column]));
        cases.sum::<usize>().to_string()
    };
    let columns = || 0..MEANS.len();
    let with_survivors = |case: &Case| usize::from(case.survivors > 0);
    let left = &mut columns().map(|column| sum(column, with_survivors));
    line(&format!("with survivors, of {}", rows.len()), left);
    let hit = &mut columns().map(|column| sum(column, |case| case.bystanders));
    line("bystanders hit", hit);
    Ok(())
}

/// As whom the trees are ended, as arguments.
fn users() -> &'static [&'static [&'static str]] {
    match geteuid().is_root() {
        true => &[&[], &["--as-user", ORDINARY]],
        false => &[&[]],
    }
}

/// Plays every case that this way can play.
async fn torture(sizes: &Sizes, means: &str, as_user: &[&str]) -> anyhow::Result<Vec<Case>> {
    let stage = Stage::new(sizes.grace)?;
    let rounds = sizes.rounds.to_string();
    let mut args = vec!["run", "--json", "--means", means, "--rounds", &rounds];
    if sizes.is_short {
        args.push("--short");
    }
    args.extend(as_user);
    let command = Command {
        program: example("torture")?.into(),
        args: args.iter().map(Into::into).collect(),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
        cwd: "/".into(),
        output_dir: None,
        line_max_bytes: 1 << 20,
        limits: ProcessLimits::default(),
        is_errand: false,
    };
    let tag = stage.supervisor.tag(SESSION);
    let mut child = stage.supervisor.spawn(command, tag).await?;
    let mut cases = Vec::new();
    while let Some(line) = child.stdout.next().await {
        if let Line::Bytes(line) = line {
            let case = serde_json::from_slice(&line);
            cases.push(case.with_context(|| String::from_utf8_lossy(&line).into_owned())?);
        }
    }
    // It fails when somebody was left, which is what is counted here. A supervisor that is asked
    // to end it has ended whoever that was, too.
    child.control.stop().await;
    let tail = child.control.stderr_tail();
    anyhow::ensure!(
        !cases.is_empty(),
        "torture played nothing by {means}: {tail}"
    );
    Ok(cases)
}
