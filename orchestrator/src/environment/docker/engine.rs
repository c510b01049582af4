//! The connection to the Docker engine, and its errors in words that help.

use std::error::Error as _;
use std::io;

use bollard::Docker as Api;
use bollard::errors::Error as ApiError;

use crate::error::{Error, Result};

/// Oldest engine interface that everything here works with: Docker 20.10.
const API_MIN: (usize, usize) = (1, 41);

/// Connects to the engine that the environment names, or to the one of this host.
///
/// # Errors
/// No engine answers, we may not speak to it, or it is too old; with what to do about it.
pub(super) async fn connect() -> Result<Api> {
    let api = Api::connect_with_defaults().map_err(|error| unreachable_engine(&error))?;
    api.ping().await.map_err(|error| unreachable_engine(&error))?;
    let api = api.negotiate_version().await.map_err(|error| unreachable_engine(&error))?;
    let version = api.client_version();
    if (version.major_version, version.minor_version) < API_MIN {
        let why = format!("it speaks version {version} of its interface, and 1.41 is needed");
        return Err(
            Error::new("the Docker engine is too old", why).with_hint("install Docker 20.10 or later")
        );
    }
    Ok(api)
}

/// An engine's error under the name of what was tried.
pub(super) fn failed(what: impl Into<String>, error: &ApiError) -> Error {
    let what = what.into();
    match error {
        ApiError::DockerResponseServerError { message, .. } => {
            let error = Error::new(what, message.trim());
            if message.contains("no space left") {
                return error.with_hint("free some disk: `docker system df` shows what Docker holds");
            }
            error
        }
        other => Error::new(what, other),
    }
}

/// Whether the engine says that what was named is not there.
pub(super) fn is_absent(error: &ApiError) -> bool {
    matches!(error, ApiError::DockerResponseServerError { status_code: 404, .. })
}

fn unreachable_engine(error: &ApiError) -> Error {
    let what = "no Docker engine answers";
    match io_kind(error) {
        Some(io::ErrorKind::PermissionDenied) => Error::new("may not speak to the Docker engine", error)
            .with_hint("run as root, or join the group of its socket: `sudo usermod -aG docker $USER` and log in again"),
        Some(kind) => Error::new(what, kind)
            .with_hint("start it with `sudo systemctl start docker`; DOCKER_HOST may name another one; `--on sim` needs none"),
        None => Error::new(what, error).with_hint("`docker info` tells more; `--on sim` needs no engine"),
    }
}

/// The kind of the input or output error at the bottom, if there is one.
fn io_kind(error: &ApiError) -> Option<io::ErrorKind> {
    if matches!(error, ApiError::SocketNotFoundError(_)) {
        return Some(io::ErrorKind::NotFound);
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    let mut found = None;
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            found = Some(error.kind());
        }
        cause = error.source();
    }
    found
}
