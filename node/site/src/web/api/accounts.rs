//! Accounts and log-ins of programs.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Json;
use serde::{Deserialize, Serialize};

use super::{Bearer, Done, Me, Operation, Origin, Sent, Told, done, operation};
use crate::accounts::Change;
use crate::site::Site;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    name: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Passwords {
    old: String,
    new: String,
}

#[derive(Serialize)]
struct LoggedIn {
    token: String,
}

#[derive(Serialize)]
struct Own {
    name: String,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        operation("post", "/api/v1/accounts", sign_up),
        operation("get", "/api/v1/account", account),
        operation("put", "/api/v1/account/password", change_password),
        operation("post", "/api/v1/logins", log_in),
        operation("delete", "/api/v1/logins", log_out),
    ]
}

async fn sign_up(
    State(site): State<Arc<Site>>,
    Origin(from): Origin,
    Sent(who): Sent<Credentials>,
) -> Told<LoggedIn> {
    let token = site.sign_up(&who.name, &who.password, from).await?.token;
    Ok(Json(LoggedIn { token: token.text() }))
}

async fn log_in(
    State(site): State<Arc<Site>>,
    Origin(from): Origin,
    Sent(who): Sent<Credentials>,
) -> Told<LoggedIn> {
    let token = site.log_in(&who.name, &who.password, from.into()).await?.token;
    Ok(Json(LoggedIn { token: token.text() }))
}

async fn account(Me(me): Me) -> Told<Own> {
    Ok(Json(Own { name: me.name }))
}

async fn change_password(
    State(site): State<Arc<Site>>,
    Me(me): Me,
    Origin(from): Origin,
    Sent(passwords): Sent<Passwords>,
) -> Told<LoggedIn> {
    let change = Change { old: &passwords.old, new: &passwords.new };
    let token = site.change_password(&me, change, from.into()).await?.token;
    Ok(Json(LoggedIn { token: token.text() }))
}

async fn log_out(State(site): State<Arc<Site>>, Bearer(token): Bearer) -> Done {
    done(site.log_out(&token).await)
}
