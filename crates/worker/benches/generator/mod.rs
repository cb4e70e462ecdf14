//! `generator`: what a program costs as a generator: its start, its messages, its shim, its end.
//!
//! The program is `scripts/generators/echo.rs`, compiled into this very binary.

mod delete;
mod rate;
mod start;
#[path = "../../../../scripts/generators/echo.rs"]
pub(crate) mod twin;

/// The argument that turns this binary into the program.
pub(crate) const TWIN: &str = "echo-generator";

/// Measures all of it, or one part: `start`, `rate`, `delete`.
pub(crate) fn run(part: Option<&str>) -> anyhow::Result<()> {
    match part {
        Some("start") => start::run(),
        Some("rate") => rate::run(),
        Some("delete") => delete::run(),
        Some(other) => anyhow::bail!("no part named {other}: start, rate or delete"),
        None => {
            start::run()?;
            rate::run()?;
            delete::run()
        }
    }
}

/// The program's command line, as in the configuration.
pub(crate) fn command() -> anyhow::Result<String> {
    let own = std::env::current_exe()?;
    Ok(format!("'{}' {TWIN}", own.display()))
}
