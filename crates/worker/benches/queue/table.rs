//! The table: a line a row, printed when it is known, and at the end how many goals were reached.

use std::time::Duration;

use super::busy::is_too_much;
use crate::stats::median;

/// What a figure has to be.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_reached(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
        }
    }
}

/// One row: what was measured, what stands beside it, and the figure that is judged, once a repeat.
pub(super) struct Row<'a> {
    pub(super) what: &'a str,
    pub(super) measured: String,
    pub(super) beside: String,
    pub(super) figures: Vec<f64>,
    /// `x` for a ratio, otherwise the figures' unit.
    pub(super) unit: &'static str,
    pub(super) goal: Goal,
}

/// What was reached so far.
#[derive(Default)]
pub(super) struct Table {
    rows: usize,
    reached: usize,
    /// The most that others took of the machine while a group was measured, in percent.
    others: u64,
}

impl Table {
    pub(super) fn head(&self) {
        println!(
            "{:<46} {:>16} {:>28} {:>10} {:>15} {:>10}  reached",
            "what", "measured", "beside", "judged", "lowest..highest", "to reach"
        );
    }

    /// Prints a row. What is judged is the median of the repeats.
    pub(super) fn row(&mut self, row: Row<'_>) {
        let low = row.figures.iter().copied().fold(f64::INFINITY, f64::min);
        let high = row.figures.iter().copied().fold(0.0, f64::max);
        let middle = median(row.figures);
        let (sign, goal) = match row.goal {
            Goal::AtLeast(least) => (">=", least),
            Goal::AtMost(most) => ("<=", most),
        };
        let is_reached = row.goal.is_reached(middle);
        self.rows += 1;
        self.reached += usize::from(is_reached);
        let (judged, range) = (number(middle), format!("{}..{}", number(low), number(high)));
        let (judged, goal) = (
            format!("{judged} {}", row.unit),
            format!("{sign} {}", number(goal)),
        );
        println!(
            "{:<46} {:>16} {:>28} {judged:>10} {range:>15} {goal:>10}  {}",
            row.what,
            row.measured,
            row.beside,
            if is_reached { "yes" } else { "NO" }
        );
    }

    /// Something worth knowing that has no goal.
    pub(super) fn note(&self, text: &str) {
        println!("  {text}");
    }

    /// Notes what others took of the machine while the rows before were measured.
    pub(super) fn others(&mut self, percent: u64) {
        self.others = self.others.max(percent);
        let verdict = if is_too_much(percent) {
            ": too much, the figures above are NOT TO BE JUDGED BY"
        } else {
            ""
        };
        self.note(&format!(
            "(others took {percent} % of the processors{verdict})"
        ));
    }

    pub(super) fn foot(&self) {
        println!("{} of {} goals reached", self.reached, self.rows);
        if is_too_much(self.others) {
            println!("The machine was busy: measure again what is marked so.");
        }
    }
}

fn number(number: f64) -> String {
    if number < 100.0 {
        format!("{number:.2}")
    } else {
        format!("{number:.0}")
    }
}

/// Events a second.
pub(super) fn rate(rates: &[f64]) -> String {
    format!("{:.0} /s", median(rates.to_vec()))
}

/// A time in microseconds.
pub(super) fn us(time: Duration) -> String {
    format!("{} us", time.as_micros())
}

/// Each number over the one at its place.
pub(super) fn ratios(these: &[f64], those: &[f64]) -> Vec<f64> {
    these.iter().zip(those).map(|(a, b)| a / b).collect()
}
