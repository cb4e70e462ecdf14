//! The judgement on agents: whose end will not be noticed.

use super::super::report::{Finding, Level, Report};
use super::finding;
use crate::words::{counted, processes};

pub(super) fn judge(report: &Report, findings: &mut Vec<Finding>) {
    let Some(agents) = &report.agents else { return };
    if agents.over_bound > 0 {
        findings.push(finding(
            Level::Note,
            "agents_over_bound",
            format!(
                "{} of agents not watched: there were too many",
                processes(agents.over_bound)
            ),
            "their sessions stay open when they are killed; raise the worker's limit of open files \
             (ulimit -n), and close what you do not need: sessiond session close",
        ));
    }
    if agents.malformed > 0 {
        findings.push(finding(
            Level::Note,
            "agents_malformed",
            format!(
                "{} named the agent's process in no known form, and came without it",
                counted(agents.malformed, "event")
            ),
            "let hooks be the sessiond-hook of this version, or leave the header \
             sessiond-agent-process out",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::running;
    use super::*;
    use crate::agent_watch::AgentsReport;

    #[test]
    fn agents_whose_end_is_not_noticed_are_told_and_alarm_nobody() {
        let mut report = running(1_000_000);
        report.agents = Some(AgentsReport {
            watched: 3,
            unknown_sessions: 2,
            ..AgentsReport::default()
        });
        let mut findings = Vec::new();
        judge(&report, &mut findings);
        assert_eq!(findings, []);
        report.agents = Some(AgentsReport {
            over_bound: 1,
            malformed: 2,
            ..AgentsReport::default()
        });
        judge(&report, &mut findings);
        let told: Vec<_> = findings
            .iter()
            .map(|finding| (finding.level, finding.code.as_str()))
            .collect();
        let notes = ["agents_over_bound", "agents_malformed"].map(|code| (Level::Note, code));
        assert_eq!(told, notes);
    }
}
