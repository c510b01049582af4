//! Forms: read only if they come from a page of this site that this browser was shown.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Form, FromRequest, FromRequestParts as _, Request};
use hyper::StatusCode;
use hyper::header::HeaderMap;

use super::pages::Failed;
use super::visitor::Visitor;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::vault::same;

/// The field that binds a form to its browser.
pub(super) const FIELD: &str = "form";

/// The fields of a form that is ours.
#[derive(Debug)]
pub(super) struct Fields(BTreeMap<String, String>);

impl Fields {
    /// A field; empty if it was not sent.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A field of another form than text.
    pub(super) fn read<T: FromStr>(&self, name: &str) -> Result<T, Refusal> {
        self.text(name).trim().parse().map_err(|_| Refusal::Field)
    }
}

impl FromRequest<Arc<Site>> for Fields {
    type Rejection = Failed;

    async fn from_request(request: Request, site: &Arc<Site>) -> Result<Self, Failed> {
        if is_foreign(request.headers()) {
            return Err(Failed(Refusal::ForeignForm));
        }
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, site).await?;
        let request = Request::from_parts(parts, body);
        let fields = Form::<BTreeMap<String, String>>::from_request(request, site).await;
        let fields = fields.map_err(|why| match why.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLong,
            _ => Refusal::Malformed,
        });
        let fields = Self(fields.map_err(Failed)?.0);
        let own = visitor.form_token(site).map_err(Failed)?;
        let is_ours = !visitor.fresh && same(own.as_bytes(), fields.text(FIELD).as_bytes());
        if is_ours { Ok(fields) } else { Err(Failed(Refusal::ForeignForm)) }
    }
}

/// Whether the browser itself says that another site sent the form.
fn is_foreign(headers: &HeaderMap) -> bool {
    let said = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    said.is_some_and(|said| !matches!(said, "same-origin" | "none"))
}
