//! A table: a line a row, printed when it is known, and at the end how many goals were reached.

use std::time::Duration;

use crate::busy::is_too_much;
use crate::stats::median;

/// What a figure has to be.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// The median of the repeats.
    AtLeast(f64),
    /// The median of the repeats.
    AtMost(f64),
    /// The highest of them.
    Never { over: f64 },
}

impl Goal {
    fn is_reached(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) | Self::Never { over: most } => figure <= most,
        }
    }

    /// Whether it is a count that must be zero, whatever the machine does meanwhile.
    fn is_zero(self) -> bool {
        matches!(self, Self::Never { over } if over == 0.0)
    }
}

/// One row: what was measured, what stands beside it, and the figure that is judged, once a repeat.
pub(crate) struct Row<'a> {
    pub(crate) what: &'a str,
    pub(crate) measured: String,
    pub(crate) beside: String,
    pub(crate) figures: Vec<f64>,
    /// `x` for a ratio, otherwise the figures' unit.
    pub(crate) unit: &'static str,
    pub(crate) goal: Goal,
}

/// What was reached so far.
#[derive(Default)]
pub(crate) struct Table {
    rows: usize,
    reached: usize,
    /// Counts that are not zero and have to be.
    not_zero: Vec<String>,
    /// The most that others took of the machine while a group was measured, in percent.
    others: u64,
}

impl Table {
    pub(crate) fn head(&self) {
        println!(
            "{:<46} {:>16} {:>28} {:>10} {:>15} {:>10}  reached",
            "what", "measured", "beside", "judged", "lowest..highest", "to reach"
        );
    }

    /// Prints a row.
    pub(crate) fn row(&mut self, row: Row<'_>) {
        let low = row.figures.iter().copied().fold(f64::INFINITY, f64::min);
        let high = row.figures.iter().copied().fold(0.0, f64::max);
        let (judged, sign, goal) = match row.goal {
            Goal::AtLeast(least) => (median(row.figures), ">=", least),
            Goal::AtMost(most) => (median(row.figures), "<=", most),
            Goal::Never { over } => (high, "<=", over),
        };
        let is_reached = row.goal.is_reached(judged);
        if row.goal.is_zero() && !is_reached {
            self.not_zero.push(format!("{}: {judged}", row.what));
        }
        self.rows += 1;
        self.reached += usize::from(is_reached);
        let (judged, range) = (number(judged), format!("{}..{}", number(low), number(high)));
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

    /// Prints the row of a count that has to be zero, whatever the machine does meanwhile.
    pub(crate) fn zero(&mut self, what: &str, count: usize) {
        self.row(Row {
            what,
            measured: count.to_string(),
            beside: String::new(),
            figures: vec![count as f64],
            unit: "",
            goal: Goal::Never { over: 0.0 },
        });
    }

    /// Something worth knowing that has no goal.
    pub(crate) fn note(&self, text: &str) {
        println!("  {text}");
    }

    /// Notes what others took of the machine while the rows before were measured.
    pub(crate) fn others(&mut self, percent: u64) {
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

    /// For tests, which judge nothing that depends on the machine.
    pub(crate) fn ensure_zeros(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.not_zero.is_empty(), "not zero: {:?}", self.not_zero);
        Ok(())
    }

    pub(crate) fn foot(&self) {
        if self.rows > 0 {
            println!("{} of {} goals reached", self.reached, self.rows);
        }
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
pub(crate) fn rate(rates: &[f64]) -> String {
    format!("{:.0} /s", median(rates.to_vec()))
}

/// A time in microseconds.
pub(crate) fn us(time: Duration) -> String {
    format!("{} us", time.as_micros())
}

/// A time in milliseconds.
pub(crate) fn ms(time: Duration) -> String {
    ms_of(time.as_secs_f64() * 1000.0)
}

/// The same of a number that is one.
pub(crate) fn ms_of(milliseconds: f64) -> String {
    format!("{milliseconds:.1} ms")
}

/// Each number over the one at its place.
pub(crate) fn ratios(these: &[f64], those: &[f64]) -> Vec<f64> {
    these.iter().zip(those).map(|(a, b)| a / b).collect()
}
