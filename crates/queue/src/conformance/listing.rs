//! Behaviour of listings and counters.

use futures::future::join_all;

use super::bench::{AGENT, Bench, NOW, confirm_of, event, result};
use crate::ids::{MessageId, ResultId, SessionId, Timestamp};
use crate::limits::LIST_MAX;
use crate::types::{
    CloseDepth, Confirm, Depth, Enqueue, Life, LifeCounts, MessageFilter, ResultFilter,
    SessionFilter, State,
};

/// The last one to do something comes first; of equals, the newer one.
pub async fn sessions_are_listed_by_activity(q: &Bench) {
    let mut ids = Vec::new();
    for key in ["a", "b", "c"] {
        ids.push(q.put(event(key)).await.session);
    }
    let claim = q.claim(ids[0]).await;
    let later = Timestamp(NOW.0 + 1);
    let confirmed = q.store.confirm(confirm_of(&claim), later).await;
    confirmed.expect("the claim is confirmed");
    assert_eq!(
        sessions(q, SessionFilter::default()).await,
        [ids[0], ids[2], ids[1]]
    );
    let first = SessionFilter {
        limit: 1,
        ..SessionFilter::default()
    };
    assert_eq!(sessions(q, first).await, [ids[0]]);
}

async fn sessions(q: &Bench, filter: SessionFilter) -> Vec<SessionId> {
    let found = q
        .store
        .sessions(filter)
        .await
        .expect("the sessions are listed");
    found.iter().map(|session| session.id).collect()
}

/// By agent, project and life, alone and together.
pub async fn sessions_are_filtered(q: &Bench) {
    let of_project = |key: &str| Enqueue {
        project: Some("/p".to_owned()),
        ..event(key)
    };
    let a = q.put(of_project("a")).await.session;
    let b = q.put(of_project("b")).await.session;
    let c = q.put(event("c")).await.session;
    q.store
        .mark_closing(b, CloseDepth::Close, false, NOW)
        .await
        .expect("b is marked");
    let filter = |agent: &str, project: Option<&str>, life| SessionFilter {
        agent: Some(agent.to_owned()),
        project: project.map(str::to_owned),
        life,
        limit: 0,
    };
    assert_eq!(sessions(q, filter(AGENT, None, None)).await, [c, b, a]);
    assert_eq!(sessions(q, filter("nobody", None, None)).await, []);
    assert_eq!(sessions(q, filter(AGENT, Some("/p"), None)).await, [b, a]);
    assert_eq!(
        sessions(q, filter(AGENT, Some("/p"), Some(Life::Open))).await,
        [a]
    );
    assert_eq!(
        sessions(q, filter(AGENT, None, Some(Life::Ended))).await,
        []
    );
}

/// More than any listing has; who does not exist is left out.
pub async fn sessions_are_read_by_id_in_the_order_asked(q: &Bench) {
    let keys: Vec<_> = (0..=LIST_MAX).map(|number| number.to_string()).collect();
    let mut wanted = join_all(keys.iter().map(|key| q.open(key))).await;
    wanted.sort_unstable_by(|one, other| other.key.cmp(&one.key));
    let mut ids: Vec<_> = wanted.iter().map(|session| session.id).collect();
    ids.insert(1, SessionId::mint());
    let found = q.store.sessions_by_id(&ids).await;
    assert!(found.expect("they are read") == wanted);
    let none = q.store.sessions_by_id(&[]).await;
    assert_eq!(none.expect("they are read"), []);
}

/// By session, state and place in the whole; oldest first.
pub async fn messages_are_paged_and_filtered(q: &Bench) {
    let a = q.fill("a", 3).await[0].session;
    q.fill("b", 1).await;
    q.poison(a).await;
    let list = async |filter: MessageFilter| {
        let found = q
            .store
            .messages(filter)
            .await
            .expect("the messages are listed");
        found.iter().map(|message| message.id.0).collect::<Vec<_>>()
    };
    let any = MessageFilter::default;
    let of_a = || MessageFilter {
        session: Some(a),
        ..any()
    };
    assert_eq!(list(any()).await, [1, 2, 3, 4]);
    assert_eq!(list(of_a()).await, [1, 2, 3]);
    for (state, wanted) in [
        (State::Dead, vec![1]),
        (State::Pending, vec![2, 3]),
        (State::Done, vec![]),
    ] {
        let filter = MessageFilter {
            state: Some(state),
            ..of_a()
        };
        assert_eq!(list(filter).await, wanted);
    }
    let page = MessageFilter {
        after: Some(MessageId(1)),
        limit: 2,
        ..any()
    };
    assert_eq!(list(page).await, [2, 3]);
}

/// By session, project, kind and watermark, either way round.
pub async fn results_are_paged_and_filtered(q: &Bench) {
    let a = Enqueue {
        project: Some("/p".to_owned()),
        ..event("a")
    };
    let a = q.put(a).await.session;
    let b = q.put(event("b")).await.session;
    for session in [a, b] {
        let claim = q.claim(session).await;
        let confirm = Confirm {
            results: vec![result("observation"), result("summary")],
            ..confirm_of(&claim)
        };
        q.store
            .confirm(confirm, NOW)
            .await
            .expect("the claim is confirmed");
    }
    let list = async |filter: ResultFilter| {
        let found = q
            .store
            .results(filter)
            .await
            .expect("the results are listed");
        found.iter().map(|result| result.id.0).collect::<Vec<_>>()
    };
    let any = ResultFilter::default;
    assert_eq!(list(any()).await, [1, 2, 3, 4]);
    let of_b = ResultFilter {
        session: Some(b),
        ..any()
    };
    assert_eq!(list(of_b).await, [3, 4]);
    let newest_of_project = ResultFilter {
        project: Some("/p".to_owned()),
        newest_first: true,
        ..any()
    };
    assert_eq!(list(newest_of_project).await, [2, 1]);
    let summaries = ResultFilter {
        kind: Some("summary".to_owned()),
        ..any()
    };
    assert_eq!(list(summaries).await, [2, 4]);
    let page = ResultFilter {
        after: Some(ResultId(1)),
        limit: 2,
        ..any()
    };
    assert_eq!(list(page).await, [2, 3]);
}

/// Each message and each session is counted where it is.
pub async fn stats_count_every_state(q: &Bench) {
    let a = q.fill("a", 4).await[0].session;
    let early = Enqueue {
        accepted_at: Timestamp(3),
        ..event("b")
    };
    let b = q.put(early).await;
    q.work(a).await;
    q.poison(a).await;
    q.claim(a).await;
    let closing = q.open("c").await.id;
    q.store
        .mark_closing(closing, CloseDepth::Close, false, NOW)
        .await
        .expect("c is marked");
    let stats = async || q.store.stats().await.expect("stats are read");
    assert_eq!(stats().await.oldest_pending_at, Some(Timestamp(3)));
    q.store
        .cancel(b.message, NOW)
        .await
        .expect("the message is cancelled");
    let stats = stats().await;
    let depth = Depth {
        pending: 1,
        claimed: 1,
        done: 1,
        dead: 1,
        cancelled: 1,
    };
    assert_eq!(stats.depth, depth);
    assert_eq!((stats.accepted, stats.results, stats.duplicates), (5, 1, 0));
    assert_eq!(stats.oldest_pending_at, Some(NOW));
    let lives = LifeCounts {
        open: 2,
        closing: 1,
        ended: 0,
    };
    assert_eq!(stats.sessions, lives);
}
