//! Programs as generators.

mod disorder;
mod driver;
mod examples;
mod stage;
mod talk;
mod worked;
