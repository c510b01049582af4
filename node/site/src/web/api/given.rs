//! Lists that members give back: the only bodies that may be long.

use std::sync::Arc;

use atoll_core::security::{LIST_MAX, NOTICE_MAX};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use hyper::header::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::task::spawn;

use super::enrolment::proof;
use super::{Origin, Path, Told};
use crate::limits::{Turn, Turns};
use crate::refusal::Refusal;
use crate::revocation::{GIVEN_NOTICES_MAX, Given};
use crate::site::Site;

/// Bytes of a body at most of which there may be any number at once.
const SHORT: usize = 64 * 1024;
/// Bytes of a body at most: as JSON a line's end takes two letters, and in Base64 three bytes take four.
const MOST: usize = 2 * (LIST_MAX + GIVEN_NOTICES_MAX * NOTICE_MAX);

#[derive(Deserialize)]
struct GivenBack {
    text: String,
    signature: String,
    /// Of revocations after it, in Base64.
    #[serde(default)]
    notices: Vec<String>,
}

impl GivenBack {
    fn read(bytes: &[u8]) -> Result<Given, Refusal> {
        let Self { text, signature, notices } =
            serde_json::from_slice(bytes).map_err(|_| Refusal::Malformed)?;
        let decode = |text: &String| STANDARD.decode(text).map_err(|_| Refusal::Malformed);
        let notices = notices.iter().map(decode).collect::<Result<_, _>>()?;
        Ok(Given { text, signature: decode(&signature)?, notices })
    }
}

#[derive(Serialize)]
pub(super) struct Taken {
    /// Whether the site did not know all of it.
    new: bool,
}

/// A list may be long: it is read only after its bringer has shown that it knows the group's secret, which those know as well who
/// were revoked.
pub(super) async fn give_back(
    State(site): State<Arc<Site>>,
    Path(group): Path<String>,
    Origin(from): Origin,
    headers: HeaderMap,
    body: Body,
) -> Told<Taken> {
    let proof = proof(&headers)?.to_owned();
    site.check_reader(&group, &proof, from).await?;
    let Read { bytes, turn } = read(body, (&site.turns, &group)).await?;
    // What came whole is taken to its end, and so long nobody else has the turn, also if its bringer goes.
    let taken = spawn(async move {
        let given = GivenBack::read(&bytes)?;
        drop(bytes);
        let taken = site.give_back(&group, &proof, given).await;
        drop(turn);
        taken
    });
    Ok(Json(Taken { new: taken.await.unwrap_or(Err(Refusal::Broken))? }))
}

/// A body, and the turn that a long one has.
struct Read {
    bytes: Bytes,
    turn: Option<Turn>,
}

/// Long bodies have to have a turn before more of them is read.
async fn read(mut body: Body, (turns, group): (&Arc<Turns>, &str)) -> Result<Read, Refusal> {
    let (mut bytes, mut turn) = (Vec::new(), None);
    let mut take_turn = |length: u64| match usize::try_from(length) {
        Ok(0..=SHORT) => Ok(()),
        Ok(length) if length <= MOST => {
            if turn.is_none() {
                turn = Some(turns.take(group).ok_or(Refusal::Busy)?);
            }
            Ok(())
        }
        _ => Err(Refusal::TooLong),
    };
    take_turn(body.size_hint().lower())?;
    while let Some(part) = body.frame().await {
        let Ok(piece) = part.map_err(|_| Refusal::Malformed)?.into_data() else { continue };
        take_turn(bytes.len() as u64 + piece.len() as u64)?;
        bytes.extend_from_slice(&piece);
    }
    Ok(Read { bytes: bytes.into(), turn })
}
