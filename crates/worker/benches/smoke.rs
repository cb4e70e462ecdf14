//! The short form of `queue` as a test: `cargo test` runs this binary, and cargo-nextest asks it for
//! its list first. That all rows run is the test; their figures are not judged.

use crate::queue;

const NAME: &str = "queue_short";

/// Answers as test binaries do, to what the runners use: `--list`, `--ignored`, `--exact`, and words
/// one of which is to be in the name.
pub(crate) fn main(args: &[String]) -> anyhow::Result<()> {
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    if has("--list") {
        if !has("--ignored") {
            println!("{NAME}: test");
        }
        return Ok(());
    }
    let is_named = |word: &&String| NAME == word.as_str();
    let is_like = |word: &&String| NAME.contains(word.as_str());
    let words: Vec<_> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = words.is_empty()
        || words
            .iter()
            .any(if has("--exact") { is_named } else { is_like });
    if is_wanted && !has("--ignored") {
        queue::run_short()?;
        println!("test result: ok. 1 passed; 0 failed");
    }
    Ok(())
}
