//! How things look in a terminal, which does not obey what comes from outside.

use std::borrow::Cow;

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
    let cells = |row: Vec<String>| -> Vec<String> {
        row.iter().map(|cell| clean(cell).into_owned()).collect()
    };
    table.add_rows(rows.into_iter().map(cells));
    // What is copied into the next command stays in one piece.
    for (index, heading) in headings.iter().enumerate() {
        if ["session", "client"].contains(heading)
            && let Some(column) = table.column_mut(index)
        {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
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

/// A text without the characters that a terminal obeys; lines and tabs stay.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let is_obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace("\r\n", "\n").replace(is_obeyed, " "))
}

/// Prints the names and values of one thing, one a line.
pub(super) fn print_pairs(pairs: &[(&str, String)]) {
    for (name, value) in pairs {
        println!("{name:<11}{}", clean(value));
    }
}

/// The beginning of a text, on one line, in at most `max` characters.
pub(super) fn short(text: &str, max: usize) -> String {
    let line = clean(text).split_whitespace().collect::<Vec<_>>().join(" ");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_taken_out_and_lines_and_tabs_stay() {
        let check = |text: &str, expected: &str| assert_eq!(clean(text), expected);
        check("plain ä\n\ttext", "plain ä\n\ttext");
        check("\u{1b}[31mred\u{7}", " [31mred ");
        check("a\r\nb\rc", "a\nb c");
        check("\u{9b}2J\u{7f}", " 2J ");
        assert_eq!(short("a\u{1b}[2J\nb", 20), "a [2J b");
    }
}
