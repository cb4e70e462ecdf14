//! From the start of a program to its `ready`: by the worker's own parts (record, shim, capture),
//! by the shim alone, and plainly; and what the shim holds of memory meanwhile.

use std::io::{self, BufRead, BufReader, IoSlice, PipeReader, PipeWriter, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sessiond::clock::Clock;
use sessiond::config::Config;
use sessiond::generator::{CloseReason, GeneratorFactory, ProgramFactory, ProgramSettings};
use sessiond_queue::SqliteStore;
use sessiond_queue::store::Store;
use sessiond_queue::types::{OpenSession, Session};
use sessiond_supervisor::control::HELLO;
use sessiond_supervisor::{Settings, Supervisor};

use crate::proc::kib;
use crate::stats::{Times, median, ratio};

const SHIM: &str = env!("CARGO_BIN_EXE_sessiond-shim");
const ROUNDS: usize = 300;
const OPEN: &str = r#"{"type":"open","protocol":1,"recent_results":[]}"#;

pub(crate) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(measure())
}

async fn measure() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let stage = Stage::set(dir.path()).await?;
    let (mut plain, mut shim, mut whole) = (Times::default(), Times::default(), Times::default());
    let (mut resident, mut proportional) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain.push(tokio::task::block_in_place(plainly)?);
        shim.push(tokio::task::block_in_place(by_the_shim)?);
        let began = Instant::now();
        let generator = stage.factory.open(&stage.session, None).await?;
        whole.push(began.elapsed());
        let spawn = &stage.supervisor.list()[0];
        resident.push(kib(spawn.shim_pid, "status", "VmRSS:")?);
        proportional.push(kib(spawn.shim_pid, "smaps_rollup", "Pss:")?);
        generator.close(CloseReason::Idle).await;
    }
    stage.store.close().await;
    whole.print("start to ready, by the worker's parts");
    shim.print("start to first line, by the shim alone");
    plain.print("start to first line, plain posix_spawn");
    let whole_ratio = ratio(whole.median(), plain.median());
    let added = shim.median().saturating_sub(plain.median());
    println!("worker's parts / plain = {whole_ratio:.2}");
    println!(
        "the shim adds {:.2} ms (to reach: 2.00) and holds {:.2} MiB resident (to reach: 2.50), \
         {:.2} MiB proportional",
        added.as_secs_f64() * 1000.0,
        median(resident) / 1024.0,
        median(proportional) / 1024.0
    );
    Ok(())
}

/// The worker's parts that start programs, and a session that has one.
struct Stage {
    store: Arc<dyn Store>,
    supervisor: Supervisor,
    factory: ProgramFactory,
    session: Session,
}

impl Stage {
    async fn set(dir: &Path) -> anyhow::Result<Self> {
        let config = Config::default();
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&dir.join("queue.db"), config.limits()).await?);
        let open = OpenSession {
            agent: "generic".to_owned(),
            key: "bench".to_owned(),
            cwd: None,
            project: None,
            metadata: serde_json::Map::new(),
        };
        let session = store.open_session(open, Clock.now()).await?;
        let supervisor = Supervisor::open(Settings {
            install: "bench".to_owned(),
            generation: "1".to_owned(),
            registry_dir: dir.join("processes"),
            shim: SHIM.into(),
            grace: Duration::from_secs(5),
            output_file_max_bytes: config.supervisor.output_file_max_bytes,
            children_max: config.supervisor.children_max,
            spawns_per_s_max: u32::MAX,
            on_step: None,
            observer: None,
        })?;
        let mut generator = config.generator.clone();
        generator.command = super::command()?;
        let settings = ProgramSettings {
            generator,
            stop_wait: Duration::from_secs(30),
            home: dir.to_owned(),
            own_env: Vec::new(),
        };
        let factory = ProgramFactory::new(supervisor.clone(), Arc::clone(&store), settings);
        Ok(Self {
            store,
            supervisor,
            factory,
            session,
        })
    }
}

fn plainly() -> anyhow::Result<Duration> {
    let (mut pipes, stdin) = Pipes::new()?;
    let began = Instant::now();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(super::TWIN).stdin(stdin);
    let child = pipes.start(&mut command)?;
    pipes.greet(began, child)
}

fn by_the_shim() -> anyhow::Result<Duration> {
    let (mut pipes, stdin) = Pipes::new()?;
    let began = Instant::now();
    let (control, theirs) = UnixStream::pair()?;
    hand_over(&control, &stdin.into())?;
    let mut command = Command::new(SHIM);
    command
        .args(["--grace-ms", "5000", "--"])
        .arg(std::env::current_exe()?)
        .arg(super::TWIN)
        .stdin(OwnedFd::from(theirs));
    let child = pipes.start(&mut command)?;
    let took = pipes.greet(began, child);
    // The lifeline ends here; by then the tree is gone.
    drop(control);
    took
}

/// Says hello as the supervisor does, with the program's standard input.
fn hand_over(control: &UnixStream, stdin: &OwnedFd) -> anyhow::Result<()> {
    let descriptors = [stdin.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    anyhow::ensure!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let byte = [HELLO];
    sendmsg(
        control,
        &[IoSlice::new(&byte)],
        &mut ancillary,
        SendFlags::empty(),
    )?;
    Ok(())
}

/// This side's ends of a program's standard input and output.
struct Pipes {
    stdin: PipeWriter,
    stdout: BufReader<PipeReader>,
    stdout_write: Option<PipeWriter>,
}

impl Pipes {
    fn new() -> io::Result<(Self, PipeReader)> {
        let (stdin_read, stdin) = io::pipe()?;
        let (stdout, stdout_write) = io::pipe()?;
        let pipes = Self {
            stdin,
            stdout: BufReader::new(stdout),
            stdout_write: Some(stdout_write),
        };
        Ok((pipes, stdin_read))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the plain start is what is measured"
    )]
    fn start(&mut self, command: &mut Command) -> anyhow::Result<Child> {
        let stdout = self.stdout_write.take();
        let stdout = stdout.ok_or_else(|| anyhow::anyhow!("its output was given away"))?;
        Ok(command.env_clear().stdout(stdout).spawn()?)
    }

    /// Waits for the program's first line and, untimed, for its end.
    fn greet(mut self, began: Instant, mut child: Child) -> anyhow::Result<Duration> {
        writeln!(self.stdin, "{OPEN}")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let took = began.elapsed();
        anyhow::ensure!(line.contains("ready"), "it said {line:?}");
        drop(self.stdin);
        anyhow::ensure!(child.wait()?.success(), "it failed");
        Ok(took)
    }
}
