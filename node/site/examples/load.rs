//! How many enrolments a second, and how long the page of a large group takes, over HTTPS on the loopback.
//!
//! `cargo run -p atoll-site --example load -- [MEMBERS] [SECONDS]`. Site and nodes share the machine: the
//! processor time of the site's own threads says what it would do on a core of its own.

#![allow(clippy::unwrap_used, reason = "it measures and stops at once if anything is wrong")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use atoll_site::{At, MemberFile, Token, keys};
use common::node::Node;
use common::{PASSWORD, Program, Request, Served, connect, exchange};
use openssl::sha::sha256;
use rusqlite::{Connection, params};
use serde_json::json;
use tokio::runtime::Runtime;

/// Connections that stay open and enrol one node after another.
const CONNECTIONS: usize = 16;
/// How often each page is loaded.
const PAGES: usize = 50;
/// What the threads of the nodes are called; all others are the site's.
const LOAD: &str = "load";
/// Processor time is counted in hundredths of a second (USER_HZ).
const TICKS: f64 = 100.0;

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let members = numbers.first().copied().unwrap_or(10_000).max(CONNECTIONS);
    let seconds = numbers.get(1).copied().unwrap_or(10);
    let driver = Builder::new().name(LOAD.to_owned()).spawn(move || measure(members, seconds));
    driver.unwrap().join().unwrap();
}

fn measure(members: usize, seconds: usize) {
    let served = Served::new();
    served.program("ann").done("POST", "/api/v1/groups", &json!({"name": "chess"}));
    let folder = served.end();
    add_accounts(&folder.path().join("data/site.sqlite"), members);
    let served = Served::on(folder, common::START);
    let ann = served.again("ann");
    let files = join(&served, &ann, members);
    println!("a group of {members} members");
    pages(&served);
    enrolments(&served, files, Duration::from_secs(seconds as u64));
    pages(&served);
}

fn name(number: usize) -> String {
    format!("user{number:06}")
}

fn token(number: usize) -> [u8; 32] {
    sha256(name(number).as_bytes())
}

/// Accounts that are logged in, without the time that their passwords would take.
fn add_accounts(database: &std::path::Path, members: usize) {
    let mut connection = Connection::open(database).unwrap();
    let transaction = connection.transaction().unwrap();
    for number in 0..members {
        let sql = "INSERT INTO accounts (name, password, made) VALUES (?1, '', 0)";
        transaction.execute(sql, [name(number)]).unwrap();
        let sql = "INSERT INTO logins (token, account, made, seen) VALUES (?1, ?2, ?3, ?3)";
        let (proof, account) = (sha256(&token(number)), transaction.last_insert_rowid());
        transaction.execute(sql, params![proof, account, common::START as i64]).unwrap();
    }
    transaction.commit().unwrap();
}

/// All of them accept an invitation and fetch their files.
fn join(served: &Served, ann: &Program<'_>, members: usize) -> Vec<MemberFile> {
    let runtime = Runtime::new().unwrap();
    let mut files = Vec::new();
    for first in (0..members).step_by(1000) {
        let uses = json!({"uses": 1000, "days": 1});
        let made = ann.done("POST", "/api/v1/groups/chess/invitations", &uses).json();
        let invitation = Token::read(made["token"].as_str().unwrap()).unwrap();
        let site = &served.site;
        for number in first..members.min(first + 1000) {
            files.push(runtime.block_on(async {
                let own = Token::of(token(number));
                let at = At::new(&site.who(&own).await.unwrap(), "chess");
                site.accept(&at, &invitation).await.unwrap();
                site.file(&at).await.unwrap()
            }));
        }
    }
    files
}

fn pages(served: &Served) {
    let mut browser = served.browser();
    browser.post(("/login", "/login"), &[("name", "ann"), ("password", PASSWORD)]);
    let cookie = browser.cookie.clone().unwrap();
    let mut stream = served.stream();
    for path in ["/groups/chess", "/groups/chess?after=user005000", "/groups/chess/audit"] {
        let mut times: Vec<f64> = (0..PAGES)
            .map(|_| {
                let start = Instant::now();
                let request = Request::get(path).with("Cookie", cookie.clone());
                let answer = exchange(&mut stream, served.local, &request);
                assert_eq!(answer.status, 200, "{}", answer.body);
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let (median, worst) = (times[PAGES / 2], times[PAGES - 1]);
        println!("{path}: median {median:.1} ms, slowest {worst:.1} ms");
    }
}

/// Nodes enrol, each member one, until the time is over.
fn enrolments(served: &Served, files: Vec<MemberFile>, time: Duration) {
    let nodes: Vec<Node> =
        files.into_iter().map(|file| Node { file, key: keys::generate().unwrap() }).collect();
    let bodies: Vec<String> = nodes
        .iter()
        .map(|node| serde_json::to_string(&node.signed(node.draft(served.now()))).unwrap())
        .collect();
    let next = AtomicUsize::new(0);
    let (start, before) = (Instant::now(), processor_time());
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            let work = || {
                let mut stream = connect(served.local, &served.site.pin());
                while start.elapsed() < time {
                    let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                    let request = Request::json("POST", "/api/v1/enrol", body);
                    let answer = exchange(&mut stream, served.local, &request);
                    assert_eq!(answer.status, 200, "{}", answer.body);
                }
            };
            Builder::new().name(LOAD.to_owned()).spawn_scoped(scope, work).unwrap();
        }
    });
    let (wall, busy) = (start.elapsed().as_secs_f64(), processor_time() - before);
    let count = next.load(Ordering::Relaxed).min(bodies.len()) as f64;
    println!("{count} enrolments in {wall:.1} s: {:.0} a second", count / wall);
    println!(
        "the site's threads took {busy:.1} s of processor time: {:.0} a second on one core",
        count / busy
    );
}

/// Seconds that all threads but those of the load have had.
fn processor_time() -> f64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let lines = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
    let ticks = lines.filter_map(|line| {
        let (head, rest) = line.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let of = |at: usize| fields.get(at)?.parse::<f64>().ok();
        (!head.ends_with(LOAD)).then_some(of(11)? + of(12)?)
    });
    ticks.sum::<f64>() / TICKS
}
