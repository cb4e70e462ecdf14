//! `torture run`: each case in turn, or all of them again and again for some time.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use uuid::Uuid;

use crate::EXIT_OBSTACLE;
use crate::cases::{self, Case};
use crate::check;
use crate::options::Run;
use crate::random::{mixed, shuffle};
use crate::report::CaseReport;
use crate::runner::Runner;
use crate::user;

/// Batches in which every case has had all its rounds.
const BATCHES: u64 = 20;
/// How much more memory this process may hold after a batch than it did after the first one. What
/// the allocator keeps for later differs by some MiB; a KiB a round would be 20 MiB.
const GROWTH_MAX_BYTES: u64 = 12 << 20;

/// Plays what was asked for.
///
/// # Errors
/// Something that is needed is missing. What is found wrong with the means is no error, and in the exit code.
pub(crate) fn main(options: &Run) -> anyhow::Result<ExitCode> {
    if let Some(uid) = options.as_user {
        return user::run_as(uid, "run", &options.shared_args(), &options.programs);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Threads that are kept for later would look like threads that were left.
        .thread_keep_alive(Duration::from_millis(10))
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(async {
        let seed = options
            .seed
            .unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
        let show = Show { options, seed };
        let mut runner = Runner::new(options, seed).await?;
        let mut cases = Vec::new();
        for case in cases::named(&options.cases)? {
            match runner.obstacle(case) {
                None => cases.push(case),
                Some(obstacle) if options.cases.is_empty() => show.left_out(case, obstacle),
                Some(obstacle) => {
                    eprintln!("{} cannot be played: {obstacle}", case.name);
                    return Ok(ExitCode::from(EXIT_OBSTACLE));
                }
            }
        }
        show.heading();
        let is_clean = match options.minutes {
            Some(minutes) => soak(&mut runner, cases, minutes, &show).await?,
            None => each(&mut runner, &cases, &show).await?,
        };
        Ok(ExitCode::from(u8::from(!is_clean)))
    })
}

/// Plays each case; whether nothing was wrong with any.
async fn each(runner: &mut Runner, cases: &[&Case], show: &Show<'_>) -> anyhow::Result<bool> {
    let mut is_clean = true;
    for case in cases {
        let rounds = show.options.rounds;
        let rounds = rounds.unwrap_or(case.cost.rounds(show.options.short));
        let report = runner.play(case, rounds).await?;
        is_clean &= report.is_clean();
        show.report(&report)?;
    }
    Ok(is_clean)
}

/// Plays all cases in batches, each in another order, until the time is over and every case has had
/// its rounds, or something is wrong. Whether nothing was.
async fn soak(
    runner: &mut Runner,
    mut cases: Vec<&'static Case>,
    minutes: u64,
    show: &Show<'_>,
) -> anyhow::Result<bool> {
    let began_at = Instant::now();
    let mut reports: Vec<CaseReport> = Vec::new();
    let mut first_bytes = None;
    let mut is_clean = true;
    for batch in 0.. {
        if batch >= BATCHES && began_at.elapsed() >= Duration::from_secs(minutes * 60) {
            break;
        }
        shuffle(&mut cases, mixed(show.seed ^ batch));
        for case in &cases {
            let until = |batch: u64| case.cost.rounds(false) * batch / BATCHES;
            let rounds = until(batch + 1) - until(batch);
            let report = runner.play(case, rounds).await?;
            if !report.is_clean() {
                show.report(&report)?;
                show.replay(&report);
                is_clean = false;
            }
            match reports.iter_mut().find(|known| known.case == report.case) {
                Some(known) => known.add(report),
                None => reports.push(report),
            }
            if !is_clean {
                break;
            }
        }
        let (bytes, _peak) = check::memory_bytes()?;
        let first_bytes = *first_bytes.get_or_insert(bytes);
        show.batch(batch + 1, bytes, began_at.elapsed());
        if bytes > first_bytes + GROWTH_MAX_BYTES {
            println!("it holds {bytes} bytes, and held {first_bytes} after the first batch");
            is_clean = false;
        }
        if !is_clean {
            break;
        }
    }
    reports.sort_by(|a, b| a.case.cmp(&b.case));
    for report in &reports {
        show.report(report)?;
    }
    show.counted(&reports);
    Ok(is_clean)
}

/// What is printed, for people or for programs.
struct Show<'a> {
    options: &'a Run,
    seed: u64,
}

impl Show<'_> {
    fn heading(&self) {
        if !self.options.json {
            println!(
                "means {}, uid {}, seed {}, grace {} ms",
                self.options.means,
                rustix::process::getuid().as_raw(),
                self.seed,
                self.options.grace_ms
            );
            println!("{}", CaseReport::heading());
        }
    }

    fn left_out(&self, case: &Case, obstacle: &str) {
        if !self.options.json {
            println!("{} is left out: {obstacle}", case.name);
        }
    }

    fn report(&self, report: &CaseReport) -> anyhow::Result<()> {
        match self.options.json {
            true => println!("{}", serde_json::to_string(report)?),
            false => println!("{}", report.row()),
        }
        Ok(())
    }

    fn batch(&self, number: u64, bytes: u64, elapsed: Duration) {
        if !self.options.json {
            let (mib, seconds) = (bytes >> 20, elapsed.as_secs());
            println!("batch {number}: {seconds} s, {mib} MiB");
        }
    }

    /// What `scripts/soak` adds up.
    fn counted(&self, reports: &[CaseReport]) {
        if self.options.json {
            return;
        }
        let sum = |count: fn(&CaseReport) -> u64| reports.iter().map(count).sum::<u64>();
        println!("counted {} torture rounds", sum(|report| report.rounds));
        println!("counted {} survivors", sum(|report| report.survivors));
        println!("counted {} bystanders hit", sum(|report| report.bystanders));
    }

    fn replay(&self, report: &CaseReport) {
        let Run {
            means, grace_ms, ..
        } = self.options;
        println!(
            "to replay it: torture run {} --means {means} --seed {} --grace-ms {grace_ms} --rounds {}",
            report.case, self.seed, report.rounds
        );
    }
}
