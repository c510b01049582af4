//! What nodes ask: certificates, the revocation lists of their groups, and the file of a link.

use std::sync::Arc;

use atoll_core::security::{LIST_MAX, NOTICE_MAX};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Json, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH};
use serde::{Deserialize, Serialize};

use super::{Failed, Operation, Origin, Path, READER, Sent, Told, operation};
use crate::enrolment::{Enrol, Enrolled};
use crate::refusal::Refusal;
use crate::revocation::{GIVEN_NOTICES_MAX, Given};
use crate::site::Site;
use crate::token::Token;

#[derive(Deserialize)]
struct GivenBack {
    text: String,
    signature: String,
    /// Of revocations after it, in Base64.
    #[serde(default)]
    notices: Vec<String>,
}

/// Of a link.
#[derive(Deserialize)]
struct Shown {
    token: String,
}

#[derive(Serialize)]
struct Taken {
    /// Whether the site did not know all of it.
    new: bool,
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

fn proof(headers: &HeaderMap) -> Result<&str, Refusal> {
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

/// A list may be long: it is read only after its bringer has shown that it knows the group's secret.
async fn give_back(
    State(site): State<Arc<Site>>,
    Path(group): Path<String>,
    Origin(from): Origin,
    headers: HeaderMap,
    body: Body,
) -> Told<Taken> {
    let proof = proof(&headers)?;
    site.check_reader(&group, proof, from).await?;
    // As JSON a line's end takes two letters, and in Base64 three bytes take four.
    let most = 2 * (LIST_MAX + GIVEN_NOTICES_MAX * NOTICE_MAX);
    let bytes = axum::body::to_bytes(body, most).await.map_err(|_| Refusal::TooLong)?;
    let given: GivenBack = serde_json::from_slice(&bytes).map_err(|_| Refusal::Malformed)?;
    let signature = STANDARD.decode(given.signature).map_err(|_| Refusal::Malformed)?;
    let notices: Result<Vec<Vec<u8>>, _> = given.notices.iter().map(|one| STANDARD.decode(one)).collect();
    let notices = notices.map_err(|_| Refusal::Malformed)?;
    let given = Given { text: given.text, signature, notices };
    Ok(Json(Taken { new: site.give_back(&group, proof, given).await? }))
}
