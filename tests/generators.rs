//! Programs as generators.

mod disorder;
mod stage;
mod talk;
