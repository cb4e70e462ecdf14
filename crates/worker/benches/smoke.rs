//! The short forms of the tables as tests: `cargo test` runs this binary, and cargo-nextest asks it
//! for its list first. That all rows run is the test, and that counts are zero which have to be;
//! times are not judged.

use crate::queue;
#[cfg(target_os = "linux")]
use crate::supervisor;

type Test = (&'static str, fn() -> anyhow::Result<()>);

const TESTS: &[Test] = &[
    ("queue_short", queue::run_short),
    #[cfg(target_os = "linux")]
    ("supervisor_short", supervisor::run_short),
];

/// Answers as test binaries do, to what the runners use: `--list`, `--ignored`, `--exact`, and words
/// one of which is to be in the name.
pub(crate) fn main(args: &[String]) -> anyhow::Result<()> {
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    if has("--ignored") {
        return Ok(());
    }
    if has("--list") {
        for (name, _) in TESTS {
            println!("{name}: test");
        }
        return Ok(());
    }
    let words: Vec<_> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| {
        let is_meant = |word: &&String| match has("--exact") {
            true => name == word.as_str(),
            false => name.contains(word.as_str()),
        };
        words.is_empty() || words.iter().any(is_meant)
    };
    let mut passed = 0;
    for (name, run) in TESTS.iter().filter(|(name, _)| is_wanted(name)) {
        println!("test {name}");
        run()?;
        passed += 1;
    }
    println!("test result: ok. {passed} passed; 0 failed");
    Ok(())
}
