//! Groups, members, nodes, invitations and the audit log.

use std::sync::Arc;

use axum::extract::State as Held;
use axum::response::{IntoResponse as _, Json, Response};
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

use super::{Done, Failed, Me, Operation, Path, Query, Sent, Told, done, operation};
use crate::groups::{At, Entry, Invitation, MemberRow, Mine, Node, Overview, Page, Policy, State, Unknown};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::token::Token;

type OfSite = Held<Arc<Site>>;
type InGroup = Path<String>;
type AtOne = Path<(String, String)>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: String,
}

/// Whether what the site does not know is revoked as well.
#[derive(Deserialize)]
struct Whether {
    #[serde(default)]
    unknown: bool,
}

impl Whether {
    fn unknown(&self) -> Unknown {
        if self.unknown { Unknown::Revoke } else { Unknown::Refuse }
    }
}

#[derive(Deserialize)]
struct Before {
    before: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    admitted: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Role {
    administrator: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    policy: String,
    #[serde(default = "one")]
    first: u16,
}

fn one() -> u16 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Uses {
    uses: u16,
    days: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    token: String,
}

#[derive(Serialize)]
struct Made {
    token: String,
    url: String,
}

#[derive(Serialize)]
struct Linked {
    link: String,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        operation("get", "/api/v1/groups", mine),
        operation("post", "/api/v1/groups", found),
        operation("get", "/api/v1/groups/{group}", overview),
        operation("put", "/api/v1/groups/{group}/policy", policy),
        operation("post", "/api/v1/groups/{group}/requests", ask),
        operation("get", "/api/v1/groups/{group}/requests", requests),
        operation("put", "/api/v1/groups/{group}/requests/{user}", decide),
        operation("get", "/api/v1/groups/{group}/members", members),
        operation("delete", "/api/v1/groups/{group}/members/{user}", revoke_user),
        operation("put", "/api/v1/groups/{group}/members/{user}/administrator", administrator),
        operation("get", "/api/v1/groups/{group}/members/{user}/nodes", nodes),
        operation("delete", "/api/v1/groups/{group}/membership", leave),
        operation("get", "/api/v1/groups/{group}/nodes", waiting),
        operation("put", "/api/v1/groups/{group}/nodes/{address}", decide_node),
        operation("delete", "/api/v1/groups/{group}/nodes/{address}", revoke_node),
        operation("delete", "/api/v1/groups/{group}/certificates/{serial}", revoke_certificate),
        operation("get", "/api/v1/groups/{group}/invitations", invitations),
        operation("post", "/api/v1/groups/{group}/invitations", invite),
        operation("delete", "/api/v1/groups/{group}/invitations/{id}", withdraw),
        operation("post", "/api/v1/groups/{group}/membership", accept),
        operation("get", "/api/v1/groups/{group}/audit", audit),
        operation("get", "/api/v1/groups/{group}/file", file),
        operation("delete", "/api/v1/groups/{group}/file", renew),
        operation("post", "/api/v1/groups/{group}/links", link),
    ]
}

async fn mine(Held(site): OfSite, Me(me): Me) -> Told<Vec<Mine>> {
    Ok(Json(site.mine(&me).await?))
}

async fn found(Held(site): OfSite, Me(me): Me, Sent(named): Sent<Named>) -> Result<StatusCode, Failed> {
    site.found(&me, &named.name).await?;
    Ok(StatusCode::CREATED)
}

async fn overview(Held(site): OfSite, Path(group): InGroup, Me(me): Me) -> Told<Overview> {
    Ok(Json(site.overview(&At::new(&me, &group)).await?))
}

async fn policy(Held(site): OfSite, Path(group): InGroup, Me(me): Me, Sent(rule): Sent<Rule>) -> Done {
    let policy = Policy::of(&rule.policy, rule.first).ok_or(Refusal::Field)?;
    done(site.set_policy(&At::new(&me, &group), policy).await)
}

async fn ask(Held(site): OfSite, Path(group): InGroup, Me(me): Me) -> Done {
    done(site.ask(&At::new(&me, &group)).await)
}

async fn requests(
    Held(site): OfSite,
    Path(group): InGroup,
    Query(after): Query<After>,
    Me(me): Me,
) -> Told<Page<MemberRow>> {
    Ok(Json(site.members(&At::new(&me, &group), State::Asking, &after.after).await?))
}

async fn decide(
    Held(site): OfSite,
    Path((group, user)): AtOne,
    Me(me): Me,
    Sent(decision): Sent<Decision>,
) -> Done {
    done(site.decide(&At::new(&me, &group), &user, decision.admitted).await)
}

async fn members(
    Held(site): OfSite,
    Path(group): InGroup,
    Query(after): Query<After>,
    Me(me): Me,
) -> Told<Page<MemberRow>> {
    Ok(Json(site.members(&At::new(&me, &group), State::Member, &after.after).await?))
}

async fn revoke_user(
    Held(site): OfSite,
    Path((group, user)): AtOne,
    Query(whether): Query<Whether>,
    Me(me): Me,
) -> Done {
    let at = At::new(&me, &group);
    done(match whether.unknown() {
        Unknown::Refuse => site.revoke_user(&at, &user).await,
        Unknown::Revoke => site.revoke_name(&at, &user).await,
    })
}

async fn administrator(
    Held(site): OfSite,
    Path((group, user)): AtOne,
    Me(me): Me,
    Sent(role): Sent<Role>,
) -> Done {
    done(site.set_administrator(&At::new(&me, &group), &user, role.administrator).await)
}

async fn nodes(Held(site): OfSite, Path((group, user)): AtOne, Me(me): Me) -> Told<Vec<Node>> {
    Ok(Json(site.nodes(&At::new(&me, &group), &user).await?))
}

async fn leave(Held(site): OfSite, Path(group): InGroup, Me(me): Me) -> Done {
    done(site.leave(&At::new(&me, &group)).await)
}

async fn waiting(
    Held(site): OfSite,
    Path(group): InGroup,
    Query(after): Query<After>,
    Me(me): Me,
) -> Told<Page<Node>> {
    Ok(Json(site.waiting(&At::new(&me, &group), &after.after).await?))
}

async fn decide_node(
    Held(site): OfSite,
    Path((group, address)): AtOne,
    Me(me): Me,
    Sent(decision): Sent<Decision>,
) -> Done {
    done(site.decide_node(&At::new(&me, &group), &address, decision.admitted).await)
}

async fn revoke_node(Held(site): OfSite, Path((group, address)): AtOne, Me(me): Me) -> Done {
    done(site.revoke_node(&At::new(&me, &group), &address).await)
}

async fn revoke_certificate(
    Held(site): OfSite,
    Path((group, serial)): AtOne,
    Query(whether): Query<Whether>,
    Me(me): Me,
) -> Done {
    done(site.revoke_certificate(&At::new(&me, &group), &serial, whether.unknown()).await)
}

async fn invitations(Held(site): OfSite, Path(group): InGroup, Me(me): Me) -> Told<Vec<Invitation>> {
    Ok(Json(site.invitations(&At::new(&me, &group)).await?))
}

async fn invite(Held(site): OfSite, Path(group): InGroup, Me(me): Me, Sent(uses): Sent<Uses>) -> Told<Made> {
    let token = site.invite(&At::new(&me, &group), uses.uses, uses.days).await?;
    Ok(Json(Made { url: site.invitation_url(&group, &token), token: token.text() }))
}

async fn withdraw(Held(site): OfSite, Path((group, id)): Path<(String, i64)>, Me(me): Me) -> Done {
    done(site.withdraw(&At::new(&me, &group), id).await)
}

async fn accept(Held(site): OfSite, Path(group): InGroup, Me(me): Me, Sent(shown): Sent<Shown>) -> Done {
    let token = Token::read(&shown.token).ok_or(Refusal::Ended)?;
    done(site.accept(&At::new(&me, &group), &token).await)
}

async fn audit(
    Held(site): OfSite,
    Path(group): InGroup,
    Query(before): Query<Before>,
    Me(me): Me,
) -> Told<Page<Entry>> {
    Ok(Json(site.audit(&At::new(&me, &group), before.before).await?))
}

async fn file(Held(site): OfSite, Path(group): InGroup, Me(me): Me) -> Result<Response, Failed> {
    let file = site.file(&At::new(&me, &group)).await?;
    Ok(([(CONTENT_TYPE, "application/yaml")], file.text()?).into_response())
}

async fn renew(Held(site): OfSite, Path(group): InGroup, Me(me): Me) -> Done {
    done(site.renew_key(&At::new(&me, &group)).await)
}

async fn link(Held(site): OfSite, Path(group): InGroup, Me(me): Me) -> Told<Linked> {
    Ok(Json(Linked { link: site.make_link(&At::new(&me, &group)).await? }))
}
