//! Seeds that replay a random test, and numbers from the environment.

use uuid::Uuid;

/// The seed to be replayed, or a fresh one; printed.
pub(crate) fn seed() -> u64 {
    let seed = number_from("SESSIOND_SEED").unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
    println!("SESSIOND_SEED={seed}");
    seed
}

pub(crate) fn number_from(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("the variable is a number"))
}
