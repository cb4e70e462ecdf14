//! Behaviour of usage by day: what is added, what is not, and what is left of a purge.

use futures::future::join_all;

use super::bench::{Bench, NOW, confirm_of, event};
use crate::ids::{SessionId, Timestamp};
use crate::types::{CloseDepth, Confirm, DayUsage, Usage};

const DAY_MS: i64 = 86_400_000;

const SPENT: Usage = Usage {
    input_tokens: 10,
    output_tokens: 2,
    cost_usd: 0.25,
};

/// Stores an event of a session and confirms it at a time.
async fn spend(q: &Bench, key: &str, usage: Usage, now: Timestamp) -> SessionId {
    let claim = q.claim(q.put(event(key)).await.session).await;
    let confirm = Confirm {
        usage,
        ..confirm_of(&claim)
    };
    let confirmed = q.store.confirm(confirm, now).await;
    confirmed.expect("the claim is confirmed");
    claim.message.session
}

async fn days(q: &Bench, limit: u32) -> Vec<DayUsage> {
    let days = q.store.usage_days(limit).await;
    days.expect("the days are listed")
}

async fn of_day(q: &Bench, day: i64) -> Usage {
    let usage = q.store.usage_of_day(day).await;
    usage.expect("the day is read")
}

/// The day is that of the confirm, and it ends with its last millisecond.
pub async fn usage_is_added_up_by_day(q: &Bench) {
    for (key, now) in [
        ("a", 3 * DAY_MS),
        ("b", 4 * DAY_MS - 1),
        ("a", 4 * DAY_MS),
        ("a", -1),
    ] {
        spend(q, key, SPENT, Timestamp(now)).await;
    }
    let twice = Usage {
        input_tokens: 20,
        output_tokens: 4,
        cost_usd: 0.5,
    };
    assert_eq!(of_day(q, 3).await, twice);
    assert_eq!(of_day(q, 4).await, SPENT);
    assert_eq!(of_day(q, -1).await, SPENT);
    assert_eq!(of_day(q, 5).await, Usage::default());
    let listed = [(4, SPENT), (3, twice), (-1, SPENT)];
    let listed = listed.map(|(day, usage)| DayUsage { day, usage });
    assert_eq!(days(q, 0).await, listed);
    assert_eq!(days(q, 2).await, listed[..2]);
}

/// The same in one transaction as in several.
pub async fn usage_confirmed_together_is_added_up(q: &Bench) {
    let mut claims = Vec::new();
    for key in ["a", "b", "c", "d", "e"] {
        claims.push(q.claim(q.put(event(key)).await.session).await);
    }
    let confirms = claims.iter().map(|claim| {
        let confirm = Confirm {
            usage: SPENT,
            ..confirm_of(claim)
        };
        q.store.confirm(confirm, NOW)
    });
    for confirmed in join_all(confirms).await {
        confirmed.expect("the claim is confirmed");
    }
    let spent = of_day(q, NOW.day()).await;
    assert_eq!((spent.input_tokens, spent.cost_usd), (50, 1.25));
}

/// The digest spends nothing, and a lost confirm stores nothing.
pub async fn days_on_which_nothing_was_spent_are_not_there(q: &Bench) {
    let session = spend(q, "a", Usage::default(), NOW).await;
    q.put(event("a")).await;
    let mut claim = q.claim(session).await;
    claim.fence.claim_seq = claim.fence.claim_seq.next();
    let lost = Confirm {
        usage: SPENT,
        ..confirm_of(&claim)
    };
    assert!(q.store.confirm(lost, NOW).await.is_err());
    assert_eq!(days(q, 0).await, []);
}

/// What cannot have been spent counts as nothing; the rest of it counts.
pub async fn impossible_usage_counts_as_nothing(q: &Bench) {
    for cost_usd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -0.0] {
        let usage = Usage {
            input_tokens: -1,
            output_tokens: i64::MIN,
            cost_usd,
        };
        let session = spend(q, "a", usage, NOW).await;
        assert_eq!(q.session(session).await.usage, Usage::default());
        assert_eq!(days(q, 0).await, []);
    }
    let usage = Usage {
        cost_usd: f64::NAN,
        ..SPENT
    };
    let session = spend(q, "a", usage, NOW).await;
    let wanted = Usage {
        cost_usd: 0.0,
        ..SPENT
    };
    assert_eq!(q.session(session).await.usage, wanted);
    assert_eq!(of_day(q, NOW.day()).await, wanted);
}

/// A generator that reports nonsense spoils its own sums and keeps nobody from confirming.
pub async fn sums_of_usage_stop_at_the_largest(q: &Bench) {
    let largest = Usage {
        input_tokens: i64::MAX,
        output_tokens: i64::MAX,
        cost_usd: f64::MAX,
    };
    for _ in 0..3 {
        let session = spend(q, "a", largest, NOW).await;
        assert_eq!(q.session(session).await.usage, largest);
        assert_eq!(of_day(q, NOW.day()).await, largest);
    }
}

/// Money that was spent stays spent.
pub async fn purge_keeps_the_days(q: &Bench) {
    let session = spend(q, "a", SPENT, NOW).await;
    q.mark(session, CloseDepth::Purge).await;
    q.purge(session).await;
    assert_eq!(q.finish_close(session).await.life, None);
    assert_eq!(of_day(q, NOW.day()).await, SPENT);
}
