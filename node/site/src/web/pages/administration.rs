//! What administrators see and do.

use std::sync::Arc;

use axum::extract::State as Held;
use serde::Deserialize;

use super::super::form::Fields;
use super::super::look::{Audit, Invitations, Requests, Shell, show};
use super::super::visitor::{Me, Visitor};
use super::{Path, Query, Shown, to};
use crate::accounts::Account;
use crate::groups::{At, Policy, State};
use crate::refusal::Refusal;
use crate::site::Site;

type OfSite = Held<Arc<Site>>;

#[derive(Deserialize)]
pub(super) struct Places {
    #[serde(default)]
    after: String,
    #[serde(default)]
    node: String,
}

#[derive(Deserialize)]
pub(super) struct Before {
    before: Option<i64>,
}

pub(super) async fn requests(
    Held(site): OfSite,
    Path(group): Path<String>,
    Query(places): Query<Places>,
    visitor: Visitor,
    Me(me): Me,
) -> Shown {
    let at = At::new(&me, &group);
    let people = site.members(&at, State::Asking, &places.after).await?;
    let nodes = site.waiting(&at, &places.node).await?;
    let shell = Shell::of(&site, &visitor, Some(&me))?;
    Ok(show(&Requests { shell, group, people, nodes })?)
}

pub(super) async fn decide(
    Held(site): OfSite,
    Path((group, user)): Path<(String, String)>,
    Me(me): Me,
    fields: Fields,
) -> Shown {
    let admitted = match fields.text("answer") {
        "admit" => true,
        "refuse" => false,
        _ => return Err(Refusal::Field.into()),
    };
    site.decide(&At::new(&me, &group), &user, admitted).await?;
    Ok(to(&format!("/groups/{group}/requests")))
}

pub(super) async fn node(
    Held(site): OfSite,
    Path((group, address)): Path<(String, String)>,
    Me(me): Me,
    fields: Fields,
) -> Shown {
    let at = At::new(&me, &group);
    match fields.text("act") {
        "admit" => site.decide_node(&at, &address, true).await?,
        "refuse" => site.decide_node(&at, &address, false).await?,
        "revoke" => {
            site.revoke_node(&at, &address).await?;
            return Ok(to(&format!("/groups/{group}")));
        }
        _ => return Err(Refusal::Field.into()),
    }
    Ok(to(&format!("/groups/{group}/requests")))
}

pub(super) async fn member(
    Held(site): OfSite,
    Path((group, user)): Path<(String, String)>,
    Me(me): Me,
    fields: Fields,
) -> Shown {
    let at = At::new(&me, &group);
    match fields.text("act") {
        "revoke" => site.revoke_user(&at, &user).await?,
        "name" => site.set_administrator(&at, &user, true).await?,
        "unname" => site.set_administrator(&at, &user, false).await?,
        _ => return Err(Refusal::Field.into()),
    }
    Ok(to(&format!("/groups/{group}")))
}

pub(super) async fn revoke_name(
    Held(site): OfSite,
    Path(group): Path<String>,
    Me(me): Me,
    fields: Fields,
) -> Shown {
    let name = fields.text("name").trim();
    if name != fields.text("again").trim() {
        return Err(Refusal::Repeat.into());
    }
    site.revoke_name(&At::new(&me, &group), name).await?;
    Ok(to(&format!("/groups/{group}")))
}

pub(super) async fn policy(
    Held(site): OfSite,
    Path(group): Path<String>,
    Me(me): Me,
    fields: Fields,
) -> Shown {
    let policy = Policy::of(fields.text("policy"), fields.read("first")?).ok_or(Refusal::Field)?;
    site.set_policy(&At::new(&me, &group), policy).await?;
    Ok(to(&format!("/groups/{group}")))
}

async fn invitations_page(
    site: &Site,
    (group, me): (String, Account),
    visitor: &Visitor,
    link: Option<String>,
) -> Shown {
    let rows = site.invitations(&At::new(&me, &group)).await?;
    let shell = Shell::of(site, visitor, Some(&me))?;
    Ok(show(&Invitations { shell, group, rows, link })?)
}

pub(super) async fn invitations(
    Held(site): OfSite,
    Path(group): Path<String>,
    visitor: Visitor,
    Me(me): Me,
) -> Shown {
    invitations_page(&site, (group, me), &visitor, None).await
}

pub(super) async fn invite(
    Held(site): OfSite,
    Path(group): Path<String>,
    visitor: Visitor,
    Me(me): Me,
    fields: Fields,
) -> Shown {
    let (uses, days) = (fields.read("uses")?, fields.read("days")?);
    let token = site.invite(&At::new(&me, &group), uses, days).await?;
    let link = site.invitation_url(&group, &token);
    invitations_page(&site, (group, me), &visitor, Some(link)).await
}

pub(super) async fn withdraw(
    Held(site): OfSite,
    Path((group, id)): Path<(String, i64)>,
    Me(me): Me,
    _: Fields,
) -> Shown {
    site.withdraw(&At::new(&me, &group), id).await?;
    Ok(to(&format!("/groups/{group}/invitations")))
}

pub(super) async fn audit(
    Held(site): OfSite,
    Path(group): Path<String>,
    Query(before): Query<Before>,
    visitor: Visitor,
    Me(me): Me,
) -> Shown {
    let page = site.audit(&At::new(&me, &group), before.before).await?;
    let shell = Shell::of(&site, &visitor, Some(&me))?;
    Ok(show(&Audit { shell, group, page })?)
}
