//! How things look in a terminal.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use jiff::tz::TimeZone;
use sessiond_queue::ids::Timestamp;

use crate::clock::Clock;

/// Prints rows under headings, wrapped to the terminal.
pub(super) fn print(headings: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    table.add_rows(rows);
    // What is copied into the next command stays in one piece.
    let names = headings.iter().position(|heading| *heading == "session");
    if let Some(column) = names.and_then(|index| table.column_mut(index)) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    for line in table.to_string().lines() {
        println!("{}", line.trim_end());
    }
}

/// How long ago, in one unit: `12s`, `5m`, `3h`, `9d`.
pub(super) fn ago(at: Timestamp) -> String {
    age(Clock.now().since(at).as_secs())
}

/// Seconds in one unit.
pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The time of day, with the date when it is not today's.
pub(super) fn clock_time(at: Timestamp) -> String {
    let Ok(timestamp) = jiff::Timestamp::from_millisecond(at.0) else {
        return "-".to_owned();
    };
    let zoned = timestamp.to_zoned(TimeZone::system());
    let is_today = jiff::Zoned::now().date() == zoned.date();
    zoned
        .strftime(if is_today {
            "%H:%M:%S"
        } else {
            "%Y-%m-%d %H:%M"
        })
        .to_string()
}

/// Bytes in one unit.
pub(super) fn bytes(number: u64) -> String {
    match number {
        0..10_240 => format!("{number} B"),
        10_240..10_485_760 => format!("{} KiB", number >> 10),
        _ => format!("{} MiB", number >> 20),
    }
}

/// The beginning of a text, on one line, in at most `max` characters.
pub(super) fn short(text: &str, max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= max {
        return line;
    }
    let mut cut: String = line.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// The value, or a dash.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
