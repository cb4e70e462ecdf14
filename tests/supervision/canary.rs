//! A process that tells of every signal it gets: it must get none.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use super::bench::{Bench, Stray};
use crate::support::wait::ok_if;
use crate::support::{LIMIT, Process, wait_until};

/// Writes down the first signal and ends by it. SIGKILL and SIGSTOP cannot be written down, and are
/// seen by their effect.
const SCRIPT: &str = r#"
for signal in HUP INT QUIT USR1 USR2 ALRM TERM CONT; do
    trap "echo $signal > '$READY.signal'; exit 1" $signal
done
mkfifo "$READY.wait"
: > "$READY"
read line < "$READY.wait"
"#;

/// One of them; it is gone when this is dropped.
pub(super) struct Canary {
    stray: Stray,
    told: PathBuf,
}

impl Canary {
    pub(super) fn start(bench: &Bench, tag: Option<&str>) -> Self {
        let stray = bench.stray_running(tag, SCRIPT);
        let told = PathBuf::from(format!("{}.signal", stray.ready()));
        Self { stray, told }
    }

    pub(super) fn process(&self) -> Process {
        self.stray.process
    }

    #[track_caller]
    pub(super) fn assert_untouched(&self) {
        let told = fs::read_to_string(&self.told).ok();
        assert_eq!(told, None, "a signal reached it");
        let state = self.process().state();
        assert!(matches!(state, Some('S' | 'R' | 'D')), "it is {state:?}");
    }
}

#[test]
fn canary_tells_of_a_signal() {
    let bench = Bench::new();
    for signal in [Signal::SIGTERM, Signal::SIGCONT, Signal::SIGHUP] {
        let canary = Canary::start(&bench, None);
        canary.assert_untouched();
        canary.process().signal(signal);
        wait_until("the canary tells", LIMIT, || {
            let told = fs::read_to_string(&canary.told).unwrap_or_default();
            ok_if(
                format!("SIG{}\n", told.trim()) == format!("{signal}\n"),
                told,
            )
        });
    }
}
