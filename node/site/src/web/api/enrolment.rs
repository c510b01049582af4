//! What nodes ask: certificates, the revocation lists of their groups, and the file of a link.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Json, Response};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH};
use serde::Deserialize;

use super::given::give_back;
use super::{Failed, Operation, Origin, Path, READER, Sent, operation};
use crate::enrolment::{Enrol, Enrolled};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::token::Token;

/// Of a link.
#[derive(Deserialize)]
struct Shown {
    token: String,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        operation("post", "/api/v1/enrol", enrol),
        operation("get", "/api/v1/groups/{group}/revocations", list),
        operation("post", "/api/v1/groups/{group}/revocations", give_back),
        operation("post", "/api/v1/links", redeem),
    ]
}

async fn redeem(State(site): State<Arc<Site>>, Sent(shown): Sent<Shown>) -> Result<Response, Failed> {
    let token = Token::read(&shown.token).ok_or(Refusal::Ended)?;
    let file = site.redeem(&token).await?;
    Ok(([(CONTENT_TYPE, "application/yaml")], file.text()?).into_response())
}

async fn enrol(
    State(site): State<Arc<Site>>,
    Origin(from): Origin,
    Sent(ask): Sent<Enrol>,
) -> Result<Response, Failed> {
    let answer = site.enrol(ask, from).await?;
    let status = match answer {
        Enrolled::Issued { .. } => StatusCode::OK,
        Enrolled::Waiting { .. } => StatusCode::ACCEPTED,
    };
    Ok((status, Json(answer)).into_response())
}

pub(super) fn proof(headers: &HeaderMap) -> Result<&str, Refusal> {
    headers.get(READER).and_then(|value| value.to_str().ok()).ok_or(Refusal::Forged)
}

async fn list(
    State(site): State<Arc<Site>>,
    Path(group): Path<String>,
    Origin(from): Origin,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let known = headers.get(IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
    let newest = site.list(&group, proof(&headers)?, from, known).await?;
    let tagged = [(ETAG, newest.tag)];
    Ok(match newest.list {
        Some(list) => (tagged, Json(list)).into_response(),
        None => (StatusCode::NOT_MODIFIED, tagged).into_response(),
    })
}
