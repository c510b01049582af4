//! Pages: what they show and what their forms do.

mod account;
mod administration;
mod group;

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::look::{NotDone, show};
use super::parts::parts;
use crate::refusal::Refusal;
use crate::site::Site;

const STYLE: &str = include_str!("../../../templates/style.css");

/// A refusal as a page.
#[derive(Debug)]
pub(super) struct Failed(pub(super) Refusal);

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let page = show(&NotDone { why: self.0.to_string() });
        let mut response = page.unwrap_or_else(|why| why.to_string().into_response());
        *response.status_mut() = self.0.status();
        response
    }
}

parts!();

type Shown = Result<Response, Failed>;

pub(super) fn router() -> Router<Arc<Site>> {
    Router::new()
        .route("/", get(account::home))
        .route("/style.css", get(style))
        .route("/signup", get(account::sign_up_form).post(account::sign_up))
        .route("/login", get(account::log_in_form).post(account::log_in))
        .route("/logout", post(account::log_out))
        .route("/account", get(account::page).post(account::change_password))
        .route("/groups", get(group::go).post(group::found))
        .route("/groups/{group}", get(group::page))
        .route("/groups/{group}/ask", post(group::ask))
        .route("/groups/{group}/leave", post(group::leave))
        .route("/groups/{group}/file", get(group::file))
        .route("/groups/{group}/link", post(group::link))
        .route("/groups/{group}/renew", post(group::renew))
        .route("/groups/{group}/members/{user}", get(group::member).post(administration::member))
        .route("/groups/{group}/nodes/{address}", post(administration::node))
        .route("/groups/{group}/revoke", post(administration::revoke_name))
        .route("/groups/{group}/policy", post(administration::policy))
        .route("/groups/{group}/requests", get(administration::requests))
        .route("/groups/{group}/requests/{user}", post(administration::decide))
        .route("/groups/{group}/invitations", get(administration::invitations).post(administration::invite))
        .route("/groups/{group}/invitations/{id}/withdraw", post(administration::withdraw))
        .route("/groups/{group}/audit", get(administration::audit))
        .route("/invite/{group}/{token}", get(group::invited).post(group::accept))
        .method_not_allowed_fallback(other_method)
}

pub(super) async fn missing() -> Failed {
    Failed(Refusal::NotFound)
}

async fn other_method() -> Failed {
    Failed(Refusal::Method)
}

async fn style() -> Response {
    let headers = [(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "public, max-age=3600")];
    (headers, STYLE).into_response()
}

/// To a page of this site, which is then loaded anew.
fn to(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// A page with another status than "done".
fn with_status(mut response: Response, status: StatusCode) -> Response {
    *response.status_mut() = status;
    response
}
