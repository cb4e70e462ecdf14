//! What is read from where, and how a bad value is told.

use super::*;

fn load(text: &str, vars: &[(&str, &str)]) -> Result<Config, String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("config.toml");
    std::fs::write(&file, text).expect("a file");
    let vars = vars.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    Config::load(&file, vars).map_err(|error| error.to_string())
}

#[test]
fn environment_goes_before_file_and_file_before_default() {
    let text = "[http]\nport = 1\n[queue]\nattempt_max = 2\n";
    let config = load(text, &[("SESSIOND_HTTP_PORT", "2")]).expect("a configuration");
    assert_eq!(config.http.port, 2);
    assert_eq!(config.queue.attempt_max, 2);
    assert_eq!(config.queue.rescue_max, Config::default().queue.rescue_max);
}

#[test]
fn bad_values_name_the_field_and_its_limit() {
    let cases: [(&str, &str); 26] = [
        (
            "[[generator.rule]]\nproject = \"~/work\"\n",
            "generator.rule[0].project must be an absolute path",
        ),
        (
            "[[generator.rule]]\ncommand = \"a\"\n",
            "generator.rule[0] names neither agent nor project",
        ),
        (
            "[generator]\ncommand = \"./notes -x\"\n",
            "generator.command must begin with an absolute path",
        ),
        (
            "[generator]\ncommand = \"bin/notes\"\n",
            "generator.command must begin with an absolute path",
        ),
        (
            "[[generator.rule]]\nagent = \"codex\"\ncommand = \"~/notes\"\n",
            "generator.rule[0].command must begin with an absolute path",
        ),
        (
            "[generator]\ncommand = \"/a/notes.py\"\n\
             [[generator.rule]]\nagent = \"codex\"\n\
             [[generator.rule]]\nagent = \"x\"\ncommand = \"python3 /b/notes.py\"\n",
            "generator.rule[1].command is called notes.py like generator.command",
        ),
        (
            "[generator]\ncommand = \"a 'b\"\n",
            "generator.command is not a command line",
        ),
        (
            "[generator.env]\nSESSIOND_TAG = \"x\"\n",
            "generator.env may not set \"SESSIOND_TAG\"",
        ),
        (
            "[generator]\nbudget_day_usd = -1\n",
            "generator.budget_day_usd must not be negative",
        ),
        ("[http]\nprot = 1\n", "http.prot"),
        ("[http]\nport = 70000\n", "at most 65535"),
        (
            "[http]\nport = \"x\"\n",
            "http.port must be an integer, not a string",
        ),
        (
            "[queue]\nattempt_max = 0\n",
            "queue.attempt_max must be at least 1",
        ),
        ("[queue]\nattempt_max = -1\n", "must not be negative"),
        ("[rehearsal]\nfail_class = \"x\"\n", "retry, poison"),
        ("[log]\nfilter = \"a=b=c\"\n", "log.filter is not a filter"),
        (
            "[generator]\nnice = 20\n",
            "generator.nice must be at most 19",
        ),
        (
            "[generator]\nopen_files_max = 15\n",
            "generator.open_files_max must be 0, which is no limit, or at least 16",
        ),
        (
            "[generator]\nmemory_max_bytes = 16777215\n",
            "generator.memory_max_bytes must be 0, which is no limit, or at least 16777216",
        ),
        (
            "[[generator.rule]]\nagent = \"a\"\nnice = 20\n",
            "generator.rule[0].nice must be at most 19",
        ),
        (
            "[[generator.rule]]\nagent = \"a\"\nnice = -1\n",
            "generator.rule[0].nice must not be negative",
        ),
        (
            "[[generator.rule]]\nagent = \"a\"\nmemory_max_bytes = \"1G\"\n",
            "generator.rule[0].memory_max_bytes must be an integer, not a string",
        ),
        (
            "[supervisor]\nchildren_max = 3\n",
            "supervisor.children_max must be at least generator.generators_max, which is 4",
        ),
        (
            "[generator]\ngenerators_max = 65\n",
            "generator.generators_max must be at most supervisor.children_max, which is 64",
        ),
        (
            "[supervisor]\nchildren_max = 0\n",
            "supervisor.children_max must be at least 1",
        ),
        (
            "[supervisor]\nspawns_per_s_max = 0\n",
            "supervisor.spawns_per_s_max must be at least 1",
        ),
    ];
    for (text, wanted) in cases {
        let error = load(text, &[]).expect_err(text);
        assert!(error.contains(wanted), "{error:?} lacks {wanted:?}");
        assert!(error.contains("config.toml"), "{error:?} says where");
    }
    let error = load("", &[("SESSIOND_HTTP_PORT", "x")]).expect_err("not a number");
    assert!(error.contains("SESSIOND_HTTP_PORT"), "{error}");
}

#[test]
fn programs_may_share_a_name_if_they_are_the_same_or_get_another() {
    for text in [
        "command = \"/a/n\"\n[[generator.rule]]\nagent = \"x\"\ncommand = \"/a/n\"\nenv = { A = \"1\" }\n",
        "command = \"/a/n\"\n[[generator.rule]]\nagent = \"x\"\ncommand = \"/b/n\"\nname = \"m\"\n",
    ] {
        load(&format!("[generator]\n{text}"), &[]).expect("a configuration");
    }
}

#[test]
fn value_of_a_wrong_type_is_named_with_its_rule() {
    let check = |text: &str, wanted: &str| {
        let error = load(text, &[]).expect_err(text);
        assert!(error.contains(wanted), "{error:?} lacks {wanted:?}");
    };
    check(
        "[generator.env]\nA = 1\n",
        "generator.env.A must be a string, not an integer",
    );
    check(
        "[[generator.rule]]\nagent = \"codex\"\n[[generator.rule]]\nagent = 1\n",
        "generator.rule[1].agent must be a string, not an integer",
    );
    check(
        "[[generator.rule]]\nagent = \"codex\"\ncomand = \"x\"\n",
        "generator.rule[0].comand is not a name it knows",
    );
    check(
        "[[generator.rule]]\nagent = \"codex\"\nenv = { A = true }\n",
        "generator.rule[0].env.A must be a string, not a boolean",
    );
    check(
        "[generator]\nrule = [1]\n",
        "generator.rule[0] must be a table, not an integer",
    );
}

#[test]
fn unknown_variable_of_a_known_section_is_an_error_and_others_are_not_ours() {
    let error = load("", &[("SESSIOND_HTTP_PRT", "1")]).expect_err("a slip");
    assert!(error.contains("SESSIOND_HTTP_PRT"), "{error}");
    assert!(error.contains("http.prt"), "{error}");
    let others = [
        ("SESSIOND_HOME", "/x"),
        ("SESSIOND_HOOK_DEADLINE_MS", "1"),
        ("SESSIOND_TEST_MARKER", "x"),
        ("SESSIOND_HTTPS", "x"),
    ];
    assert_eq!(load("", &others), Ok(Config::default()));
}

#[test]
fn defaults_are_those_of_the_queue() {
    assert_eq!(Config::default().limits(), Limits::default());
    let retention = Config::default().retention();
    let days = |days: u64| Some(Duration::from_secs(days * 24 * 60 * 60));
    assert_eq!(
        (retention.done_age, retention.dead_age),
        (days(7), days(30))
    );
    let mut for_ever = Config::default();
    (for_ever.queue.done_kept_days, for_ever.queue.done_kept_max) = (0, 0);
    (for_ever.queue.dead_kept_days, for_ever.queue.dead_kept_max) = (0, 0);
    assert_eq!(for_ever.retention(), Retention::default());
}

#[test]
fn rule_has_the_limits_of_the_section_but_for_those_it_names() {
    let text = "[generator]\nmemory_max_bytes = 8589934592\nnice = 5\n\
                [[generator.rule]]\nagent = \"a\"\ncommand = \"/a\"\nnice = 0\nopen_files_max = 64\n";
    let config = load(text, &[]).expect("a configuration");
    let programs = config.generator.programs();
    let [(_, program)] = programs.as_slice() else {
        panic!("{programs:?}");
    };
    let expected = sessiond_supervisor::ProcessLimits {
        memory_max_bytes: Some(8 << 30),
        open_files_max: Some(64),
        processes_max: None,
        nice: None,
    };
    assert_eq!(program.limits, expected);
}
