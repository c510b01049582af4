//! Who visits: a cookie for each browser, and the account that is logged in with it.
//!
//! A browser that is not logged in has a cookie as well, so that its forms are bound to it. Logging in always gives another
//! one, and a second by which the browser is known when somebody else guesses the password.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use hyper::Method;
use hyper::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use hyper::http::request::Parts;

use super::pages::Failed;
use crate::accounts::{Account, LOGIN_MAX};
use crate::known::{Browser, Whence};
use crate::limits::Remote;
use crate::refusal::Refusal;
use crate::revocation::hex;
use crate::site::Site;
use crate::token::Token;

/// Browsers send a cookie of this beginning over HTTPS to this host only.
const NAME: &str = "__Host-atoll";

/// Kept by a browser with which somebody logged in, also after logging out: it says who, to this site alone.
const KNOWN: &str = "__Host-atoll-known";
/// As long as browsers keep a cookie at most (RFC 6265bis, section 5.5): 400 days.
const KNOWN_MAX: i64 = 400 * 86_400;

/// A browser.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub(super) token: Token,
    pub(super) known: Option<Browser>,
    /// The browser sent no cookie.
    pub(super) fresh: bool,
}

impl Visitor {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let cookies = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let pairs: Vec<(&str, &str)> = pairs.collect();
        let value = |wanted: &str| pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        let known = value(KNOWN).and_then(Browser::read);
        match value(NAME).and_then(Token::read) {
            Some(token) => Ok(Self { token, known, fresh: false }),
            None => Ok(Self { token: Token::fresh()?, known, fresh: true }),
        }
    }

    /// Where it comes from.
    pub(super) fn whence(&self, place: Remote) -> Whence {
        Whence { place, browser: self.known.clone() }
    }

    /// What the browser's forms carry.
    pub(super) fn form_token(&self, site: &Site) -> Result<String, Refusal> {
        Ok(hex(&site.vault.form_token(self.token.bytes())?))
    }
}

/// The header that gives a browser this cookie.
pub(super) fn cookie(token: &Token) -> HeaderValue {
    let text =
        format!("{NAME}={}; Path=/; Max-Age={LOGIN_MAX}; Secure; HttpOnly; SameSite=Lax", token.text());
    HeaderValue::from_str(&text).expect("a token is written in letters that a header may hold")
}

/// The header by which a browser is known afterwards.
pub(super) fn known_cookie(browser: &Browser) -> HeaderValue {
    let text =
        format!("{KNOWN}={}; Path=/; Max-Age={KNOWN_MAX}; Secure; HttpOnly; SameSite=Strict", browser.text());
    HeaderValue::from_str(&text).expect("it is written in letters that a header may hold")
}

/// Gives a cookie to a browser that has none, unless the answer gives another.
pub(super) async fn visit(mut request: Request, next: Next) -> Response {
    let visitor = match Visitor::of(request.headers()) {
        Ok(visitor) => visitor,
        Err(refusal) => return Failed(refusal).into_response(),
    };
    request.extensions_mut().insert(visitor.clone());
    let mut response = next.run(request).await;
    if visitor.fresh && !response.headers().contains_key(SET_COOKIE) {
        response.headers_mut().insert(SET_COOKIE, cookie(&visitor.token));
    }
    response
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failed> {
        parts.extensions.get::<Self>().cloned().ok_or(Failed(Refusal::Broken))
    }
}

/// Where a request comes from.
pub(super) struct Origin(pub(super) Remote);

impl<S: Sync> FromRequestParts<S> for Origin {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failed> {
        parts.extensions.get::<Remote>().map(|remote| Self(*remote)).ok_or(Failed(Refusal::Broken))
    }
}

/// Somebody who is logged in; others are sent to the page where one logs in, and from there back.
pub(super) struct Me(pub(super) Account);

impl FromRequestParts<Arc<Site>> for Me {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, Response> {
        let visitor = Visitor::from_request_parts(parts, site).await.map_err(Failed::into_response)?;
        match site.who(&visitor.token).await {
            Ok(account) => Ok(Self(account)),
            Err(Refusal::NotLoggedIn) => {
                // What a form does is not done by coming back.
                let next = if parts.method == Method::GET { parts.uri.path() } else { "/" };
                Err(Redirect::to(&format!("/login?next={next}")).into_response())
            }
            Err(other) => Err(Failed(other).into_response()),
        }
    }
}
