//! How an event reads in a terminal: when, whose, and what has happened in words.

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::table::{clean, short};
use crate::clock::Clock;

/// The column of sessions; a longer name is shown whole, since it is what other commands take.
const NAME_CHARS: usize = 21;
/// Characters of a line's words, and of a name.
const WORDS_MAX: usize = 400;

/// How grave an event is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// One of many.
    Plain,
    /// Something is done.
    Good,
    /// It needs a look, or will be tried again.
    Warning,
    /// Something does not work.
    Bad,
}

/// An event as one line; `None` for what is no JSON object. With colours if `is_coloured`.
pub(super) fn line(kind: &str, data: &Value, is_coloured: bool) -> Option<String> {
    let fields = Fields(data.as_object()?);
    let (weight, words) = words(kind, fields);
    let words = short(&words, WORDS_MAX);
    let time = time(data["at"].as_i64());
    let name = format!("{:<NAME_CHARS$}", short(&name(fields), WORDS_MAX));
    if !is_coloured {
        return Some(format!("{time}  {name}  {words}"));
    }
    let colour = match weight {
        Weight::Plain => "0",
        Weight::Good => "32",
        Weight::Warning => "33",
        Weight::Bad => "31",
    };
    Some(format!(
        "\u{1b}[2m{time}\u{1b}[0m  \u{1b}[36m{name}\u{1b}[0m  \u{1b}[{colour}m{words}\u{1b}[0m"
    ))
}

/// What the reader itself has to say, in the form of an event of no session.
pub(super) fn remark(words: &str) -> String {
    let (time, name) = (time(Some(Clock.now().0)), "");
    format!("{time}  {name:<NAME_CHARS$}  {words}")
}

fn time(at_ms: Option<i64>) -> String {
    let at = at_ms.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    at.map_or_else(
        || " ".repeat("12:00:00".len()),
        |at| {
            at.to_zoned(TimeZone::system())
                .strftime("%H:%M:%S")
                .to_string()
        },
    )
}

/// The session's name, as other commands take it.
fn name(fields: Fields<'_>) -> String {
    match (fields.text("agent"), fields.text("key")) {
        ("", _) | (_, "") => fields.text("session").to_owned(),
        (agent, key) => format!("{agent}:{key}"),
    }
}

fn words(kind: &str, fields: Fields<'_>) -> (Weight, String) {
    let message = || format!("message {}", fields.shown("message"));
    let reason = || clean(fields.text("reason")).into_owned();
    match kind {
        "lagged" => {
            let missed = match fields.number("missed") {
                Some(missed) => format!("{missed} events were missed here"),
                None => "events may have been missed here".to_owned(),
            };
            (Weight::Warning, missed)
        }
        "worker.started" => (Weight::Good, "worker started".to_owned()),
        "worker.stopping" => (Weight::Warning, "worker stops".to_owned()),
        "session.created" => {
            let project = match fields.text("project") {
                "" => String::new(),
                project => format!(" in {project}"),
            };
            (Weight::Plain, format!("new session{project}"))
        }
        "session.active" => (Weight::Plain, "session is active".to_owned()),
        "session.dormant" => (Weight::Plain, "session is dormant".to_owned()),
        "session.closing" => {
            let what = match fields.text("depth") {
                "purge" => "session is being purged",
                _ => "session is being closed",
            };
            (Weight::Plain, what.to_owned())
        }
        "session.ended" => (Weight::Plain, ended(fields)),
        "session.backlog_cancelled" => {
            let messages = fields.shown("messages");
            (Weight::Warning, format!("{messages} messages cancelled"))
        }
        "agent.seen" => {
            let pid = fields.shown("pid");
            (Weight::Plain, format!("its agent is process {pid}"))
        }
        "agent.gone" => {
            let pid = fields.shown("pid");
            (
                Weight::Warning,
                format!("its agent, process {pid}, is gone"),
            )
        }
        "message.accepted" => {
            let kind = fields.text("kind");
            (Weight::Plain, format!("{} accepted ({kind})", message()))
        }
        "message.claimed" => {
            let again = match fields.number("attempt") {
                Some(attempt) if attempt > 1 => format!(", attempt {attempt}"),
                _ => String::new(),
            };
            (Weight::Plain, format!("{} in work{again}", message()))
        }
        "message.confirmed" => {
            let results = match fields.number("results") {
                Some(1) => "1 result".to_owned(),
                results => format!("{} results", results.unwrap_or_default()),
            };
            (Weight::Good, format!("{} done, {results}", message()))
        }
        "message.released" => {
            let what = match fields.0.get("failed").and_then(Value::as_bool) {
                Some(true) => "failed",
                _ => "given back",
            };
            let text = format!("{} {what}: {}", message(), reason());
            (Weight::Warning, text)
        }
        "message.dead" => (Weight::Bad, format!("{} is dead: {}", message(), reason())),
        "message.cancelled" => (Weight::Warning, format!("{} cancelled", message())),
        "message.redriven" => (Weight::Plain, format!("{} redriven", message())),
        "message.purged" => {
            let messages = fields.shown("messages");
            (Weight::Warning, format!("{messages} dead messages deleted"))
        }
        "generator.started" => {
            let about = Fields::within(fields.0.get("about"));
            let model = match about.map_or("", |about| about.text("model")) {
                "" => String::new(),
                model => format!(" ({model})"),
            };
            let name = about.map_or("", |about| about.text("name"));
            (Weight::Plain, format!("generator {name}{model} started"))
        }
        "generator.failed" => (Weight::Bad, format!("generator failed: {}", reason())),
        "generator.stopped" => (Weight::Plain, format!("generator stopped ({})", reason())),
        "process.spawned" => {
            let (command, pid) = (fields.text("command"), fields.shown("pid"));
            (Weight::Plain, format!("process {pid} runs: {command}"))
        }
        "process.reaped" => {
            let weight = match fields.text("end") {
                "unkillable" => Weight::Bad,
                "swept" => Weight::Warning,
                _ => Weight::Plain,
            };
            let (pid, end) = (fields.shown("pid"), fields.text("end"));
            (weight, format!("process {pid} and its tree ended ({end})"))
        }
        "worktree.added" => {
            let (path, branch) = (clean(fields.text("path")), clean(fields.text("branch")));
            (Weight::Plain, format!("worktree {path} on {branch}"))
        }
        "worktree.removed" => {
            let path = clean(fields.text("path"));
            (Weight::Plain, format!("worktree {path} is gone"))
        }
        "worktree.kept" => {
            let path = clean(fields.text("path"));
            (
                Weight::Warning,
                format!("worktree {path} is kept; see: sessiond worktree list"),
            )
        }
        "client.registered" => {
            let (kind, name) = (fields.text("kind"), clean(fields.text("name")));
            (Weight::Plain, format!("{kind} client {name:?} came"))
        }
        "client.gone" => {
            let (kind, why) = (fields.text("kind"), fields.text("why"));
            let why = why.replace('_', " ");
            (Weight::Plain, format!("{kind} client is gone: {why}"))
        }
        "doctor.verdict" => {
            let weight = match fields.text("verdict") {
                "ok" => Weight::Good,
                "degraded" => Weight::Warning,
                _ => Weight::Bad,
            };
            let reasons = fields.0.get("reasons").and_then(Value::as_array);
            let first = reasons.and_then(|reasons| reasons.first()?.as_str());
            let first = first.map(|first| format!(": {first}")).unwrap_or_default();
            (
                weight,
                format!("doctor says {}{first}", fields.text("verdict")),
            )
        }
        other => (Weight::Plain, others(other, fields)),
    }
}

fn ended(fields: Fields<'_>) -> String {
    let Some(report) = Fields::within(fields.0.get("report")) else {
        return "session ended".to_owned();
    };
    let mut text = match report.text("depth") {
        "purge" => "session purged".to_owned(),
        _ => "session ended".to_owned(),
    };
    let reaped = report.0.get("reaped").and_then(Value::as_array);
    let reaped = reaped.map_or(0, Vec::len);
    if reaped > 0 {
        text.push_str(&format!(", {reaped} programs ended"));
    }
    match report.number("pending_left") {
        None | Some(0) => {}
        Some(left) => text.push_str(&format!(", {left} messages pending")),
    }
    text
}

/// What this version has no words for: its name and its plain values.
fn others(kind: &str, fields: Fields<'_>) -> String {
    const SHOWN_ALREADY: [&str; 7] = ["id", "type", "at", "session", "agent", "key", "project"];
    let mut text = kind.to_owned();
    for (name, value) in fields.0 {
        let is_plain = !value.is_null() && !value.is_object() && !value.is_array();
        if is_plain && !SHOWN_ALREADY.contains(&name.as_str()) {
            text.push_str(&format!(" {name}={}", shown(value)));
        }
    }
    text
}

/// The fields of a JSON object.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn within(value: Option<&'a Value>) -> Option<Self> {
        value?.as_object().map(Self)
    }

    fn text(self, name: &str) -> &'a str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    fn shown(self, name: &str) -> String {
        self.0.get(name).map_or_else(|| "?".to_owned(), shown)
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(data: &Value, expected: &str) {
        let kind = data["type"].as_str().expect("a type");
        let line = line(kind, data, false).expect("a line");
        let (_time, rest) = line.split_at("12:00:00  ".len());
        assert_eq!(rest, expected);
    }

    #[test]
    fn events_read_as_words_beside_the_session_they_happened_in() {
        let of_session = |mut data: Value| {
            data["at"] = json!(1_700_000_000_000_i64);
            data["agent"] = json!("claude-code");
            data["key"] = json!("0123456789");
            data
        };
        check(
            &of_session(json!({ "type": "message.confirmed", "message": 7, "results": 1 })),
            "claude-code:0123456789  message 7 done, 1 result",
        );
        check(
            &of_session(json!({ "type": "message.dead", "message": 7, "reason": "a\u{1b}[2J\nb" })),
            "claude-code:0123456789  message 7 is dead: a [2J b",
        );
        check(
            &json!({ "type": "lagged", "missed": null }),
            "                       events may have been missed here",
        );
        check(
            &json!({ "type": "of.later", "id": "1-2", "at": 0, "client": "c", "why": null }),
            "                       of.later client=c",
        );
    }
}
