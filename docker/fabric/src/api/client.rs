//! The side that asks: the lab.

use std::io;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{
    Ask, Attach, BODY_MAX, CaptureOrder, Control, FaultDone, FaultOrder, Names, NodeAnswer, Refusal,
    Released, Report,
};
use crate::capture::Summary;

/// Why the fabric gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on its socket.
    #[error("the fabric is not there: {0}")]
    Gone(#[from] io::Error),
    /// The connection failed.
    #[error("the fabric did not answer: {0}")]
    Broken(#[from] hyper::Error),
    /// The answer is not what this build understands.
    #[error("the fabric's answer is not understood: {0}")]
    Strange(String),
    /// It will not do it.
    #[error("{0}")]
    Refused(String),
}

/// Asks one fabric.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the fabric that listens on this unix socket.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Gives containers their devices; one answer each.
    ///
    /// # Errors
    /// The fabric as a whole gave no answer.
    pub async fn attach(&self, nodes: &[Attach]) -> Result<Vec<Option<String>>, ClientError> {
        self.post("/attach", nodes).await
    }

    /// Takes devices away.
    ///
    /// # Errors
    /// The fabric gave no answer.
    pub async fn detach(&self, nodes: &Names) -> Result<(), ClientError> {
        self.post("/detach", nodes).await
    }

    /// Lets nodes go, all at once; one answer each.
    ///
    /// # Errors
    /// The fabric as a whole gave no answer.
    pub async fn release(&self, nodes: &Names) -> Result<Vec<Released>, ClientError> {
        self.post("/release", nodes).await
    }

    /// Puts one question to many nodes; one answer each.
    ///
    /// # Errors
    /// The fabric as a whole gave no answer.
    pub async fn command(&self, ask: &Ask) -> Result<Vec<NodeAnswer>, ClientError> {
        self.post("/command", ask).await
    }

    /// Changes the emulated Internet.
    ///
    /// # Errors
    /// The fabric gave no answer, or the fault cannot be.
    pub async fn fault(&self, fault: &FaultOrder) -> Result<FaultDone, ClientError> {
        self.post("/fault", fault).await
    }

    /// Tries the negative controls between attached nodes.
    ///
    /// # Errors
    /// The fabric gave no answer, or has too few nodes.
    pub async fn controls(&self) -> Result<Vec<Control>, ClientError> {
        self.post("/controls", &()).await
    }

    /// Begins to measure lateness and traffic anew.
    ///
    /// # Errors
    /// The fabric gave no answer.
    pub async fn forget_counts(&self) -> Result<(), ClientError> {
        self.post("/forget-counts", &()).await
    }

    /// Begins a capture.
    ///
    /// # Errors
    /// The fabric gave no answer, captures already or cannot make the file.
    pub async fn begin_capture(&self, order: &CaptureOrder) -> Result<(), ClientError> {
        self.post("/capture", order).await
    }

    /// Ends the capture; the file is whole then.
    ///
    /// # Errors
    /// The fabric gave no answer, or captures nothing.
    pub async fn end_capture(&self) -> Result<Summary, ClientError> {
        self.post("/capture-end", &()).await
    }

    /// Everything that the fabric knows about itself.
    ///
    /// # Errors
    /// The fabric gave no answer.
    pub async fn report(&self) -> Result<Report, ClientError> {
        self.ask(Method::GET, "/report", Bytes::new()).await
    }

    /// Ends the fabric.
    ///
    /// # Errors
    /// The fabric gave no answer.
    pub async fn stop(&self) -> Result<(), ClientError> {
        self.post("/stop", &()).await
    }

    async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        question: &(impl Serialize + ?Sized),
    ) -> Result<A, ClientError> {
        let body = serde_json::to_vec(question).map_err(|error| ClientError::Strange(error.to_string()))?;
        self.ask(Method::POST, path, body.into()).await
    }

    async fn ask<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<A, ClientError> {
        let strange = |error: &dyn std::fmt::Display| ClientError::Strange(error.to_string());
        let stream = TokioIo::new(UnixStream::connect(&self.socket).await?);
        let (mut sender, connection) = http1::handshake(stream).await?;
        let driver = tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "fabric");
        let request = request.body(Full::new(body)).map_err(|error| strange(&error))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
        let body = body.map_err(|error| strange(&error))?.to_bytes();
        driver.abort();
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| strange(&error));
        }
        let refusal: Refusal = serde_json::from_slice(&body).map_err(|error| strange(&error))?;
        Err(ClientError::Refused(refusal.error))
    }
}
