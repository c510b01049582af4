//! Signing up, logging in and out, the password, and one's own groups.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::header::SET_COOKIE;
use serde::Deserialize;

use super::super::form::Fields;
use super::super::look::{AccountPage, Enter, Home, Shell, Welcome, show};
use super::super::visitor::{Me, Origin, Visitor, cookie, known_cookie};
use super::{Query, Shown, to, with_status};
use crate::accounts::{Change, Entered};
use crate::known::Whence;
use crate::limits::Remote;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::token::Token;

/// Where one is sent after logging in.
#[derive(Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

/// A path of this site, or its beginning.
fn own_path(next: &str) -> String {
    let is_own = next.starts_with('/')
        && !next.starts_with("//")
        && next.bytes().all(|letter| letter.is_ascii_graphic() && letter != b'\\');
    if is_own { next.to_owned() } else { "/".to_owned() }
}

/// One of the two forms.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    SignUp,
    LogIn,
}

impl Door {
    fn form(self, shell: Shell, name: &str, next: &str) -> Enter {
        let (title, action) = match self {
            Self::SignUp => ("Sign up", "/signup"),
            Self::LogIn => ("Log in", "/login"),
        };
        let (name, next, signing_up) = (name.to_owned(), own_path(next), self == Self::SignUp);
        Enter { shell, title, action, signing_up, name, next, why: None }
    }

    async fn enter(self, site: &Site, fields: &Fields, whence: Whence) -> Result<Entered, Refusal> {
        let (name, password) = (fields.text("name"), fields.text("password"));
        match self {
            Self::SignUp if password != fields.text("again") => Err(Refusal::Repeat),
            Self::SignUp => site.sign_up(name, password, whence.place).await,
            Self::LogIn => site.log_in(name, password, whence).await,
        }
    }

    async fn answer(self, site: &Site, visitor: &Visitor, (fields, from): (&Fields, Remote)) -> Shown {
        match self.enter(site, fields, visitor.whence(from)).await {
            Ok(entered) => Ok(with_cookies(to(&own_path(fields.text("next"))), &entered)),
            Err(why) => {
                let shell = Shell::of(site, visitor, None)?;
                let form = self.form(shell, fields.text("name"), fields.text("next"));
                Ok(with_status(show(&Enter { why: Some(why), ..form })?, why.status()))
            }
        }
    }
}

fn with_cookie(mut response: Response, token: &Token) -> Response {
    response.headers_mut().insert(SET_COOKIE, cookie(token));
    response
}

fn with_cookies(response: Response, entered: &Entered) -> Response {
    let mut response = with_cookie(response, &entered.token);
    response.headers_mut().append(SET_COOKIE, known_cookie(&entered.browser));
    response
}

pub(super) async fn home(State(site): State<Arc<Site>>, visitor: Visitor) -> Shown {
    match site.who(&visitor.token).await {
        Ok(account) => {
            let groups = site.mine(&account).await?;
            Ok(show(&Home { shell: Shell::of(&site, &visitor, Some(&account))?, groups })?)
        }
        Err(Refusal::NotLoggedIn) => Ok(show(&Welcome { shell: Shell::of(&site, &visitor, None)? })?),
        Err(other) => Err(other.into()),
    }
}

pub(super) async fn sign_up_form(
    State(site): State<Arc<Site>>,
    visitor: Visitor,
    Query(next): Query<Next>,
) -> Shown {
    Ok(show(&Door::SignUp.form(Shell::of(&site, &visitor, None)?, "", &next.next))?)
}

pub(super) async fn log_in_form(
    State(site): State<Arc<Site>>,
    visitor: Visitor,
    Query(next): Query<Next>,
) -> Shown {
    Ok(show(&Door::LogIn.form(Shell::of(&site, &visitor, None)?, "", &next.next))?)
}

pub(super) async fn sign_up(
    State(site): State<Arc<Site>>,
    visitor: Visitor,
    Origin(from): Origin,
    fields: Fields,
) -> Shown {
    Door::SignUp.answer(&site, &visitor, (&fields, from)).await
}

pub(super) async fn log_in(
    State(site): State<Arc<Site>>,
    visitor: Visitor,
    Origin(from): Origin,
    fields: Fields,
) -> Shown {
    Door::LogIn.answer(&site, &visitor, (&fields, from)).await
}

pub(super) async fn log_out(State(site): State<Arc<Site>>, visitor: Visitor, _: Fields) -> Shown {
    site.log_out(&visitor.token).await?;
    Ok(with_cookie(to("/"), &Token::fresh()?))
}

pub(super) async fn page(State(site): State<Arc<Site>>, visitor: Visitor, Me(me): Me) -> Shown {
    let shell = Shell::of(&site, &visitor, Some(&me))?;
    Ok(show(&AccountPage { shell, name: me.name })?)
}

pub(super) async fn change_password(
    State(site): State<Arc<Site>>,
    visitor: Visitor,
    Me(me): Me,
    Origin(from): Origin,
    fields: Fields,
) -> Shown {
    let (old, new) = (fields.text("old"), fields.text("new"));
    if new != fields.text("again") {
        return Err(Refusal::Repeat.into());
    }
    let entered = site.change_password(&me, Change { old, new }, visitor.whence(from)).await?;
    Ok(with_cookies(to("/account"), &entered))
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn after_logging_in_nobody_is_sent_to_another_site() {
        assert_eq!(own_path("/groups/chess?after=bob"), "/groups/chess?after=bob");
        for foreign in
            ["", "https://evil.example", "//evil.example", "/\\evil.example", "/a\nb", "javascript:x"]
        {
            assert_eq!(own_path(foreign), "/", "{foreign}");
        }
    }
}
