//! echo.py once more, for those who write in Rust: `serde_json` is all it needs.
//!
//! Values stay raw, so that a payload is handed on as it came. Agents cut texts, and half of a
//! character is no `serde_json::Value`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use serde_json::value::{RawValue, Value};
use serde_json::{from_str, json};

const EXCERPT_MAX_CHARS: usize = 200;

/// Speaks protocol 1 (`docs/generator-protocol.md`) until its input ends.
pub(crate) fn main() -> io::Result<()> {
    let mut count = 0;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let heard: BTreeMap<&str, &RawValue> = from_str(&line)?;
        let field = |name| heard.get(name).map_or("null", |value| value.get());
        match from_str::<&str>(field("type"))? {
            "open" => {
                let checkpoint: Value = from_str(field("checkpoint"))?;
                // What another generator has stored has no such number.
                count = checkpoint["echoed"].as_u64().unwrap_or(0);
                say(&json!({ "type": "ready", "name": "echo" }))?;
            }
            "message" => {
                count += 1;
                let id: Value = from_str(field("id"))?;
                let title: Value = from_str(field("kind"))?;
                let body: String = field("payload").chars().take(EXCERPT_MAX_CHARS).collect();
                say(&json!({
                    "type": "result",
                    "ids": [id],
                    "results": [{ "kind": "echo", "title": title, "body": body }],
                    "checkpoint": { "echoed": count },
                }))?;
            }
            "close" => break,
            _ => {}
        }
    }
    Ok(())
}

/// One write a line: standard output is flushed at its end.
fn say(line: &Value) -> io::Result<()> {
    io::stdout().write_all(format!("{line}\n").as_bytes())
}
