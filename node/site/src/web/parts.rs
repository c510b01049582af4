//! The parts of a request's path and query. What cannot be read is refused as everything else is: as a page or as JSON.

use axum::extract::FromRequestParts;
use hyper::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::refusal::Refusal;

/// The names in the path.
pub(super) async fn path<T: DeserializeOwned + Send>(parts: &mut Parts) -> Result<T, Refusal> {
    let read = axum::extract::Path::<T>::from_request_parts(parts, &()).await;
    read.map(|axum::extract::Path(read)| read).map_err(|_| Refusal::NotFound)
}

/// What follows the question mark.
pub(super) async fn query<T: DeserializeOwned>(parts: &mut Parts) -> Result<T, Refusal> {
    let read = axum::extract::Query::<T>::from_request_parts(parts, &()).await;
    read.map(|axum::extract::Query(read)| read).map_err(|_| Refusal::Malformed)
}

/// Extractors of a module whose refusals look as its `Failed`.
macro_rules! parts {
    () => {
        /// The names in the path.
        pub(super) struct Path<T>(pub(super) T);

        impl<S: Sync, T: serde::de::DeserializeOwned + Send> axum::extract::FromRequestParts<S> for Path<T> {
            type Rejection = Failed;

            async fn from_request_parts(
                parts: &mut hyper::http::request::Parts,
                _: &S,
            ) -> Result<Self, Failed> {
                Ok(Self(crate::web::parts::path(parts).await?))
            }
        }

        /// What follows the question mark.
        pub(super) struct Query<T>(pub(super) T);

        impl<S: Sync, T: serde::de::DeserializeOwned> axum::extract::FromRequestParts<S> for Query<T> {
            type Rejection = Failed;

            async fn from_request_parts(
                parts: &mut hyper::http::request::Parts,
                _: &S,
            ) -> Result<Self, Failed> {
                Ok(Self(crate::web::parts::query(parts).await?))
            }
        }
    };
}

pub(super) use parts;
