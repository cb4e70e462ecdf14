//! `GET /v1/events`: what happens, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::caller::{Caller, Reach};
use super::extract::{Params, find_session_for};
#[cfg(test)]
use super::openapi::refusals::{InvalidRequest, UnknownSession};
use super::{Api, ApiError};
use crate::errors::chain;
use crate::events::{Filter, Item, LAGGED, Place, STATUS, Shown, Standing};

/// Where a browser says what it was told last.
const LAST_EVENT_ID: &str = "last-event-id";

/// A reader whose filter lets little through is told at most so often how far it has come, so that
/// it need not begin far back when it comes again.
const PASSED_EVERY: Duration = Duration::from_secs(1);

/// Query of `GET /v1/events`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct EventParams {
    /// Only events of this session: its id, or `agent:key`.
    session: Option<String>,
    /// Only events of these types, separated by commas; `session` or `session.*` is all of that kind.
    #[cfg_attr(test, param(example = "message.dead,session"))]
    #[serde(rename = "type")]
    types: Option<String>,
    /// Only events of sessions of this project.
    project: Option<String>,
    /// Only events after this id; as the header `Last-Event-ID`, which goes before it.
    after: Option<String>,
}

/// Follows what happens, as server-sent events.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/events", tag = "monitoring",
    params(EventParams),
    responses(
        (status = 200, description = "Events, until one side ends it; each `data` is a JSON object.", body = String, content_type = "text/event-stream", example = "id: 7-12\nevent: message.confirmed\ndata: {}\n\n"),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
    ),
))]
pub(super) async fn follow(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    Params(params): Params<EventParams>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let after = after(&headers, params.after.as_deref())?;
    let shown = caller.narrow(Reach {
        session: find_session_for(&api, &caller, params.session.as_deref()).await?,
        project: params.project,
    })?;
    let mut filter = Filter::new(shown.session, shown.project);
    if let Some(types) = &params.types {
        filter
            .set_types(types)
            .map_err(|error| ApiError::invalid_field("type", error.to_string()))?;
    }
    let seat = match caller {
        Caller::Owner => api.feed.seat(),
        Caller::Client(_) => api.feed.client_seat(),
    };
    let seat = seat.map_err(|full| ApiError::too_many_readers(full.limit))?;
    // The state is nobody's, so that no other filter keeps it back; and no client's.
    let has_standing = caller == Caller::Owner && filter.wants_type(STATUS);
    let mut standing = has_standing.then(|| api.feed.standing());
    let mut reader = api.feed.reader(filter, after);
    let (parting, clients) = (api.parting.clone(), api.clients.clone());
    let events = stream! {
        let _seat = seat;
        // Whoever is told nothing else can come back to here.
        yield Ok(Event::default().id(reader.place().to_string()));
        let mut passed_at = Instant::now();
        let mut last = None;
        // A stop gives readers what was told up to it, and waits for nothing else: they come back to
        // the next worker.
        while last.is_none_or(|last| reader.place() < last) {
            let items = tokio::select! {
                biased;
                () = parting.cancelled(), if last.is_none() => {
                    last = Some(reader.newest());
                    continue;
                }
                changed = changed(&mut standing) => {
                    if let Some(now) = changed {
                        yield Ok(status(now));
                    }
                    continue;
                }
                items = reader.next() => items,
            };
            let items = match items {
                Ok(items) => items,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "a reader of events cannot go on");
                    return;
                }
            };
            // A token that is revoked meanwhile opens nothing more.
            if !caller.is_known(&clients) {
                return;
            }
            for item in items {
                match item {
                    Item::Event(shown) => yield Ok(event(shown)),
                    Item::Lagged { missed, place } => yield Ok(lagged(missed, place)),
                    Item::Passed(place) if passed_at.elapsed() >= PASSED_EVERY => {
                        passed_at = Instant::now();
                        yield Ok(Event::default().id(place.to_string()));
                    }
                    Item::Passed(_) => {}
                }
            }
        }
    };
    let heartbeat = Duration::from_millis(api.context.settings.events.heartbeat_ms);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(heartbeat)))
}

/// Where the reader goes on. The header is newer: a browser that comes back by itself sends it with
/// the address that it had first.
fn after(headers: &HeaderMap, param: Option<&str>) -> Result<Option<Place>, ApiError> {
    let (field, text) = match headers.get(LAST_EVENT_ID) {
        Some(value) => ("Last-Event-ID", Some(value.to_str().unwrap_or_default())),
        None => ("after", param),
    };
    let parse = |text: &str| {
        text.parse::<Place>()
            .map_err(|error| ApiError::invalid_field(field, error.to_string()))
    };
    text.map(parse).transpose()
}

/// Waits for another state; for ever, if it is not wanted or nobody tells any more. Cancel-safe.
async fn changed(standing: &mut Option<watch::Receiver<Option<Standing>>>) -> Option<Standing> {
    let Some(states) = standing else {
        return std::future::pending().await;
    };
    match states.changed().await {
        Ok(()) => *states.borrow_and_update(),
        Err(_worker_stops) => {
            *standing = None;
            None
        }
    }
}

fn event(shown: Shown) -> Event {
    Event::default()
        .id(shown.place.to_string())
        .event(shown.kind)
        .data(shown.data)
}

fn lagged(missed: Option<u64>, place: Place) -> Event {
    let data = json!({ "type": LAGGED, "id": place, "missed": missed });
    Event::default()
        .id(place.to_string())
        .event(LAGGED)
        .data(data.to_string())
}

fn status(now: Standing) -> Event {
    let Standing {
        depth,
        is_processing,
    } = now;
    let data = json!({ "type": STATUS, "depth": depth, "is_processing": is_processing });
    Event::default().event(STATUS).data(data.to_string())
}
