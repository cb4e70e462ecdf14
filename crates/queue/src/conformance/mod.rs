//! The suite that every [`Store`](crate::store::Store) passes: one behaviour a function, found by its name.
//!
//! A crate with a store of its own writes an `async fn make(limits: Limits) -> Subject` and expands
//! [`conformance_tests!`](crate::conformance_tests) with it; each behaviour becomes a test. All of
//! them run with [`LIMITS`], which are small, so that both sides of each are near. After each, the
//! store's counters are compared with a recount.

pub mod attempts;
pub mod backlog;
mod bench;
pub mod claim;
pub mod close;
pub mod enqueue;
pub mod failing;
pub mod fence;
pub mod listing;
pub mod retention;
pub mod session;
pub mod settle;
pub mod usage;

use std::time::Duration;

pub use self::bench::{Bench, Subject};
use crate::limits::Limits;

/// What the stores under test are opened with.
pub const LIMITS: Limits = Limits {
    payload_max_bytes: 64,
    session_depth_max: 4,
    depth_max: 6,
    attempt_max: 3,
    rescue_max: 2,
    batch_max: 256,
    batch_max_bytes: 4 << 20,
    result_max_bytes: 100,
    log_max_pages: 4000,
    busy_timeout: Duration::from_secs(5),
};

/// One test for each behaviour, against the store that `$make` makes.
#[macro_export]
macro_rules! conformance_tests {
    ($make:path) => {
        $crate::conformance_tests! { @modules $make;
            enqueue {
                one_firing_is_stored_once
                duplicate_applies_no_effect
                duplicate_is_found_in_any_session
                unknown_session_id_is_refused
                session_is_created_from_its_key
                seq_has_no_gaps_within_a_session
                dedup_key_without_window_holds_for_ever
                dedup_key_is_of_one_session
                dedup_window_is_inclusive
                dedup_holds_within_a_batch
                payload_at_its_limit_is_taken
                fields_that_are_empty_long_or_ambiguous_are_refused
                session_depth_is_limited
                queue_depth_is_limited
                duplicate_is_answered_when_full
                prompt_is_counted_and_cut
                cwd_and_project_are_refreshed
            }
            claim {
                messages_are_claimed_in_order_of_acceptance
                one_claim_a_session_at_a_time
                sessions_do_not_wait_for_each_other
                delayed_head_blocks_its_session_only
                attempt_is_counted_at_the_claim
                claims_sent_together_get_one_message
                claim_of_an_unknown_session_is_empty
                due_at_is_that_of_the_head
            }
            settle {
                confirm_stores_results_checkpoint_and_usage
                confirm_without_checkpoint_keeps_it
                oversize_results_leave_the_claim
                oversize_checkpoint_leaves_the_claim
                retry_is_dead_at_the_last_attempt
                give_back_returns_the_attempt
                give_back_may_delay
                poison_is_dead_at_once
                failures_are_counted_until_a_confirm
                session_release_gives_back_its_claim
                close_mark_does_not_take_a_claim
            }
            fence {
                late_end_of_a_claim_that_is_over_changes_nothing
                end_with_a_fence_of_another_claim_changes_nothing
                late_ends_beside_a_live_one_change_nothing
            }
            backlog {
                rescue_returns_claims_of_earlier_generations
                rescue_leaves_its_own_generation
                rescue_max_kills
                cancelled_pending_message_is_skipped
                cancelled_claim_is_lost
                finished_message_cannot_be_cancelled
                cancelled_backlog_leaves_nothing_to_claim
                redriven_message_keeps_its_place
                redriven_message_goes_last_behind_worked_ones
                redrive_starts_attempts_anew
                only_dead_messages_are_redriven
                redrive_obeys_the_session_depth
                redrive_obeys_the_queue_depth
                redrive_all_keeps_the_order
                redrive_all_stops_at_the_limit
                redrive_all_of_one_session_leaves_others
            }
            session {
                generations_rise
                open_gets_or_creates
                open_calls_off_a_drain
                metadata_is_merged
                metadata_is_limited
                end_drains_an_open_session
                start_and_prompt_call_off_a_drain
                late_end_of_an_ended_session_is_nothing
                unknown_sessions_are_refused
                unfinished_lists_work_drains_and_closes
                closed_store_answers_closed
            }
            close {
                mark_after_a_drain_called_off_is_refused
                mark_after_a_drain_closes
                second_mark_keeps_the_epoch_and_the_deeper_depth
                closed_session_keeps_its_backlog
                ended_session_works_a_late_event_and_stays_ended
                start_reopens_an_ended_session
                prompt_while_closing_reopens_at_the_finish
                end_after_a_start_while_closing_ends
                ended_session_may_be_closed_again
                finish_without_a_mark_answers_the_life
                purged_session_is_gone
                purge_keeps_events_accepted_while_closing
                purge_keeps_the_prompt_that_came_while_closing
                purge_is_only_for_a_purge_mark
                purged_key_begins_anew
            }
            listing {
                sessions_are_listed_by_activity
                sessions_are_filtered
                sessions_are_read_by_id_in_the_order_asked
                messages_are_paged_and_filtered
                results_are_paged_and_filtered
                stats_count_every_state
            }
            retention {
                done_message_goes_at_its_age
                cancelled_message_goes_like_a_done_one
                dead_message_is_kept_by_bounds_of_its_own
                oldest_go_when_there_are_too_many
                retention_without_bounds_keeps_all
                backlog_is_never_deleted
                deletion_comes_in_batches
                results_outlive_their_message
                deleted_event_is_not_remembered
                redriven_message_goes_last_behind_deleted_ones
                purge_takes_results_of_deleted_messages
                only_dead_messages_are_purged
                purge_of_dead_messages_may_be_of_one_session
            }
            attempts {
                ends_of_attempts_are_kept_in_order
                confirm_leaves_no_attempt
                lost_release_leaves_no_attempt
                claims_taken_back_are_kept
                cancel_ends_a_claim_only
                redrive_divides_the_history
                oldest_attempts_go_first
                reason_of_an_attempt_is_cut
                attempts_ended_together_are_told_apart
                purge_takes_the_history
            }
            failing {
                failing_is_set_and_cleared
                prompt_clears_failing
                nothing_but_a_prompt_clears_failing
                duplicate_prompt_leaves_failing
                prompt_of_another_session_leaves_failing
                failing_session_is_unfinished
                purge_clears_failing
                failing_is_limited
                failing_is_checked
            }
            usage {
                usage_is_added_up_by_day
                usage_confirmed_together_is_added_up
                days_on_which_nothing_was_spent_are_not_there
                impossible_usage_counts_as_nothing
                sums_of_usage_stop_at_the_largest
                purge_keeps_the_days
            }
        }
    };
    (@modules $make:path; $( $module:ident { $( $behaviour:ident )+ } )+) => {
        /// Every behaviour, by module, to be compared with what there is.
        pub(crate) const BEHAVIOURS: &[(&str, &[&str])] =
            &[$( (stringify!($module), &[$( stringify!($behaviour) ),+]) ),+];
        $(
            mod $module {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $behaviour() {
                        let subject = $make($crate::conformance::LIMITS).await;
                        let bench = $crate::conformance::Bench::new(subject).await;
                        $crate::conformance::$module::$behaviour(&bench).await;
                        bench.finish().await;
                    }
                )+
            }
        )+
    };
}
