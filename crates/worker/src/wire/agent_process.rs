//! Which process an event's agent is, as a hook tells it.
//!
//! ```text
//! pid=4242 start=987654 ns=4026531836 boot=9f6f0c3e-...
//! ```
//! One line, a value a name; names that are not known are skipped. The boot is told by events that
//! may be read in another one.

use std::fmt;
use std::str::FromStr;

/// Bytes of the line at most.
const LINE_MAX_BYTES: usize = 256;

/// A process, told apart from a later one that got its pid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentProcess {
    /// Its pid, never 0 or 1.
    pub pid: u32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
    /// Where the pid means something: the inode of the hook's `/proc/self/ns/pid`.
    pub pid_namespace: u64,
    /// The boot in which the rest means something; `None`: the one in which it is read.
    pub boot_id: Option<String>,
}

/// The line is not of the known form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for AgentProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            start_ticks,
            pid_namespace,
            boot_id,
        } = self;
        write!(f, "pid={pid} start={start_ticks} ns={pid_namespace}")?;
        match boot_id {
            Some(boot_id) => write!(f, " boot={boot_id}"),
            None => Ok(()),
        }
    }
}

impl FromStr for AgentProcess {
    type Err = Malformed;

    fn from_str(line: &str) -> Result<Self, Malformed> {
        if line.len() > LINE_MAX_BYTES {
            return Err(Malformed);
        }
        let (mut pid, mut start, mut namespace, mut boot) = (None, None, None, None);
        for part in line.split(' ') {
            let (name, value) = part.split_once('=').ok_or(Malformed)?;
            let taken = match name {
                "pid" => pid.replace(number(value)?).is_some(),
                "start" => start.replace(number(value)?).is_some(),
                "ns" => namespace.replace(number(value)?).is_some(),
                "boot" => boot.replace(boot_id(value)?).is_some(),
                _ => false,
            };
            if taken {
                return Err(Malformed);
            }
        }
        let pid = pid.filter(|pid| (2..=i32::MAX.cast_unsigned().into()).contains(pid));
        Ok(Self {
            pid: pid
                .and_then(|pid| u32::try_from(pid).ok())
                .ok_or(Malformed)?,
            start_ticks: start.ok_or(Malformed)?,
            pid_namespace: namespace.ok_or(Malformed)?,
            boot_id: boot,
        })
    }
}

/// Digits only: `parse` alone would take a sign.
fn number(text: &str) -> Result<u64, Malformed> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain
        .then(|| text.parse().ok())
        .flatten()
        .ok_or(Malformed)
}

/// A UUID, as the kernel writes it.
fn boot_id(text: &str) -> Result<String, Malformed> {
    let is_uuid = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    is_uuid.then(|| text.to_owned()).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: &str = "9f6f0c3e-0000-4000-8000-00000000000a";

    #[test]
    fn process_survives_its_line() {
        for boot_id in [None, Some(BOOT.to_owned())] {
            let process = AgentProcess {
                pid: 4242,
                start_ticks: u64::MAX,
                pid_namespace: 4_026_531_836,
                boot_id,
            };
            assert_eq!(process.to_string().parse(), Ok(process));
        }
    }

    #[test]
    fn name_of_tomorrow_is_skipped() {
        let known: AgentProcess = "pid=2 start=0 ns=1".parse().expect("a process");
        assert_eq!("pid=2 shape=round start=0 ns=1".parse(), Ok(known));
    }

    #[test]
    fn line_of_another_form_is_refused() {
        let long = format!("pid=2 start=0 ns=1 x={}", "x".repeat(LINE_MAX_BYTES));
        let cut = format!("pid=2 start=0 ns=1 boot={}", &BOOT[1..]);
        for line in [
            "",
            "pid=2",
            "pid=2 start=0",
            "pid=0 start=0 ns=1",
            "pid=1 start=0 ns=1",
            "pid=2147483648 start=0 ns=1",
            "pid=4294967298 start=0 ns=1",
            "pid=-2 start=0 ns=1",
            "pid=+2 start=0 ns=1",
            "pid= start=0 ns=1",
            "pid=2 start=0 ns=18446744073709551616",
            "pid=2 pid=2 start=0 ns=1",
            "pid=2  start=0 ns=1",
            "pid=2 start=0 ns=1\n",
            "pid=2 start=0 ns=1 boot=",
            &cut,
            &long,
        ] {
            assert_eq!(line.parse::<AgentProcess>(), Err(Malformed), "{line:?}");
        }
    }
}
