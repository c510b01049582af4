//! The pages' templates. What a template shows is escaped, but for the QR code, which is ours.

use std::borrow::Borrow;

use askama::Template;
use axum::response::{Html, IntoResponse as _, Response};

use super::visitor::Visitor;
use crate::accounts::Account;
use crate::date;
use crate::groups::{Entry, Invitation, MemberRow, Mine, Node, Overview, Page};
use crate::refusal::Refusal;
use crate::site::Site;

/// What every page has around its content.
pub(super) struct Shell {
    user: Option<String>,
    form: String,
}

impl Shell {
    pub(super) fn of(site: &Site, visitor: &Visitor, account: Option<&Account>) -> Result<Self, Refusal> {
        let user = account.map(|account| account.name.clone());
        Ok(Self { user, form: visitor.form_token(site)? })
    }
}

/// The page's text as an answer.
pub(super) fn show(page: &impl Template) -> Result<Response, Refusal> {
    match page.render() {
        Ok(text) => Ok(Html(text).into_response()),
        Err(error) => {
            tracing::warn!(%error, "a page cannot be shown");
            Err(Refusal::Broken)
        }
    }
}

/// A time of the database: the day, and the second of it.
pub(crate) fn moment(at: impl Borrow<i64>) -> Vec<String> {
    let text = date::shown(u64::try_from(*at.borrow()).unwrap_or(0));
    text.trim_end_matches('Z').split('T').map(str::to_owned).collect()
}

/// A time of the database, to the day.
pub(crate) fn day(at: impl Borrow<i64>) -> String {
    moment(at).swap_remove(0)
}

#[derive(Template)]
#[template(path = "error.html")]
pub(super) struct NotDone {
    pub(super) why: String,
}

#[derive(Template)]
#[template(path = "welcome.html")]
pub(super) struct Welcome {
    pub(super) shell: Shell,
}

#[derive(Template)]
#[template(path = "enter.html")]
pub(super) struct Enter {
    pub(super) shell: Shell,
    pub(super) title: &'static str,
    pub(super) action: &'static str,
    pub(super) signing_up: bool,
    pub(super) name: String,
    pub(super) next: String,
    pub(super) why: Option<Refusal>,
}

#[derive(Template)]
#[template(path = "home.html")]
pub(super) struct Home {
    pub(super) shell: Shell,
    pub(super) groups: Vec<Mine>,
}

#[derive(Template)]
#[template(path = "group.html")]
pub(super) struct GroupPage {
    pub(super) shell: Shell,
    pub(super) me: String,
    pub(super) view: Overview,
    pub(super) members: Page<MemberRow>,
}

#[derive(Template)]
#[template(path = "requests.html")]
pub(super) struct Requests {
    pub(super) shell: Shell,
    pub(super) group: String,
    pub(super) people: Page<MemberRow>,
    pub(super) nodes: Page<Node>,
}

#[derive(Template)]
#[template(path = "member.html")]
pub(super) struct MemberPage {
    pub(super) shell: Shell,
    pub(super) group: String,
    pub(super) user: String,
    pub(super) nodes: Vec<Node>,
    pub(super) may_revoke: bool,
    pub(super) administrator: bool,
}

#[derive(Template)]
#[template(path = "invitations.html")]
pub(super) struct Invitations {
    pub(super) shell: Shell,
    pub(super) group: String,
    pub(super) rows: Vec<Invitation>,
    pub(super) link: Option<String>,
}

#[derive(Template)]
#[template(path = "invited.html")]
pub(super) struct Invited {
    pub(super) shell: Shell,
    pub(super) group: String,
    pub(super) token: String,
}

#[derive(Template)]
#[template(path = "link.html")]
pub(super) struct LinkPage {
    pub(super) shell: Shell,
    pub(super) group: String,
    pub(super) link: String,
    pub(super) qr: String,
}

#[derive(Template)]
#[template(path = "audit.html")]
pub(super) struct Audit {
    pub(super) shell: Shell,
    pub(super) group: String,
    pub(super) page: Page<Entry>,
}

#[derive(Template)]
#[template(path = "account.html")]
pub(super) struct AccountPage {
    pub(super) shell: Shell,
    pub(super) name: String,
}
