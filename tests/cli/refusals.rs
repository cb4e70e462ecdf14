//! What a command does not do: its exit code, and what it says.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn exit_code_says_that_no_worker_runs() {
    let home = Home::new();
    let commands: [&[&str]; 9] = [
        &["status"],
        &["sessions"],
        &["session", "show", "claude-code:s"],
        &["messages"],
        &["dead", "list"],
        &["results", "claude-code:s"],
        &["search", "x"],
        &["context"],
        &["purge", "claude-code:s"],
    ];
    for args in commands {
        let ran = home.cli(args);
        assert_eq!(ran.code(), 3, "{args:?}: {ran:?}");
        assert!(
            ran.stderr.contains("sessiond start"),
            "{args:?} says what to do: {}",
            ran.stderr
        );
        assert!(ran.stdout.is_empty());
    }
    assert!(home.processes().is_empty(), "looking starts nothing");
}

#[test]
fn exit_codes_tell_the_unknown_the_misused_and_the_refused_apart() {
    let (home, _worker) = populated();
    let cases: [(&[&str], i32); 20] = [
        (&["session", "show", "claude-code:absent"], 4),
        (&["session", "close", "claude-code:absent"], 4),
        (&["purge", "claude-code:absent"], 4),
        (&["results", "claude-code:absent"], 4),
        (&["messages", "show", "999999"], 4),
        (&["messages", "cancel", "1"], 1),
        (&["session", "show", "neither"], 2),
        (&["messages", "--session", "neither"], 2),
        (&["search", "x", "--session", "neither"], 2),
        (&["clients", "--session", "neither"], 2),
        (&["client", "show", "neither"], 2),
        (&["worktree", "list", "--session", "neither"], 2),
        (&["worktree", "remove", "neither"], 4),
        (&["worktree", "remove", "x", "--force", "all"], 2),
        (&["watch", "--session", "neither"], 2),
        (&["watch", "--after", "yesterday"], 2),
        (&["frobnicate"], 2),
        (&["messages", "--state", "odd"], 2),
        (&["sessions", "--limit", "0"], 2),
        (&["search", "x", "--limit", "201"], 2),
    ];
    for (args, code) in cases {
        let ran = home.cli(args);
        assert_eq!(ran.code(), code, "{args:?}: {ran:?}");
        assert!(!ran.stderr.is_empty(), "{args:?} says why");
        assert!(ran.stdout.is_empty(), "{args:?}");
    }
    for (command, list) in [("session", "sessions"), ("client", "clients")] {
        let ran = home.cli(&[command, "show", "neither"]);
        let hint = format!("list them with: sessiond {list}");
        assert!(ran.stderr.contains(&hint), "{ran:?}");
    }
}

#[test]
fn bad_configuration_is_told_before_anything_starts() {
    let mut home = Home::new();
    home.set("session.idle_unload_ms", "soon");
    for args in [["config", "check"].as_slice(), &["run"], &["start"]] {
        let ran = home.cli(args);
        assert_eq!(ran.code(), 1, "{args:?}");
        assert!(
            ran.stderr.contains("SESSIOND_SESSION_IDLE_UNLOAD_MS"),
            "{args:?}: {}",
            ran.stderr
        );
    }
    assert!(home.processes().is_empty());
}

#[test]
fn worker_that_ends_at_once_is_told_at_once() {
    let home = Home::new();
    home.start().stop();
    home.database()
        .change("UPDATE _sqlx_migrations SET checksum = x'00'");
    let ran = home.cli(&["start"]);
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr.contains("ended at once"), "{}", ran.stderr);
}

#[test]
fn relative_home_is_refused() {
    let mut home = Home::new();
    home.set_variable("SESSIOND_HOME", "here");
    let ran = home.cli(&["sessions"]);
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr.contains("SESSIOND_HOME=here"), "{}", ran.stderr);
}

#[test]
fn config_check_looks_for_the_programs_and_at_the_home() {
    let mut home = Home::new();
    let program = home.layout().root().with_file_name("notes");
    let dir = program.parent().expect("a directory").display().to_string();
    home.set("generator.command", "notes -x");
    home.write_config(&format!("[generator.env]\nPATH = \"/no/such:{dir}\"\n"));
    let refused = |home: &Home, words: &[&str]| {
        let ran = home.cli(&["config", "check"]);
        assert_eq!(ran.code(), 1, "{ran:?}");
        for word in words {
            assert!(ran.stderr.contains(word), "no {word:?} in {}", ran.stderr);
        }
    };
    let path = format!("/no/such:{dir}");
    refused(&home, &["generator.command: no notes", &path]);
    std::os::unix::fs::symlink("/bin/sh", &program).expect("a link");
    assert_eq!(home.cli(&["config", "check"]).text(), "ok\n");
    home.set("generator.command", "/no/such/notes");
    refused(&home, &["generator.command: /no/such/notes is not there"]);
    home.set("generator.command", "");
    home.set("worktrees.git", "/no/such/git");
    refused(&home, &["worktrees.git: /no/such/git is not there"]);
    home.unset("worktrees.git");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::create_dir_all(home.layout().root()).expect("a home");
    std::fs::set_permissions(home.layout().root(), open).expect("a mode");
    refused(&home, &["no worker can start", "chmod 700"]);
}
