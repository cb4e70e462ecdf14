//! This very binary as another process on the same store: one that is killed, and one whose memory
//! is measured. Each writes one line when it is where it is to be.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child as Process, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sessiond::clock::Clock;
use sessiond_queue::store::Store as _;
use sessiond_queue::types::SessionRef;
use tokio::task::JoinSet;

use super::backlog::{self, Home, Opened};
use super::load;
use super::runtime;

/// The argument that turns this binary into the child.
pub(crate) const CHILD: &str = "queue-child";

/// What a child does.
#[derive(Clone, Copy)]
pub(super) enum Role {
    /// Enqueues, claims and confirms until it is killed.
    Busy,
    /// Serves a few claims and then waits for the end of its input.
    Resting,
}

/// Claims and calls at once, in both roles.
const CALLERS: usize = 16;

/// How long a busy child works before it says so.
const BUSY: Duration = Duration::from_millis(500);

/// Claims that a resting child has served.
const SERVED: usize = 100;

/// A child process; killed when dropped.
pub(super) struct Child(Process);

impl Child {
    /// Starts one and waits for its line.
    #[expect(
        clippy::disallowed_methods,
        reason = "a measurement starts its own child"
    )]
    pub(super) fn start(role: Role, home: &Home) -> anyhow::Result<Self> {
        let role = match role {
            Role::Busy => "busy",
            Role::Resting => "resting",
        };
        let process = Command::new(std::env::current_exe()?)
            .args([CHILD, role])
            .arg(home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut child = Self(process);
        let output = child.0.stdout.take();
        let output = output.ok_or_else(|| anyhow::anyhow!("the child has no output"))?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        anyhow::ensure!(line == "ready\n", "the child said {line:?}");
        Ok(child)
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Lets it close the store and end.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        anyhow::ensure!(status.success(), "the child ended with {status}");
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The child's side.
pub(crate) fn main(mut args: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let (Some(role), Some(home)) = (args.next(), args.next()) else {
        anyhow::bail!("what to do, and on which home");
    };
    let home = Home::at(Path::new(&home));
    runtime()?.block_on(async {
        let opened = backlog::open(&home).await?;
        match role.as_str() {
            "busy" => busy(opened).await,
            "resting" => rest(opened).await,
            other => anyhow::bail!("no role named {other}"),
        }
    })
}

async fn busy(opened: Opened) -> anyhow::Result<()> {
    let opened = Arc::new(opened);
    let mut tasks = JoinSet::new();
    for caller in 0..CALLERS {
        tasks.spawn(work(Arc::clone(&opened), caller));
    }
    let until = tokio::time::Instant::now() + BUSY;
    match tokio::time::timeout_at(until, tasks.join_next()).await {
        Ok(Some(ended)) => ended?,
        _ => {
            say_ready()?;
            tasks.join_next().await.unwrap_or(Ok(Ok(())))?
        }
    }
}

/// Enqueues, claims and confirms in the sessions of one caller, for ever; with one session alone
/// the first caller is the one to claim.
async fn work(opened: Arc<Opened>, caller: usize) -> anyhow::Result<()> {
    let Opened {
        store,
        generation,
        sessions,
    } = &*opened;
    let payload = load::payload();
    for number in (caller..).step_by(CALLERS) {
        let session = sessions[number % sessions.len()];
        let event = load::event(SessionRef::Id(session), &payload);
        store.enqueue(event, Clock.now()).await?;
        if sessions.len() >= CALLERS || caller == 0 {
            let claim = load::claim(store, session, *generation).await?;
            store.confirm(load::confirmed(&claim), Clock.now()).await?;
        }
    }
    Ok(())
}

async fn rest(opened: Opened) -> anyhow::Result<()> {
    let Opened {
        store,
        generation,
        sessions,
    } = opened;
    for session in sessions.iter().cycle().take(SERVED) {
        let claim = load::claim(&store, *session, generation).await?;
        store.release(load::given_back(&claim), Clock.now()).await?;
    }
    drop(sessions);
    say_ready()?;
    // Ends with the input, which the parent holds.
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
        .await??;
    store.close().await;
    Ok(())
}

fn say_ready() -> anyhow::Result<()> {
    let mut output = std::io::stdout();
    writeln!(output, "ready")?;
    output.flush()?;
    Ok(())
}
