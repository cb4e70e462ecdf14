//! `/v1/messages`, `/v1/sessions/{session}/messages`, `/v1/dead`: enqueue, list, cancel, redrive,
//! purge.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sessiond_queue::ids::{EventId, MessageId, SessionId};
use sessiond_queue::limits::{LIST_DEFAULT, LIST_MAX};
use sessiond_queue::types::{
    Attempt, CancelledBacklog, Dedup, Effect, Enqueue, Message, MessageFilter, Receipt, Redriven,
    SessionRef, State as MessageState,
};

use super::extract::{Body, MessagePath, NoBody, Params, SessionPath, find_session_of, limit};
#[cfg(test)]
use super::openapi::refusals::{Full, InvalidRequest, UnknownMessage, UnknownSession, WrongState};
use super::{Api, ApiError};
use crate::accept::tell_accepted;
use crate::events::Event;

/// Body of `POST /v1/sessions/{session}/messages`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = EnqueueMessage, example = json!({"kind": "note", "payload": {"text": "hello"}, "dedup_key": "note-1"})))]
#[serde(deny_unknown_fields)]
pub(super) struct EnqueueBody {
    /// What it is, for example `note`.
    #[cfg_attr(test, schema(min_length = 1, max_length = 512))]
    kind: String,
    /// Any JSON, kept as it was written; at most `queue.payload_max_bytes`.
    #[cfg_attr(test, schema(value_type = serde_json::Value))]
    payload: Box<RawValue>,
    /// A second message with it is a duplicate, and not stored.
    #[cfg_attr(test, schema(min_length = 1, max_length = 512))]
    dedup_key: Option<String>,
    /// The subagent it is of.
    #[cfg_attr(test, schema(min_length = 1, max_length = 512))]
    agent_id: Option<String>,
    /// Repeated on a retry, so that the message is stored once.
    event_id: Option<EventId>,
}

/// Enqueues a message in a session that is known.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/sessions/{session}/messages", tag = "messages",
    params(("session" = String, Path, description = "A session: its id, or `agent:key`", min_length = 1, max_length = 1100, example = "claude-code:1f0c")),
    request_body(content = EnqueueBody),
    responses(
        (status = 202, description = "It is on disk.", body = Receipt),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
        (status = 429, response = Full),
    ),
))]
pub(super) async fn enqueue(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
    Body(body): Body<EnqueueBody>,
) -> Result<(StatusCode, Json<Receipt>), ApiError> {
    let now = api.context.clock.now();
    let kind = body.kind.clone();
    let enqueue = Enqueue {
        event_id: body.event_id.unwrap_or_else(EventId::mint),
        session: SessionRef::Id(session.id),
        kind: body.kind,
        agent_id: body.agent_id,
        payload: body.payload.get().to_owned(),
        dedup: body.dedup_key.map(|key| Dedup {
            key,
            window_ms: None,
        }),
        effect: Effect::None,
        cwd: None,
        project: None,
        accepted_at: now,
    };
    let receipt = api.context.store.enqueue(enqueue, now).await?;
    tell_accepted(&api.context.events, &receipt, &kind);
    api.sessions.wake(receipt.session, &Effect::None).await;
    Ok((StatusCode::ACCEPTED, Json(receipt)))
}

/// Query of the listings.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    /// Only messages of this session: its id, or `agent:key`.
    session: Option<String>,
    /// Only messages in this state.
    #[cfg_attr(test, param(inline))]
    state: Option<MessageState>,
    /// Only messages after this id.
    after: Option<i64>,
    /// At most so many; 100 unless it is named. A page is 8 MiB at most.
    #[cfg_attr(test, param(minimum = 1, maximum = 1000))]
    limit: Option<u32>,
    /// Each with its history.
    #[serde(default)]
    attempts: bool,
}

/// Lists messages of all sessions, by their ids.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/messages", tag = "messages",
    params(ListParams),
    responses(
        (status = 200, description = "The messages.", body = MessageList),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
    ),
))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Params(params): Params<ListParams>,
) -> Result<Json<MessageList>, ApiError> {
    let session = find_session_of(&api, params.session.as_deref()).await?;
    let filter = MessageFilter {
        session,
        state: params.state,
        after: params.after.map(MessageId),
        limit: limit(params.limit, LIST_DEFAULT, LIST_MAX)?,
    };
    listed(&api, filter, params.attempts).await
}

/// Answer of the listings.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct MessageList {
    /// In the order of their acceptance.
    messages: Vec<Detailed>,
}

async fn listed(
    api: &Api,
    filter: MessageFilter,
    with_attempts: bool,
) -> Result<Json<MessageList>, ApiError> {
    let store = &api.context.store;
    let found = store.messages(filter).await?;
    let mut messages = Vec::with_capacity(found.len());
    for message in found {
        let attempts = match with_attempts {
            true => Some(store.attempts(message.id).await?),
            false => None,
        };
        messages.push(Detailed { message, attempts });
    }
    Ok(Json(MessageList { messages }))
}

/// Lists the messages of a session, by their ids.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/sessions/{session}/messages", tag = "messages",
    params(("session" = String, Path, description = "A session: its id, or `agent:key`", min_length = 1, max_length = 1100, example = "claude-code:1f0c"), ("state" = inline(Option<MessageState>), Query, description = "Only messages in this state"), ("after" = Option<i64>, Query, description = "Only messages after this id"), ("limit" = Option<u32>, Query, description = "At most so many; 100 unless it is named. A page is 8 MiB at most", minimum = 1, maximum = 1000), ("attempts" = Option<bool>, Query, description = "Each with its history")),
    responses(
        (status = 200, description = "The messages.", body = MessageList),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
    ),
))]
pub(super) async fn list_of_session(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
    Params(params): Params<ListParams>,
) -> Result<Json<MessageList>, ApiError> {
    if params.session.is_some() {
        return Err(ApiError::invalid_field(
            "session",
            "is named by the path already",
        ));
    }
    let filter = MessageFilter {
        session: Some(session.id),
        state: params.state,
        after: params.after.map(MessageId),
        limit: limit(params.limit, LIST_DEFAULT, LIST_MAX)?,
    };
    listed(&api, filter, params.attempts).await
}

/// A message with its history.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = MessageShown))]
pub(super) struct Detailed {
    #[serde(flatten)]
    message: Message,
    /// How its claims ended that were not confirmed, and its redrives, oldest first. A listing has
    /// it only when it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<Vec<Attempt>>,
}

/// Shows a message with its history.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/messages/{message}", tag = "messages",
    params(("message" = i64, Path, description = "A message's id", example = 42)),
    responses(
        (status = 200, description = "The message.", body = Detailed),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownMessage),
    ),
))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    MessagePath(id): MessagePath,
) -> Result<Json<Detailed>, ApiError> {
    let store = &api.context.store;
    let Some(message) = store.message(id).await? else {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "unknown_message",
            format!("message {id} does not exist"),
        ));
    };
    let attempts = Some(store.attempts(id).await?);
    Ok(Json(Detailed { message, attempts }))
}

/// Cancels a message that is pending or in work.
#[cfg_attr(test, utoipa::path(
    delete, path = "/v1/messages/{message}", tag = "messages",
    params(("message" = i64, Path, description = "A message's id", example = 42)),
    responses(
        (status = 200, description = "The message as it was cancelled.", body = Message),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownMessage),
        (status = 409, response = WrongState),
    ),
))]
pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    MessagePath(id): MessagePath,
) -> Result<Json<Message>, ApiError> {
    let message = api
        .context
        .store
        .cancel(id, api.context.clock.now())
        .await?;
    let cancelled = Event::MessageCancelled { message: id };
    api.context.events.emit(Some(message.session), cancelled);
    api.sessions.cancelled(&message).await;
    Ok(Json(message))
}

/// Cancels the whole backlog of a session.
#[cfg_attr(test, utoipa::path(
    delete, path = "/v1/sessions/{session}/messages", tag = "messages",
    params(("session" = String, Path, description = "A session: its id, or `agent:key`", min_length = 1, max_length = 1100, example = "claude-code:1f0c")),
    responses(
        (status = 200, description = "How many were cancelled.", body = CancelledBacklog),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
    ),
))]
pub(super) async fn cancel_of_session(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
    _: NoBody,
) -> Result<Json<CancelledBacklog>, ApiError> {
    let store = &api.context.store;
    let now = api.context.clock.now();
    let cancelled = store.cancel_session(session.id, now).await?;
    if cancelled.messages > 0 {
        let messages = cancelled.messages;
        let told = Event::BacklogCancelled { messages };
        api.context.events.emit(Some(session.id), told);
    }
    // Its run hears of the one in its hands; if it had none, it looks at what is left.
    let claimed = match cancelled.claimed {
        Some(id) => store.message(id).await?,
        None => None,
    };
    match claimed {
        Some(message) => api.sessions.cancelled(&message).await,
        None if cancelled.messages > 0 => api.sessions.wake(session.id, &Effect::None).await,
        None => {}
    }
    Ok(Json(cancelled))
}

/// Makes a dead message pending again.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/messages/{message}/redrive", tag = "messages",
    params(("message" = i64, Path, description = "A message's id", example = 42)),
    responses(
        (status = 200, description = "It is pending again.", body = Redriven),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownMessage),
        (status = 409, response = WrongState),
        (status = 429, response = Full),
    ),
))]
pub(super) async fn redrive(
    State(api): State<Arc<Api>>,
    MessagePath(id): MessagePath,
    _: NoBody,
) -> Result<Json<Redriven>, ApiError> {
    let redriven = api
        .context
        .store
        .redrive(id, api.context.clock.now())
        .await?;
    tell_redriven(&api, &redriven);
    api.sessions.wake(redriven.session, &Effect::None).await;
    Ok(Json(redriven))
}

fn tell_redriven(api: &Api, redriven: &Redriven) {
    let told = Event::MessageRedriven {
        message: redriven.message,
        kept_place: redriven.kept_place,
    };
    api.context.events.emit(Some(redriven.session), told);
}

/// Answer of `POST /v1/dead/redrive`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct RedrivenList {
    /// Those that are pending again.
    redriven: Vec<Redriven>,
}

/// Answer of a purge of dead messages.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(example = json!({"purged": 3})))]
pub(super) struct PurgedMessages {
    /// How many are gone.
    purged: u64,
}

/// Query of `POST /v1/dead/redrive` and `DELETE /v1/dead`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct DeadParams {
    /// Only messages of this session: its id, or `agent:key`.
    session: Option<String>,
}

/// Makes dead messages pending again, as many as there is room for.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/dead/redrive", tag = "messages",
    params(DeadParams),
    responses(
        (status = 200, description = "They are pending again.", body = RedrivenList),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
    ),
))]
pub(super) async fn redrive_all(
    State(api): State<Arc<Api>>,
    Params(params): Params<DeadParams>,
    _: NoBody,
) -> Result<Json<RedrivenList>, ApiError> {
    let session = find_session_of(&api, params.session.as_deref()).await?;
    let redriven = api
        .context
        .store
        .redrive_all(session, api.context.clock.now())
        .await?;
    for message in &redriven {
        tell_redriven(&api, message);
        api.sessions.wake(message.session, &Effect::None).await;
    }
    Ok(Json(RedrivenList { redriven }))
}

/// Purges one dead message.
#[cfg_attr(test, utoipa::path(
    delete, path = "/v1/dead/{message}", tag = "messages",
    params(("message" = i64, Path, description = "A message's id", example = 42)),
    responses(
        (status = 200, description = "It is gone.", body = PurgedMessages),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownMessage),
        (status = 409, response = WrongState),
    ),
))]
pub(super) async fn purge(
    State(api): State<Arc<Api>>,
    MessagePath(id): MessagePath,
) -> Result<Json<PurgedMessages>, ApiError> {
    api.context.store.purge_message(id).await?;
    tell_purged(&api, None, 1);
    Ok(Json(PurgedMessages { purged: 1 }))
}

/// Purges the dead messages of one session, or all there are.
#[cfg_attr(test, utoipa::path(
    delete, path = "/v1/dead", tag = "messages",
    params(DeadParams),
    responses(
        (status = 200, description = "They are gone.", body = PurgedMessages),
        (status = 400, response = InvalidRequest),
        (status = 404, response = UnknownSession),
    ),
))]
pub(super) async fn purge_all(
    State(api): State<Arc<Api>>,
    Params(params): Params<DeadParams>,
    _: NoBody,
) -> Result<Json<PurgedMessages>, ApiError> {
    let session = find_session_of(&api, params.session.as_deref()).await?;
    let mut messages = 0;
    loop {
        // A batch at a time: others have their turn in between.
        let purged = api.context.store.purge_dead(session).await?;
        messages += purged.messages;
        if !purged.more {
            tell_purged(&api, session, messages);
            return Ok(Json(PurgedMessages { purged: messages }));
        }
    }
}

fn tell_purged(api: &Api, session: Option<SessionId>, messages: u64) {
    if messages > 0 {
        api.context
            .events
            .emit(session, Event::DeadPurged { messages });
    }
}
