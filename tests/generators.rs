//! Programs as generators.

mod disorder;
mod stage;
mod talk;
mod driver;
mod examples;
mod worked;
