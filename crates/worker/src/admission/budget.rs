//! Whether a session may still spend.
//!
//! Pure: the spending is looked up by the caller, who also waits.

use std::fmt;

use serde::{Deserialize, Serialize};
use sessiond_queue::ids::Timestamp;
use sessiond_queue::types::Usage;

use crate::config;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// One of the configured budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// `generator.budget_session_usd`.
    SessionUsd,
    /// `generator.budget_session_tokens`.
    SessionTokens,
    /// `generator.budget_day_usd`.
    DayUsd,
    /// `generator.budget_day_tokens`.
    DayTokens,
}

/// A budget that is used up. Displays as a sentence that names the configured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct OverBudget {
    /// Which one.
    pub which: Budget,
    /// What was spent, in the budget's unit: dollars or tokens.
    pub spent: f64,
    /// What may be spent.
    pub limit: f64,
    /// When there is a new one: the next midnight UTC for a day's. A session's is never renewed;
    /// only a higher limit helps.
    pub until: Option<Timestamp>,
}

/// The budget that keeps a session from working, given what it has spent and what all have spent
/// on `now`'s day (UTC). One that never ends comes before one that ends by itself.
pub fn over(
    settings: &config::Generator,
    session: &Usage,
    day: &Usage,
    now: Timestamp,
) -> Option<OverBudget> {
    let tomorrow = Timestamp((now.0.div_euclid(DAY_MS) + 1).saturating_mul(DAY_MS));
    let budgets = [
        (
            Budget::SessionUsd,
            session.cost_usd,
            settings.budget_session_usd,
        ),
        (
            Budget::SessionTokens,
            tokens(session),
            settings.budget_session_tokens as f64,
        ),
        (Budget::DayUsd, day.cost_usd, settings.budget_day_usd),
        (
            Budget::DayTokens,
            tokens(day),
            settings.budget_day_tokens as f64,
        ),
    ];
    let (which, spent, limit) = budgets
        .into_iter()
        // A limit of 0 is none; what is spent to the last cent is used up.
        .find(|(_, spent, limit)| *limit > 0.0 && spent >= limit)?;
    let until = match which {
        Budget::SessionUsd | Budget::SessionTokens => None,
        Budget::DayUsd | Budget::DayTokens => Some(tomorrow),
    };
    Some(OverBudget {
        which,
        spent,
        limit,
        until,
    })
}

fn tokens(usage: &Usage) -> f64 {
    usage.input_tokens.saturating_add(usage.output_tokens) as f64
}

impl Budget {
    /// Its name in the configuration.
    pub fn setting(self) -> &'static str {
        match self {
            Self::SessionUsd => "generator.budget_session_usd",
            Self::SessionTokens => "generator.budget_session_tokens",
            Self::DayUsd => "generator.budget_day_usd",
            Self::DayTokens => "generator.budget_day_tokens",
        }
    }
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spent, limit, .. } = self;
        let setting = self.which.setting();
        match self.which {
            Budget::SessionUsd => {
                write!(
                    f,
                    "the session has cost {spent:.2} USD, and {setting} is {limit:.2}"
                )
            }
            Budget::SessionTokens => write!(
                f,
                "the session has used {spent:.0} tokens, and {setting} is {limit:.0}"
            ),
            Budget::DayUsd => write!(
                f,
                "all sessions together have cost {spent:.2} USD today (UTC), and {setting} is \
                 {limit:.2}"
            ),
            Budget::DayTokens => write!(
                f,
                "all sessions together have used {spent:.0} tokens today (UTC), and {setting} is \
                 {limit:.0}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// 2026-11-21 14:30:00 UTC.
    const NOW: Timestamp = Timestamp(1_795_271_400_000);
    const MIDNIGHT: Timestamp = Timestamp(1_795_305_600_000);

    fn usage(tokens: i64, cost_usd: f64) -> Usage {
        Usage {
            input_tokens: tokens - tokens / 3,
            output_tokens: tokens / 3,
            cost_usd,
        }
    }

    fn check(set: impl Fn(&mut config::Generator), want: Option<(Budget, &str)>) {
        let mut settings = Config::default().generator;
        set(&mut settings);
        let found = over(&settings, &usage(300, 1.5), &usage(5_000, 12.25), NOW);
        let found_words = found.as_ref().map(|found| (found.which, found.to_string()));
        let want = want.map(|(which, words)| (which, words.to_owned()));
        assert_eq!(found_words, want);
    }

    #[test]
    fn no_budget_is_ever_used_up_when_none_is_set() {
        check(|_| {}, None);
        check(|set| set.budget_day_usd = 12.26, None);
        check(|set| set.budget_session_tokens = 301, None);
    }

    #[test]
    fn budget_is_used_up_at_its_limit_and_names_itself() {
        check(
            |set| set.budget_session_usd = 1.5,
            Some((
                Budget::SessionUsd,
                "the session has cost 1.50 USD, and generator.budget_session_usd is 1.50",
            )),
        );
        check(
            |set| set.budget_session_tokens = 299,
            Some((
                Budget::SessionTokens,
                "the session has used 300 tokens, and generator.budget_session_tokens is 299",
            )),
        );
        check(
            |set| set.budget_day_usd = 10.0,
            Some((
                Budget::DayUsd,
                "all sessions together have cost 12.25 USD today (UTC), and \
                 generator.budget_day_usd is 10.00",
            )),
        );
        check(
            |set| set.budget_day_tokens = 5_000,
            Some((
                Budget::DayTokens,
                "all sessions together have used 5000 tokens today (UTC), and \
                 generator.budget_day_tokens is 5000",
            )),
        );
    }

    #[test]
    fn days_budget_ends_at_midnight_and_a_sessions_never() {
        let mut settings = Config::default().generator;
        settings.budget_day_usd = 1.0;
        let spent = usage(0, 1.0);
        for (now, until) in [
            (NOW, MIDNIGHT),
            (Timestamp(MIDNIGHT.0 - 1), MIDNIGHT),
            (MIDNIGHT, Timestamp(MIDNIGHT.0 + DAY_MS)),
        ] {
            let found = over(&settings, &Usage::default(), &spent, now).expect("used up");
            assert_eq!(found.until, Some(until));
        }
        settings.budget_session_usd = 1.0;
        let found = over(&settings, &spent, &spent, NOW).expect("used up");
        assert_eq!((found.which, found.until), (Budget::SessionUsd, None));
    }
}
