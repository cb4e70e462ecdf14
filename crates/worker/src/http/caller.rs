//! Who makes a request, and what may be shown to whom.

use std::path::Path;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use sessiond_queue::ids::SessionId;

use super::ApiError;
use super::access::forbidden;
use crate::agents::Projects;
use crate::clients::{Clients, Scope};

/// Who makes a request. The guard puts it into the request's extensions; handlers take it as an
/// argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The user whose worker this is: over the unix socket, or by the worker's own token.
    Owner,
    /// The bearer of a client's token.
    Client(Scope),
}

/// What is asked for, by session and by project; both must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Only of this session.
    pub session: Option<SessionId>,
    /// Only of this project.
    pub project: Option<String>,
}

impl Caller {
    /// Whether the caller is still one: a client may go while it is being answered.
    pub(super) fn is_known(&self, clients: &Clients) -> bool {
        match self {
            Self::Owner => true,
            Self::Client(scope) => clients.get(scope.client).is_some(),
        }
    }

    /// A directory that is named, if the caller reaches it: a client's lies in its project or in a
    /// worktree of it, by its real path, and whether there is another is not told.
    pub(super) async fn directory(&self, named: String) -> Result<String, ApiError> {
        let Self::Client(scope) = self else {
            return Ok(named);
        };
        let project = scope.project.clone().ok_or_else(forbidden)?;
        let find = move || {
            let project = Path::new(&*project).canonicalize().ok()?;
            let found = Path::new(&named).canonicalize().ok()?;
            let named = found.to_str()?.to_owned();
            let is_within = |dir: &Path| dir.starts_with(&project);
            let reaches =
                is_within(&found) || is_within(Path::new(&Projects::default().of(&named)));
            reaches.then_some(named)
        };
        let found = tokio::task::spawn_blocking(find).await;
        found.ok().flatten().ok_or_else(forbidden)
    }

    /// What is asked for, as far as it may be shown. Whoever asks for all of it gets what is its own:
    /// its project, or its session when it has no project. What is foreign and named is refused.
    pub fn narrow(&self, asked: Reach) -> Result<Reach, ApiError> {
        let Self::Client(scope) = self else {
            return Ok(asked);
        };
        if asked.session.is_some() && asked.session == scope.session {
            return Ok(asked);
        }
        match (&scope.project, scope.session) {
            (Some(own), _) => {
                let own: &str = own;
                let is_foreign = asked
                    .project
                    .as_deref()
                    .is_some_and(|project| project != own);
                if is_foreign {
                    return Err(forbidden());
                }
                // Another session is shown as far as it is of the same project.
                let project = Some(own.to_owned());
                Ok(Reach { project, ..asked })
            }
            (None, Some(own)) if asked == Reach::default() => Ok(Reach {
                session: Some(own),
                project: None,
            }),
            (None, _) => Err(forbidden()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Who did not come through the guard is nobody.
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(forbidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::ClientId;

    fn client(session: Option<SessionId>, project: Option<&str>) -> Caller {
        Caller::Client(Scope {
            client: ClientId::mint(),
            session,
            project: project.map(Into::into),
        })
    }

    fn reach(session: Option<SessionId>, project: Option<&str>) -> Reach {
        Reach {
            session,
            project: project.map(str::to_owned),
        }
    }

    #[test]
    fn caller_is_shown_what_is_its_own_and_nothing_else() {
        let (own, other) = (Some(SessionId::mint()), Some(SessionId::mint()));
        let check = |caller: &Caller, asked: Reach, shown: Option<Reach>| {
            assert_eq!(
                caller.narrow(asked.clone()).ok(),
                shown,
                "{caller:?} {asked:?}"
            );
        };
        let all = || reach(None, None);
        check(
            &Caller::Owner,
            reach(other, Some("/q")),
            Some(reach(other, Some("/q"))),
        );

        let both = client(own, Some("/p"));
        check(&both, all(), Some(reach(None, Some("/p"))));
        check(&both, reach(own, None), Some(reach(own, None)));
        check(&both, reach(other, None), Some(reach(other, Some("/p"))));
        check(
            &both,
            reach(None, Some("/p")),
            Some(reach(None, Some("/p"))),
        );
        check(&both, reach(None, Some("/q")), None);
        check(&both, reach(other, Some("/q")), None);

        let session = client(own, None);
        check(&session, all(), Some(reach(own, None)));
        check(&session, reach(other, None), None);
        check(&session, reach(None, Some("/p")), None);

        check(&client(None, None), all(), None);
        check(&client(None, None), reach(other, None), None);
    }
}
