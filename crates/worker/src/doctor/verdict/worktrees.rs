//! The judgement on sessions' worktrees: what is gone, and what nothing can be done about without
//! git.

use super::super::report::{Finding, Level, Report};
use super::finding;
use crate::words::{counted, listed};

/// Directories that a finding names.
const NAMED: usize = 3;

pub(super) fn judge(report: &Report, findings: &mut Vec<Finding>) {
    let Some(worktrees) = &report.worktrees else {
        return;
    };
    if let Some(problem) = &worktrees.git_problem
        && worktrees.count() > 0
    {
        findings.push(finding(
            Level::Degraded,
            "git_missing",
            match worktrees.count() {
                1 => format!(
                    "1 worktree cannot be looked after, and stays when its session ends: {problem}"
                ),
                count => format!(
                    "{count} worktrees cannot be looked after, and stay when their sessions end: \
                     {problem}"
                ),
            },
            "install git (2.36 or newer), or set worktrees.git to its path, and restart the worker",
        ));
    }
    if worktrees.missing_count > 0 {
        let missing: Vec<_> = worktrees
            .missing
            .iter()
            .map(|path| path.display())
            .collect();
        findings.push(finding(
            Level::Note,
            "worktree_missing",
            format!(
                "{} without a directory: {}",
                counted(worktrees.missing_count, "worktree"),
                listed(&missing, NAMED)
            ),
            "to forget them, and what is left of them in their repositories: sessiond worktree prune",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::running;
    use super::*;
    use crate::worktrees::WorktreesReport;

    fn check(worktrees: WorktreesReport, wanted: &[(Level, &str)]) {
        let mut report = running(0);
        report.worktrees = Some(worktrees);
        let mut findings = Vec::new();
        judge(&report, &mut findings);
        let found: Vec<_> = findings
            .iter()
            .map(|finding| (finding.level, finding.code.as_str()))
            .collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn git_is_missed_only_where_there_are_worktrees() {
        let without_git = WorktreesReport {
            git_problem: Some("it is not there".to_owned()),
            ..WorktreesReport::default()
        };
        check(without_git.clone(), &[]);
        let kept = WorktreesReport {
            kept: 1,
            ..without_git
        };
        check(kept, &[(Level::Degraded, "git_missing")]);
    }

    #[test]
    fn directories_that_are_gone_are_noted() {
        let gone = WorktreesReport {
            added: 1,
            missing_count: 1,
            missing: vec!["/w/a".into()],
            ..WorktreesReport::default()
        };
        check(gone, &[(Level::Note, "worktree_missing")]);
    }
}
