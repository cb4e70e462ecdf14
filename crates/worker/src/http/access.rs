//! Which routes the bearer of a client's token may use. A route is registered with its class or not
//! at all, so that none is forgotten; what has no class is the owner's alone.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::routing::{MethodFilter, on};
use sessiond_queue::types::Session;

use super::extract::find_session;
use super::{Api, ApiError};
use crate::clients::{ClientId, Scope};

/// Who may use a route besides the owner, who may use all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without a token: it tells nothing that the open port does not.
    Open,
    /// Nobody else.
    Owner,
    /// Every client; the answer is about itself.
    Client,
    /// The client that `{client}` in the path names.
    Itself,
    /// The client whose session `{session}` in the path names.
    OwnSession,
    /// Likewise, and every client of that session's project.
    OwnProject,
    /// Every client; the handler shows it what is its own (`Caller::narrow`).
    Narrowed,
}

/// The class of each route.
#[derive(Clone, Debug, Default)]
pub struct Table(HashMap<(Method, &'static str), Access>);

impl Table {
    /// The class of a route; what is not in the table is the owner's.
    pub(super) fn access(&self, method: &Method, path: &str) -> Access {
        // A GET's handler answers HEAD too.
        let method = match *method {
            Method::HEAD => Method::GET,
            ref method => method.clone(),
        };
        // The paths of the keys live as long as the program; that of the request need not.
        let found = self
            .0
            .iter()
            .find(|((known, at), _)| *known == method && *at == path);
        found.map_or(Access::Owner, |(_, access)| *access)
    }

    /// Every route with its class, in the order of paths.
    pub fn routes(&self) -> Vec<(Method, &'static str, Access)> {
        let routes = self.0.iter();
        let mut routes: Vec<_> = routes
            .map(|((method, path), access)| (method.clone(), *path, *access))
            .collect();
        routes.sort_by_key(|(method, path, _)| (*path, method.to_string()));
        routes
    }
}

/// Routes with their classes.
#[derive(Default)]
pub(super) struct Routes {
    router: Router<Arc<Api>>,
    table: Table,
}

/// A handler with what it takes from the request.
macro_rules! methods {
    ($($name:ident $method:ident),*) => {
        $(
            pub(super) fn $name<H, T>(self, path: &'static str, access: Access, handler: H) -> Self
            where
                H: Handler<T, Arc<Api>>,
                T: 'static,
            {
                self.on(MethodFilter::$method, Method::$method, path, access, handler)
            }
        )*
    };
}

impl Routes {
    methods!(get GET, post POST, patch PATCH, delete DELETE);

    fn on<H, T>(
        mut self,
        filter: MethodFilter,
        method: Method,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        self.router = self.router.route(path, on(filter, handler));
        self.table.0.insert((method, path), access);
        self
    }

    /// Bounds the bodies of the routes that are there already.
    pub(super) fn with_body_max(mut self, bytes: usize) -> Self {
        self.router = self.router.layer(DefaultBodyLimit::max(bytes));
        self
    }

    pub(super) fn merge(mut self, others: Self) -> Self {
        self.router = self.router.merge(others.router);
        self.table.0.extend(others.table.0);
        self
    }

    pub(super) fn into_parts(self) -> (Router<Arc<Api>>, Table) {
        (self.router, self.table)
    }
}

/// Whether a client may use a route of this class with these parameters in its path.
pub(super) async fn check(
    api: &Api,
    scope: &Scope,
    access: Access,
    param: impl Fn(&str) -> Option<String>,
) -> Result<(), ApiError> {
    let is_allowed = match access {
        Access::Open | Access::Client | Access::Narrowed => true,
        Access::Owner => false,
        Access::Itself => {
            let named = param("client").and_then(|id| id.parse::<ClientId>().ok());
            named == Some(scope.client)
        }
        Access::OwnSession | Access::OwnProject => {
            let name = param("session").unwrap_or_default();
            // Nor is it told whether there is such a session.
            let session = find_session(api, &name).await.ok();
            session.is_some_and(|session| reaches(scope, access, &session))
        }
    };
    is_allowed.then_some(()).ok_or_else(forbidden)
}

pub(super) fn reaches(scope: &Scope, access: Access, session: &Session) -> bool {
    let is_own = scope.session == Some(session.id);
    let is_of_project =
        session.project.is_some() && session.project.as_deref() == scope.project.as_deref();
    is_own || (access == Access::OwnProject && is_of_project)
}

/// What a client is told of everything that is not its own.
pub(super) fn forbidden() -> ApiError {
    let message = "the client's token does not reach this";
    ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)
}
