//! Who is registered, as far as it is not as it should be.

use super::super::report::{Finding, Level, Report};
use super::finding;
use crate::words::{are, counted};

pub(super) fn judge(report: &Report, findings: &mut Vec<Finding>) {
    let Some(clients) = &report.clients else {
        return;
    };
    if let Some(error) = &clients.last_error {
        findings.push(finding(
            Level::Degraded,
            "clients_unsaved",
            format!("what has changed of clients is not stored: {error}"),
            "mend the cause; it is tried again by itself; the next worker would not know of it",
        ));
    }
    if clients.skipped > 0 {
        findings.push(finding(
            Level::Note,
            "clients_skipped",
            format!(
                "{} could not be read at the start and {} kept aside in state.db",
                counted(clients.skipped, "stored client"),
                are(clients.skipped)
            ),
            "have them register again; the rows go when they expire, with their session, or with all \
             clients",
        ));
    }
    if clients.unverifiable > 0 {
        findings.push(finding(
            Level::Note,
            "clients_unverifiable",
            format!(
                "the processes of {} cannot be told apart from others",
                counted(clients.unverifiable, "client")
            ),
            "they go when their token expires; sooner by: sessiond client remove",
        ));
    }
}
