//! A group as its members see it, and what they do there.

use std::sync::Arc;

use axum::extract::State as Held;
use axum::response::IntoResponse as _;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use qrcode::QrCode;
use qrcode::render::svg::Color;
use serde::Deserialize;

use super::super::form::Fields;
use super::super::look::{GroupPage, Invited, LinkPage, MemberPage, Shell, show};
use super::super::visitor::{Me, Visitor};
use super::{Path, Query, Shown, to};
use crate::accounts::is_site_name;
use crate::groups::{At, Page, State};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::token::Token;

type OfSite = Held<Arc<Site>>;

#[derive(Deserialize)]
pub(super) struct Called {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
pub(super) struct After {
    #[serde(default)]
    after: String,
}

pub(super) async fn go(Me(_): Me, Query(called): Query<Called>) -> Shown {
    let name = called.name.trim();
    if name.is_empty() {
        // Where one comes back to after logging in.
        return Ok(to("/"));
    }
    if is_site_name(name) { Ok(to(&format!("/groups/{name}"))) } else { Err(Refusal::NotFound.into()) }
}

pub(super) async fn found(Held(site): OfSite, Me(me): Me, fields: Fields) -> Shown {
    let name = fields.text("name").trim();
    site.found(&me, name).await?;
    Ok(to(&format!("/groups/{name}")))
}

pub(super) async fn page(
    Held(site): OfSite,
    Path(group): Path<String>,
    Query(after): Query<After>,
    visitor: Visitor,
    Me(me): Me,
) -> Shown {
    let at = At::new(&me, &group);
    let view = site.overview(&at).await?;
    let members = match view.inside {
        Some(_) => site.members(&at, State::Member, &after.after).await?,
        None => Page { rows: Vec::new(), next: None },
    };
    let shell = Shell::of(&site, &visitor, Some(&me))?;
    Ok(show(&GroupPage { shell, me: me.name, view, members })?)
}

pub(super) async fn ask(Held(site): OfSite, Path(group): Path<String>, Me(me): Me, _: Fields) -> Shown {
    site.ask(&At::new(&me, &group)).await?;
    Ok(to(&format!("/groups/{group}")))
}

pub(super) async fn leave(Held(site): OfSite, Path(group): Path<String>, Me(me): Me, _: Fields) -> Shown {
    site.leave(&At::new(&me, &group)).await?;
    Ok(to("/"))
}

pub(super) async fn renew(Held(site): OfSite, Path(group): Path<String>, Me(me): Me, _: Fields) -> Shown {
    site.renew_key(&At::new(&me, &group)).await?;
    Ok(to(&format!("/groups/{group}")))
}

pub(super) async fn file(Held(site): OfSite, Path(group): Path<String>, Me(me): Me) -> Shown {
    let file = site.file(&At::new(&me, &group)).await?;
    let name = format!("attachment; filename=\"{}.atoll\"", file.group.name);
    let headers = [(CONTENT_TYPE, "application/yaml".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, file.text()?).into_response())
}

pub(super) async fn link(
    Held(site): OfSite,
    Path(group): Path<String>,
    visitor: Visitor,
    Me(me): Me,
    _: Fields,
) -> Shown {
    let link = site.make_link(&At::new(&me, &group)).await?;
    let code = QrCode::new(link.as_bytes()).map_err(|_| Refusal::Broken)?;
    let qr = code.render::<Color<'_>>().min_dimensions(240, 240).build();
    let qr = qr.split_once("?>").map_or(qr.as_str(), |(_, svg)| svg).to_owned();
    let shell = Shell::of(&site, &visitor, Some(&me))?;
    Ok(show(&LinkPage { shell, group, link, qr })?)
}

pub(super) async fn member(
    Held(site): OfSite,
    Path((group, user)): Path<(String, String)>,
    visitor: Visitor,
    Me(me): Me,
) -> Shown {
    let at = At::new(&me, &group);
    let view = site.overview(&at).await?;
    let nodes = site.nodes(&at, &user).await?;
    let shell = Shell::of(&site, &visitor, Some(&me))?;
    let (administrator, may_revoke) = (view.administrator, view.administrator || me.name == user);
    Ok(show(&MemberPage { shell, group: view.group, user, nodes, may_revoke, administrator })?)
}

pub(super) async fn invited(
    Held(site): OfSite,
    Path((group, token)): Path<(String, String)>,
    visitor: Visitor,
    Me(me): Me,
) -> Shown {
    let read = Token::read(&token).filter(|_| is_site_name(&group)).ok_or(Refusal::Ended)?;
    site.invited(&At::new(&me, &group), &read).await?;
    Ok(show(&Invited { shell: Shell::of(&site, &visitor, Some(&me))?, group, token })?)
}

pub(super) async fn accept(
    Held(site): OfSite,
    Path((group, token)): Path<(String, String)>,
    Me(me): Me,
    _: Fields,
) -> Shown {
    let token = Token::read(&token).ok_or(Refusal::Ended)?;
    site.accept(&At::new(&me, &group), &token).await?;
    Ok(to(&format!("/groups/{group}")))
}
