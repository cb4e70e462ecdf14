//! `/v1/messages`, `/v1/sessions/{session}/messages`, `/v1/dead`: enqueue, list, cancel, redrive,
//! purge.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sessiond_queue::ids::{EventId, MessageId, SessionId};
use sessiond_queue::types::{
    Attempt, CancelledBacklog, Dedup, Effect, Enqueue, Message, MessageFilter, Receipt, Redriven,
    SessionRef, State as MessageState,
};

use super::extract::{Body, MessagePath, Params, SessionPath, find_session_of};
use super::{Api, ApiError};
use crate::accept::tell_accepted;
use crate::events::Event;

/// Body of `POST /v1/sessions/{session}/messages`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnqueueBody {
    kind: String,
    payload: Box<RawValue>,
    dedup_key: Option<String>,
    agent_id: Option<String>,
    /// Repeated on a retry, so that the message is stored once.
    event_id: Option<EventId>,
}

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
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    session: Option<String>,
    state: Option<MessageState>,
    after: Option<i64>,
    #[serde(default)]
    limit: u32,
    /// Each with its history.
    #[serde(default)]
    attempts: bool,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Params(params): Params<ListParams>,
) -> Result<Json<Value>, ApiError> {
    let session = find_session_of(&api, params.session.as_deref()).await?;
    let filter = MessageFilter {
        session,
        state: params.state,
        after: params.after.map(MessageId),
        limit: params.limit,
    };
    listed(&api, filter, params.attempts).await
}

async fn listed(api: &Api, filter: MessageFilter, attempts: bool) -> Result<Json<Value>, ApiError> {
    let store = &api.context.store;
    let messages = store.messages(filter).await?;
    if !attempts {
        return Ok(Json(json!({ "messages": messages })));
    }
    let mut detailed = Vec::with_capacity(messages.len());
    for message in messages {
        let attempts = store.attempts(message.id).await?;
        detailed.push(Detailed { message, attempts });
    }
    Ok(Json(json!({ "messages": detailed })))
}

pub(super) async fn list_of_session(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
    Params(params): Params<ListParams>,
) -> Result<Json<Value>, ApiError> {
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
        limit: params.limit,
    };
    listed(&api, filter, params.attempts).await
}

/// A message with its history.
#[derive(Debug, Serialize)]
pub(super) struct Detailed {
    #[serde(flatten)]
    message: Message,
    /// How its claims ended that were not confirmed, and its redrives, oldest first.
    attempts: Vec<Attempt>,
}

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
    let attempts = store.attempts(id).await?;
    Ok(Json(Detailed { message, attempts }))
}

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
pub(super) async fn cancel_of_session(
    State(api): State<Arc<Api>>,
    SessionPath(session): SessionPath,
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

pub(super) async fn redrive(
    State(api): State<Arc<Api>>,
    MessagePath(id): MessagePath,
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

/// Query of `POST /v1/dead/redrive` and `DELETE /v1/dead`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadParams {
    session: Option<String>,
}

pub(super) async fn redrive_all(
    State(api): State<Arc<Api>>,
    Params(params): Params<DeadParams>,
) -> Result<Json<Value>, ApiError> {
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
    Ok(Json(json!({ "redriven": redriven })))
}

/// Purges one dead message.
pub(super) async fn purge(
    State(api): State<Arc<Api>>,
    MessagePath(id): MessagePath,
) -> Result<Json<Value>, ApiError> {
    api.context.store.purge_message(id).await?;
    tell_purged(&api, None, 1);
    Ok(Json(json!({ "purged": 1 })))
}

/// Purges those of one session, or all there are.
pub(super) async fn purge_all(
    State(api): State<Arc<Api>>,
    Params(params): Params<DeadParams>,
) -> Result<Json<Value>, ApiError> {
    let session = find_session_of(&api, params.session.as_deref()).await?;
    let mut messages = 0;
    loop {
        // A batch at a time: others have their turn in between.
        let purged = api.context.store.purge_dead(session).await?;
        messages += purged.messages;
        if !purged.more {
            tell_purged(&api, session, messages);
            return Ok(Json(json!({ "purged": messages })));
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
