//! What results have cost.
//!
//! The sums are the stores' own; here is how two are added, so that all of them add alike.

use serde::{Deserialize, Serialize};

/// Tokens and money spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Tokens read by the model.
    pub input_tokens: i64,
    /// Tokens written by the model.
    pub output_tokens: i64,
    /// United States dollars.
    pub cost_usd: f64,
}

impl Usage {
    /// It, with 0 for whatever cannot have been spent: what is negative, infinite or no number. A
    /// sum that takes one of these in is spoilt for good, and SQLite stores no NaN.
    #[must_use]
    pub fn cleaned(self) -> Self {
        let spent = self.cost_usd.is_finite() && self.cost_usd > 0.0;
        Self {
            input_tokens: self.input_tokens.max(0),
            output_tokens: self.output_tokens.max(0),
            cost_usd: if spent { self.cost_usd } else { 0.0 },
        }
    }

    /// Both together; each number stops at its largest instead of overflowing.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(more.input_tokens),
            output_tokens: self.output_tokens.saturating_add(more.output_tokens),
            cost_usd: (self.cost_usd + more.cost_usd).min(f64::MAX),
        }
    }

    /// Whether nothing was spent.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// What was spent on one day.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DayUsage {
    /// Days since the Unix epoch, UTC: [`Timestamp::day`](crate::ids::Timestamp::day).
    pub day: i64,
    /// What the results confirmed on it have cost, those of purged sessions too.
    pub usage: Usage,
}
