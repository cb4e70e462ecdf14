//! How long a shim is waited for, and when it is asked whether it is still there.
//!
//! A shim answers each order at once. One that does not is frozen or stuck, and waiting for it until
//! it should have given up on its tree would be seconds in which the tree lives on. So it is asked
//! once the end was ordered, and again when the grace is over. What is done with the answers is the
//! actor's business.

use std::time::{Duration, Instant};

/// How long an order may stay without an answer. A shim reads its orders between two looks at its
/// tree, which take some tens of milliseconds at a thousand processes.
const ACKNOWLEDGE_MAX: Duration = Duration::from_secs(2);

/// How long a tree may outlive its grace until its shim is asked again: most are gone by then.
const REMIND_AFTER: Duration = Duration::from_secs(1);

/// How much longer than the grace a shim may take to end its tree: it gives up on what does not
/// die of SIGKILL after ten seconds.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(12);

/// The waiting for one shim.
#[derive(Debug)]
pub(crate) struct Patience {
    grace: Duration,
    /// From when on its tree is being ended.
    since: Option<Instant>,
    /// When it was asked last, if it has not answered.
    asked_at: Option<Instant>,
    /// When it is to be asked again.
    ask_at: Option<Instant>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// It is to be asked.
    Ask,
    /// It has not answered in time.
    Silent,
    /// Its time is over, whatever it answers.
    Over,
}

impl Patience {
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            grace,
            since: None,
            asked_at: None,
            ask_at: None,
        }
    }

    /// From when on its tree is being ended, if it is.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// The end began at `since`, if it had not before.
    pub(crate) fn ending(&mut self, since: Instant) {
        let since = *self.since.get_or_insert(since);
        self.ask_at.get_or_insert(since + self.grace + REMIND_AFTER);
    }

    /// It was sent an order.
    pub(crate) fn asked(&mut self, now: Instant) {
        self.asked_at = Some(now);
    }

    /// It has answered an order.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.asked_at = None;
        let reminder = self.since.map(|since| (since + self.grace).max(now));
        self.ask_at = reminder.map(|from| from + REMIND_AFTER);
    }

    /// When something is due if it says nothing; `None`: nothing is asked of it.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        let over_at = self.since? + self.grace + ANSWER_MAX;
        let next = match self.asked_at {
            Some(asked_at) => Some(asked_at + ACKNOWLEDGE_MAX),
            None => self.ask_at,
        };
        Some(next.map_or(over_at, |next| next.min(over_at)))
    }

    /// What is due at that moment.
    pub(crate) fn due(&self, now: Instant) -> Due {
        let is_over = self
            .since
            .is_some_and(|since| now >= since + self.grace + ANSWER_MAX);
        match self.asked_at {
            _ if is_over => Due::Over,
            Some(_) => Due::Silent,
            None => Due::Ask,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[test]
    fn nothing_is_due_while_nothing_ends() {
        assert_eq!(Patience::new(GRACE).due_at(), None);
    }

    #[test]
    fn silence_after_an_order_is_noticed_before_the_grace_is_over() {
        let (mut patience, now) = (Patience::new(GRACE), Instant::now());
        patience.ending(now);
        patience.asked(now);
        let due_at = patience.due_at().unwrap();
        assert_eq!(due_at, now + ACKNOWLEDGE_MAX);
        assert_eq!(patience.due(due_at), Due::Silent);
    }

    #[test]
    fn silence_after_an_answer_is_noticed_soon_after_the_grace() {
        let (mut patience, now) = (Patience::new(GRACE), Instant::now());
        patience.ending(now);
        patience.asked(now);
        patience.answered(now);
        let ask_at = patience.due_at().unwrap();
        assert_eq!(ask_at, now + GRACE + REMIND_AFTER);
        assert_eq!(patience.due(ask_at), Due::Ask);
        patience.asked(ask_at);
        let due_at = patience.due_at().unwrap();
        assert_eq!(due_at, ask_at + ACKNOWLEDGE_MAX);
        assert_eq!(patience.due(due_at), Due::Silent);
        patience.answered(due_at);
        assert_eq!(patience.due_at(), Some(due_at + REMIND_AFTER));
    }

    #[test]
    fn shim_that_only_answers_is_given_up_in_the_end() {
        let (mut patience, start) = (Patience::new(GRACE), Instant::now());
        // Its child has exited by itself.
        patience.ending(start);
        let mut asked = 0;
        loop {
            let now = patience.due_at().unwrap();
            assert!(now <= start + GRACE + ANSWER_MAX);
            match patience.due(now) {
                Due::Ask => {
                    asked += 1;
                    patience.asked(now);
                    patience.answered(now);
                }
                Due::Silent => panic!("it answers"),
                Due::Over => break,
            }
        }
        assert!((5..20).contains(&asked), "{asked}");
    }
}
