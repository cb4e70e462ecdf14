//! Lists that are longer than one answer of the API.

use clap::builder::RangedI64ValueParser;
use clap::value_parser;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sessiond_queue::limits::LIST_MAX;

use super::client::{Client, part};
use super::{CliError, Global};

/// Rows asked for at once: few enough for large payloads, many enough for long lists.
const PAGE: u32 = 200;

/// How many rows a command may ask for whose list is one answer.
pub(super) fn list_limit() -> RangedI64ValueParser<u32> {
    value_parser!(u32).range(1..=i64::from(LIST_MAX))
}

/// Where a list is asked for, and how it goes on.
pub(super) struct List<'a, T> {
    pub(super) path: &'a str,
    /// Its name in the answer.
    pub(super) name: &'a str,
    pub(super) query: &'a [(&'a str, Option<String>)],
    /// Only what comes after this row.
    pub(super) after: Option<i64>,
    /// At most so many that are shown.
    pub(super) limit: u32,
    pub(super) is_shown: &'a dyn Fn(&T) -> bool,
    pub(super) id: &'a dyn Fn(&T) -> i64,
}

impl<T: DeserializeOwned> List<'_, T> {
    /// The rows to be shown, and the id to go on after when there are more.
    pub(super) async fn read(&self, global: &Global) -> Result<(Vec<T>, Option<i64>), CliError> {
        let client = Client::new(global)?;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        // One more than is shown tells whether there is more.
        let page = self.limit.saturating_add(1).min(PAGE);
        let mut after = self.after;
        let mut shown = Vec::new();
        loop {
            let mut query = self.query.to_vec();
            query.push(("after", after.map(|id| id.to_string())));
            query.push(("limit", Some(page.to_string())));
            let answer: Value = client.send(Method::GET, self.path, &query).await?;
            let rows: Vec<T> = part(&answer, self.name)?;
            // A short page is not the last one: the answer is bounded by bytes, too.
            let is_last = rows.is_empty();
            after = rows.last().map(self.id).or(after);
            shown.extend(rows.into_iter().filter(self.is_shown));
            if shown.len() > limit {
                shown.truncate(limit);
                let last = shown.last().map_or(0, self.id);
                return Ok((shown, Some(last)));
            }
            if is_last {
                return Ok((shown, None));
            }
        }
    }
}

/// Says how the list goes on.
pub(super) fn print_more(more: Option<i64>) {
    if let Some(id) = more {
        println!("more: --after {id}");
    }
}
