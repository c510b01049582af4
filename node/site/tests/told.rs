//! Members are told of revocations, again and again until some confirm, and whatever happens there a revocation stands.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use atoll_core::security::{Authority, Notice, Salt};
use atoll_site::{At, Say, Token};
use common::club::{group, revoke};
use common::node::Node;
use common::{NO_TIME, Program, Served};
use openssl::x509::X509;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Whoever runs beside the site, as the test has it.
struct Beside {
    runtime: Runtime,
    said: mpsc::Receiver<Say>,
    spread: JoinHandle<()>,
}

impl Beside {
    fn of(served: &Served) -> Self {
        let runtime = Runtime::new().unwrap();
        let (say, said) = mpsc::channel(1);
        let spread = runtime.spawn(Arc::clone(&served.site).spread(say));
        Self { runtime, said, spread }
    }

    /// What is to be said next, within a moment.
    fn next(&mut self, seconds: u64) -> Option<Say> {
        let said = &mut self.said;
        self.runtime
            .block_on(async { timeout(Duration::from_secs(seconds), said.recv()).await })
            .ok()
            .flatten()
    }

    /// The site ends, and with it this.
    fn end(self) {
        drop(self.said);
        self.runtime.block_on(self.spread).unwrap();
    }
}

fn notices(say: &Say) -> Vec<Notice> {
    say.telling.notices.iter().map(|notice| Notice::read(notice).unwrap().0).collect()
}

#[test]
fn a_revocation_is_told_at_once_with_all_that_is_needed_to_find_members() {
    let served = Served::new();
    let (ann, others) = group(&served, &["bob", "eve"]);
    let (own, eve) = (Node::of(&ann, "chess"), Node::of(&others[1], "chess"));
    let [own_address, eve_address] = [&own, &eve].map(|node| {
        node.certificate(&served);
        atoll_core::security::address_of(&node.key).unwrap()
    });
    let mut beside = Beside::of(&served);
    assert!(beside.next(1).is_none(), "there is nothing to tell");
    revoke(&ann, "eve");
    let say = beside.next(5).unwrap();
    let told = notices(&say);
    assert_eq!((told.len(), &*told[0].user, &*say.telling.group), (1, "eve", "chess"));
    assert!(say.telling.members.contains(&own_address) && !say.telling.members.contains(&eve_address));
    assert!(say.telling.revoked.contains(&eve_address));
    let epochs = &say.telling.epochs;
    assert_eq!((epochs.len(), epochs[1]), (2, None));
    assert_eq!((epochs[0].unwrap().number, epochs[0].unwrap().salt.mark()), (told[0].number, told[0].mark));
    let root = X509::from_pem(own.file.group.authority.as_bytes()).unwrap();
    assert_eq!(say.telling.authority, root.to_der().unwrap());
    let mut rule = Authority::new(&say.telling.authority, "chess").unwrap();
    assert_eq!(rule.take_user_list(say.telling.list.as_ref().unwrap()), Ok(2), "Eve and her certificate");
    say.done.send(3).unwrap();
    assert!(beside.next(1).is_none(), "what some have confirmed is not told again");
    // A node is revoked alone, and the next announcement is of that alone.
    let second = Node::of(&others[0], "chess");
    second.certificate(&served);
    let address = atoll_core::security::address_of(&second.key).unwrap();
    ann.done("DELETE", &format!("/api/v1/groups/chess/nodes/{address}"), &json!(null));
    let say = beside.next(5).unwrap();
    assert_eq!((notices(&say).len(), notices(&say)[0].serials.len(), say.telling.epochs.len()), (1, 1, 3));
    drop(say);
    beside.end();
}

#[test]
fn what_nobody_confirmed_is_told_after_a_restart_and_a_day_later_no_more() {
    let served = Served::new();
    let (ann, _) = group(&served, &["bob", "eve"]);
    revoke(&ann, "eve");
    let mut beside = Beside::of(&served);
    drop(beside.next(5).unwrap());
    assert!(beside.next(2).is_none(), "a failure is followed by a pause");
    // Another revocation ends the pause; both are told, in their order.
    revoke(&ann, "bob");
    let say = beside.next(5).unwrap();
    assert_eq!(notices(&say).iter().map(|one| &*one.user).collect::<Vec<_>>(), ["eve", "bob"]);
    say.done.send(0).unwrap();
    beside.end();

    let (wall, _) = (served.now() as u64, drop(ann));
    let served = Served::on(served.end(), wall);
    let mut beside = Beside::of(&served);
    assert_eq!(notices(&beside.next(5).unwrap()).len(), 2);
    beside.end();
    let served = Served::on(served.end(), wall + 86_401);
    let mut beside = Beside::of(&served);
    assert!(beside.next(2).is_none());
    beside.end();
}

#[test]
fn a_member_gets_the_salt_and_a_revoked_one_does_not() {
    let served = Served::new();
    let (ann, others) = group(&served, &["bob", "eve"]);
    let [own, bob, eve] = [&ann, &others[0], &others[1]].map(|user: &Program<'_>| Node::of(user, "chess"));
    let said = own.enrol(&served).json();
    assert!(said["epoch"].is_null(), "nobody was revoked: {said}");
    eve.certificate(&served);
    revoke(&ann, "eve");
    let first = own.enrol(&served).json()["epoch"].clone();
    assert_eq!(bob.enrol(&served).json()["epoch"], first, "newcomers as well");
    assert_eq!(eve.enrol(&served).reason(), "revoked");
    let lists = own.list(&served).json();
    let last = lists["notices"].as_array().unwrap().last().unwrap().as_str().unwrap().to_owned();
    let (notice, _) = Notice::read(&openssl::base64::decode_block(&last).unwrap())
        .map(|(notice, signature)| (notice, signature.to_vec()))
        .unwrap();
    let salt = common::node::unhex(first["salt"].as_str().unwrap()).try_into().unwrap();
    assert_eq!((first["number"].as_u64(), Salt(salt).mark()), (Some(notice.number), notice.mark));
    revoke(&ann, "bob");
    let second = own.enrol(&served).json()["epoch"].clone();
    assert!(second["number"].as_u64() > first["number"].as_u64() && second["salt"] != first["salt"]);
    served.pass(1);
    assert_eq!(own.enrol(&served).json()["epoch"], second);
}

#[test]
fn salts_that_cannot_be_read_are_in_the_way_of_nothing() {
    let served = Served::new();
    let (ann, others) = group(&served, &["bob", "eve"]);
    let [own, bob] = [&ann, &others[0]].map(|user: &Program<'_>| Node::of(user, "chess"));
    own.certificate(&served);
    revoke(&ann, "eve");
    let spoil = || {
        let database = served.folder.as_ref().unwrap().path().join("data/site.sqlite");
        let database = rusqlite::Connection::open(database).unwrap();
        database.busy_timeout(Duration::from_secs(5)).unwrap();
        assert!(database.execute("UPDATE notices SET salt = x'00'", []).unwrap() > 0);
    };
    spoil();
    for node in [&own, &bob] {
        let answer = node.enrol(&served);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.json()["epoch"].is_null(), "{}", answer.body);
    }
    let mut beside = Beside::of(&served);
    let say = beside.next(5).unwrap();
    assert_eq!((notices(&say).len(), &*say.telling.epochs), (1, &[None][..]));
    say.done.send(1).unwrap();
    revoke(&ann, "bob");
    let lists = own.list(&served).json();
    assert!(lists["text"].as_str().unwrap().contains("user bob "));
    assert!(own.enrol(&served).json()["epoch"]["salt"].is_string(), "the next one is good");
    beside.end();
}

#[test]
fn a_revocation_whose_request_was_given_up_is_told_and_remembered() {
    let served = Served::new();
    let (ann, _) = group(&served, &["bob", "eve"]);
    let mut beside = Beside::of(&served);
    assert!(beside.next(1).is_none());
    beside.runtime.block_on(async {
        let account = served.site.who(&Token::read(&ann.token).unwrap()).await.unwrap();
        let at = At::new(&account, "chess");
        let mut call = pin!(served.site.revoke_user(&at, "eve"));
        // A browser that goes away has the call dropped while the writer works.
        let begun = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
        assert!(begun.is_pending());
    });
    let say = beside.next(5).expect("it is told");
    assert_eq!(&*notices(&say)[0].user, "eve");
    let watermark = served.folder.as_ref().unwrap().path().join("watermark");
    let number = notices(&say)[0].number;
    let kept = json!({"chess": number}).to_string();
    let is_kept = || std::fs::read_to_string(&watermark).unwrap() == kept;
    assert!((0..50).any(|_| is_kept() || {
        std::thread::sleep(Duration::from_millis(100));
        false
    }));
    drop(say);
    beside.end();
}

/// Founds a group, and revokes Eve in it.
fn revoke_in(founder: &Program<'_>, eve: &Program<'_>, group: &str) {
    founder.done("POST", "/api/v1/groups", &json!({"name": group}));
    eve.done("POST", &format!("/api/v1/groups/{group}/requests"), &json!(null));
    let request = format!("/api/v1/groups/{group}/requests/eve");
    founder.done("PUT", &request, &json!({"admitted": true}));
    founder.done("DELETE", &format!("/api/v1/groups/{group}/members/eve"), &json!(null));
}

#[test]
fn groups_in_which_nobody_answers_leave_room_for_a_fresh_revocation() {
    let served = Served::new();
    let (ann, others) = group(&served, &["bob", "eve"]);
    let founders = ["ben", "dan"].map(|name| served.program(name));
    for at in 0..18 {
        revoke_in(&founders[at / 9], &others[1], &format!("silent-{at:02}"));
        served.pass(1);
    }
    let mut beside = Beside::of(&served);
    let silent: Vec<Say> = std::iter::from_fn(|| beside.next(2)).collect();
    revoke(&ann, "bob");
    let say = beside.next(5).expect("it is told at once");
    assert_eq!(&*say.telling.group, "chess");
    let mut names: Vec<&str> = silent.iter().map(|say| &*say.telling.group).collect();
    names.sort_unstable();
    let newest: Vec<String> = (10..18).map(|at| format!("silent-{at}")).collect();
    assert_eq!(names, newest, "after a restart those come first that were revoked last");
    drop(silent);
    beside.end();
}

#[test]
fn a_revocation_wakes_its_own_group_and_no_silent_one() {
    let served = Served::new();
    let (ann, others) = group(&served, &["bob", "eve"]);
    revoke_in(&ann, &others[1], "silent");
    let mut beside = Beside::of(&served);
    assert_eq!(&*beside.next(5).unwrap().telling.group, "silent");
    revoke(&ann, "eve");
    assert_eq!(&*beside.next(5).unwrap().telling.group, "chess");
    assert!(beside.next(1).is_none(), "both rest");
    revoke(&ann, "bob");
    let say = beside.next(5).unwrap();
    assert_eq!((&*say.telling.group, notices(&say).len()), ("chess", 2));
    assert!(beside.next(1).is_none());
    drop(say);
    beside.end();
}

#[test]
fn a_group_whose_turn_broke_down_has_another_one() {
    let served = Served::new();
    let (ann, _) = group(&served, &["bob", "eve"]);
    revoke(&ann, "eve");
    let now = served.clock.swap(NO_TIME, Ordering::Relaxed);
    let mut beside = Beside::of(&served);
    assert!(beside.next(2).is_none(), "who reads the clock panics");
    served.clock.store(now, Ordering::Relaxed);
    revoke(&ann, "bob");
    let say = beside.next(5).expect("it is told");
    assert_eq!(notices(&say).iter().map(|one| &*one.user).collect::<Vec<_>>(), ["eve", "bob"]);
    drop(say);
    beside.end();
}
