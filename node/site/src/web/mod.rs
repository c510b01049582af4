//! HTTP: pages for people without JavaScript, JSON for programs, and what every answer carries.
//!
//! Both call the same functions of the site; nothing is decided here but how an answer looks.

mod api;
mod form;
mod look;
mod pages;
mod parts;
#[cfg(test)]
mod tests;
mod visitor;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use tokio::time::timeout;

use crate::refusal::Refusal;
use crate::site::Site;

/// Bytes of a body at most, where nothing else is said.
const BODY_MAX: usize = 32 * 1024;

/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// What answers every request.
pub(crate) fn router(site: Arc<Site>) -> Router {
    let pages = pages::router().layer(from_fn(visitor::visit)).layer(from_fn(in_time::<pages::Failed>));
    Router::new()
        .merge(api::router().layer(from_fn(in_time::<api::Failed>)))
        .merge(pages.fallback(pages::missing))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn(protect))
        .with_state(site)
}

/// What answers the calls of nodes that come through the public overlay: what nodes ask, and nothing that people do. With
/// passwords goes a limit of tries for each place, and a place in the overlay costs nothing.
pub(crate) fn calls(site: Arc<Site>) -> Router {
    api::calls()
        .layer(from_fn(in_time::<api::Failed>))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn(protect))
        .with_state(site)
}

/// Whoever waits for too long is told so, in the form that fits.
async fn in_time<F: From<Refusal> + IntoResponse>(request: Request, next: Next) -> Response {
    let late = |_| F::from(Refusal::Late).into_response();
    timeout(ANSWER_WAIT, next.run(request)).await.unwrap_or_else(late)
}

/// No script at all, nothing of other sites, no frames, no caches.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; \
         base-uri 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

async fn protect(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    uncached(headers);
    response
}

fn uncached(headers: &mut HeaderMap) {
    let is_said = headers.contains_key(header::CACHE_CONTROL);
    if !is_said {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
