//! Guessed passwords: their number is bounded for each name, and whoever guesses keeps nobody else out.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::net::IpAddr;

use atoll_site::{Browser, Change, Entered, Refusal, Remote, Token, Whence};
use common::{PASSWORD, START, Served};
use serde_json::json;
use tokio::runtime::Runtime;

const WRONG: &str = "wrong horses";

fn place(number: u8) -> Remote {
    Remote::from(IpAddr::from([192, 0, 2, number]))
}

fn log_in(served: &Served, password: &str, whence: Whence) -> Result<Entered, Refusal> {
    Runtime::new().unwrap().block_on(served.site.log_in("ann", password, whence))
}

/// Guesses from many places, each once, until there is no try left; how many were looked at.
fn guess(served: &Served) -> usize {
    let guesses = (100..140).map(|number| log_in(served, WRONG, place(number).into()).unwrap_err());
    guesses.filter(|why| *why == Refusal::WrongCredentials).count()
}

#[test]
fn whoever_guesses_keeps_the_owner_out_of_no_place_and_no_browser_that_is_known() {
    let served = Served::new();
    let mut ann = served.browser();
    ann.sign_up("ann");
    let (known, mut other) = (ann.known.clone(), served.browser());
    other.sign_up("eve");
    let foreign = other.known.clone();
    assert!(known.is_some() && foreign.is_some() && known != foreign);
    assert_eq!(guess(&served), 10, "however many places there are");
    assert_eq!(log_in(&served, PASSWORD, place(1).into()).unwrap_err(), Refusal::TooOften);
    served.again("ann");
    // After a restart places are forgotten, and browsers show that they are known.
    let served = Served::on(served.end(), START);
    assert_eq!(guess(&served), 10);
    let fields = [("name", "ann"), ("password", PASSWORD)];
    for (cookie, status) in [(None, 429), (foreign, 429), (known, 303)] {
        let mut browser = served.browser();
        browser.known = cookie;
        assert_eq!(browser.post(("/login", "/login"), &fields).status, status);
    }
}

#[test]
fn the_cookie_of_a_known_browser_is_kept_from_scripts_and_other_sites_and_outlives_the_log_in() {
    let served = Served::new();
    let mut ann = served.browser();
    ann.sign_up("ann");
    let answer = ann.post(("/login", "/login"), &[("name", "ann"), ("password", PASSWORD)]);
    let set = answer.header("set-cookie").lines().find(|line| line.starts_with("__Host-atoll-known="));
    let set = set.unwrap().to_owned();
    for part in ["Secure", "HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=34560000"] {
        assert!(set.contains(part), "{set}");
    }
    let known = ann.known.clone();
    ann.post(("/account", "/logout"), &[]);
    assert_eq!(ann.known, known);
    ann.cookie = None;
    assert_eq!(ann.get("/account").status, 303, "it is no log-in");
}

#[test]
fn right_passwords_use_up_no_tries() {
    let served = Served::new();
    served.program("ann");
    for number in 1..15 {
        log_in(&served, PASSWORD, place(number).into()).unwrap();
    }
    assert_eq!(guess(&served), 10);
}

#[test]
fn guesses_from_a_known_place_or_browser_are_bounded_as_well() {
    let served = Served::new();
    served.program("ann");
    let entered = log_in(&served, PASSWORD, place(1).into()).unwrap();
    let wrong = |whence: &Whence| {
        let reasons = (0..14).map(|_| log_in(&served, WRONG, whence.clone()).unwrap_err());
        reasons.filter(|why| *why == Refusal::WrongCredentials).count()
    };
    let browser = Whence { place: place(2), browser: Some(entered.browser) };
    assert_eq!([wrong(&place(1).into()), wrong(&browser)], [10; 2]);
    assert_eq!(guess(&served), 10, "others have tries of their own");
}

#[test]
fn with_a_new_password_no_browser_and_no_place_of_before_is_known() {
    let served = Served::new();
    let token = Token::read(&served.program("ann").token).unwrap();
    let runtime = Runtime::new().unwrap();
    let old = log_in(&served, PASSWORD, place(1).into()).unwrap().browser;
    let account = runtime.block_on(served.site.who(&token)).unwrap();
    let change = Change { old: PASSWORD, new: "another horse" };
    let changed = served.site.change_password(&account, change, place(2).into());
    let new = runtime.block_on(changed).unwrap().browser;
    assert_eq!(guess(&served), 10);
    let from = |number: u8, browser: Option<&Browser>| {
        let whence = Whence { place: place(number), browser: browser.cloned() };
        log_in(&served, "another horse", whence).map(|_| ())
    };
    assert_eq!([from(1, None), from(3, Some(&old))], [Err(Refusal::TooOften); 2]);
    assert_eq!([from(2, None), from(3, Some(&new))], [Ok(()); 2]);
}

#[test]
fn a_program_logs_in_from_its_place_while_others_guess() {
    let served = Served::new();
    served.program("ann");
    assert_eq!(guess(&served), 10);
    served.again("ann").done("GET", "/api/v1/account", &json!(null));
}
