//! JSON for programs, beside every page action. `openapi.yaml` describes it; a test holds the two against each other.
//!
//! A program shows the token of its log-in in `Authorization: Bearer`. No cookie counts here, so no other site's page can
//! make a browser do anything.

mod accounts;
mod enrolment;
mod given;
mod groups;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::handler::Handler;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{MethodFilter, MethodRouter, any, on};
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::accounts::Account;
use crate::limits::Remote;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::token::Token;
use crate::web::parts::parts;

/// The description of all this.
pub(super) const DESCRIPTION: &str = include_str!("../../../openapi.yaml");
/// Proves that a node knows its group's secret.
pub(super) const READER: HeaderName = HeaderName::from_static("atoll-reader");

/// A refusal as JSON.
#[derive(Debug)]
pub(super) struct Failed(Refusal);

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

#[derive(Serialize)]
struct Reason {
    reason: &'static str,
    message: String,
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Self(refusal) = self;
        let reason = Reason { reason: refusal.code(), message: refusal.to_string() };
        let mut response = (refusal.status(), Json(reason)).into_response();
        let later = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
        if later.contains(&refusal.status()) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
        }
        response
    }
}

parts!();

type Told<T> = Result<Json<T>, Failed>;
/// Done, and nothing to say.
type Done = Result<StatusCode, Failed>;

fn done(result: Result<(), Refusal>) -> Done {
    Ok(result.map(|()| StatusCode::NO_CONTENT)?)
}

/// A body in JSON.
pub(super) struct Sent<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Failed;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failed> {
        let bytes =
            Bytes::from_request(request, state).await.map_err(|why| match why.into_response().status() {
                StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLong,
                _ => Refusal::Malformed,
            })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|_| Failed(Refusal::Malformed))
    }
}

/// The token that a program shows.
pub(super) struct Bearer(Token);

impl<S: Sync> FromRequestParts<S> for Bearer {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failed> {
        let said = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = said.and_then(|said| Token::read(said.strip_prefix("Bearer ")?));
        token.map(Self).ok_or(Failed(Refusal::NotLoggedIn))
    }
}

/// Who is logged in.
pub(super) struct Me(Account);

impl FromRequestParts<Arc<Site>> for Me {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, Failed> {
        let Bearer(token) = Bearer::from_request_parts(parts, site).await?;
        Ok(Self(site.who(&token).await?))
    }
}

/// Where a request comes from.
pub(super) struct Origin(Remote);

impl<S: Sync> FromRequestParts<S> for Origin {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failed> {
        parts.extensions.get::<Remote>().map(|remote| Self(*remote)).ok_or(Failed(Refusal::Broken))
    }
}

/// One operation: its method, its path and what answers it.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    router: MethodRouter<Arc<Site>>,
}

fn operation<H, T>(method: &'static str, path: &'static str, handler: H) -> Operation
where
    H: Handler<T, Arc<Site>>,
    T: 'static,
{
    let filter = match method {
        "get" => MethodFilter::GET,
        "put" => MethodFilter::PUT,
        "delete" => MethodFilter::DELETE,
        _ => MethodFilter::POST,
    };
    Operation { method, path, router: on(filter, handler) }
}

/// All of them.
pub(super) fn operations() -> Vec<Operation> {
    let mut all = vec![operation("get", "/api/v1/openapi.yaml", describe)];
    all.extend(accounts::operations());
    all.extend(groups::operations());
    all.extend(enrolment::operations());
    all
}

pub(super) fn router() -> Router<Arc<Site>> {
    let serve = |router: Router<Arc<Site>>, one: Operation| {
        tracing::trace!(method = one.method, path = one.path, "served");
        router.route(one.path, one.router)
    };
    operations()
        .into_iter()
        .fold(Router::new(), serve)
        .method_not_allowed_fallback(other_method)
        .route("/api/{*rest}", any(missing))
}

/// What nodes ask, and where the rest is.
pub(super) fn calls() -> Router<Arc<Site>> {
    let serve = |router: Router<Arc<Site>>, one: Operation| router.route(one.path, one.router);
    let router = enrolment::operations().into_iter().fold(Router::new(), serve);
    router.method_not_allowed_fallback(other_method).fallback(elsewhere)
}

async fn elsewhere(State(site): State<Arc<Site>>) -> Response {
    let url = site.url();
    let message =
        format!("through the overlay nodes enrol and bring lists home; pages and all else are at {url}");
    (StatusCode::MISDIRECTED_REQUEST, Json(Reason { reason: "elsewhere", message })).into_response()
}

async fn missing() -> Failed {
    Failed(Refusal::NotFound)
}

async fn other_method() -> Failed {
    Failed(Refusal::Method)
}

async fn describe() -> Response {
    ([(CONTENT_TYPE, "application/yaml")], DESCRIPTION).into_response()
}
