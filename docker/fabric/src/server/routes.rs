//! Which request goes where, and who may make it.

use std::sync::Arc;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::inside::{Question, ask};
use super::nodes::Absent;
use super::{Asker, Fabric, batch};
use crate::api::{Ask, BODY_MAX, NodeAnswer, Refusal};

/// What everyone is answered with.
pub(super) type Answer = Response<Full<Bytes>>;

/// Content type of Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4";
const JSON_TYPE: &str = "application/json";

/// A request that is not carried out.
struct Refused(StatusCode, String);

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self(StatusCode::CONFLICT, why)
    }
}

impl From<Absent> for Refused {
    fn from(absent: Absent) -> Self {
        let status = match absent {
            Absent::Unknown(_) => StatusCode::NOT_FOUND,
            Absent::Ended => StatusCode::CONFLICT,
        };
        Self(status, absent.to_string())
    }
}

pub(super) async fn answer(fabric: &Arc<Fabric>, asker: Asker, request: Request<Incoming>) -> Answer {
    match route(fabric, asker, request).await {
        Ok(answer) => answer,
        Err(Refused(status, error)) => json(status, &Refusal { error }),
    }
}

async fn route(fabric: &Arc<Fabric>, asker: Asker, request: Request<Incoming>) -> Result<Answer, Refused> {
    let path = request.uri().path().to_owned();
    match (request.method(), asker) {
        (&Method::GET, _) => read(fabric, &path).await,
        (&Method::POST, Asker::Lab) => order(fabric, &path, request).await,
        _ => Err(Refused(StatusCode::METHOD_NOT_ALLOWED, "here are only pages to read".to_owned())),
    }
}

async fn read(fabric: &Arc<Fabric>, path: &str) -> Result<Answer, Refused> {
    match path {
        "/report" => Ok(json(StatusCode::OK, &fabric.report().await?)),
        "/metrics" => Ok(page(METRICS_TYPE, fabric.metrics().await?)),
        "/sd" => Ok(json(StatusCode::OK, &fabric.targets())),
        _ => {
            let name = path.strip_prefix("/nodes/").and_then(|rest| rest.strip_suffix("/metrics"));
            let name = name.ok_or_else(|| Refused(StatusCode::NOT_FOUND, format!("there is no {path}")))?;
            let namespace = fabric.nodes.namespace(name)?;
            let answer = ask(namespace, fabric.ports.metrics, Question::Get("/metrics"), fabric.clock).await;
            answer
                .map(|body| page(METRICS_TYPE, body))
                .map_err(|why| Refused(StatusCode::BAD_GATEWAY, format!("{name}: {why}")))
        }
    }
}

async fn order(fabric: &Arc<Fabric>, path: &str, request: Request<Incoming>) -> Result<Answer, Refused> {
    let body = Limited::new(request.into_body(), BODY_MAX).collect().await;
    let body = body.map_err(|error| Refused(StatusCode::BAD_REQUEST, error.to_string()))?.to_bytes();
    match path {
        "/attach" => Ok(ok(&fabric.attach(parse(&body)?).await)),
        "/detach" => Ok(ok(&fabric.detach(parse(&body)?).await?)),
        "/release" => Ok(ok(&fabric.release(parse(&body)?).await?)),
        "/command" => Ok(ok(&command(fabric, parse(&body)?).await)),
        "/fault" => Ok(ok(&fabric.apply(parse(&body)?).await?)),
        "/controls" => Ok(ok(&fabric.controls().await?)),
        "/forget-counts" => Ok(ok(&fabric.forget_counts().await?)),
        "/capture" => Ok(ok(&fabric.begin_capture(parse(&body)?).await?)),
        "/capture-end" => Ok(ok(&fabric.end_capture().await?)),
        "/stop" => {
            fabric.over.notify_one();
            Ok(ok(&()))
        }
        _ => Err(Refused(StatusCode::NOT_FOUND, format!("there is no {path}"))),
    }
}

/// Puts one question to many nodes.
async fn command(fabric: &Arc<Fabric>, asked: Ask) -> Vec<NodeAnswer> {
    let body = Bytes::from(asked.command.to_string());
    let (port, clock) = (fabric.ports.control, fabric.clock);
    let works = asked.nodes.into_iter().map(|name| {
        let namespace = fabric.nodes.namespace(&name);
        let question = Question::Post("/command", body.clone());
        async move {
            let namespace = namespace.map_err(|absent| absent.to_string())?;
            let answer = ask(namespace, port, question, clock).await?;
            serde_json::from_slice(&answer).map_err(|error| error.to_string())
        }
    });
    batch::all(works, || Err("the work on it failed".to_owned())).await
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| Refused(StatusCode::BAD_REQUEST, error.to_string()))
}

fn ok(value: &impl Serialize) -> Answer {
    json(StatusCode::OK, value)
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let (status, body) = match serde_json::to_vec(value) {
        Ok(body) => (status, body),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into_bytes()),
    };
    let mut answer = page(JSON_TYPE, body);
    *answer.status_mut() = status;
    answer
}

fn page(kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    answer.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(kind));
    answer
}
