//! Notices among real processes: a user is out at once, and stays out after a restart.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;

use atoll_core::security::{Notice, SALT_LEN, Salt};
use common::group::{Forger, Groups, key, now, section, text};
use common::{Running, until, until_well_formed, verb};
use openssl::base64::encode_block;
use openssl::pkey::{PKey, Private};

/// A group `chess` whose members find each other through the first.
struct Chess {
    groups: Groups,
    authority: PathBuf,
    sections: Vec<String>,
    nodes: Vec<Running>,
}

impl Chess {
    fn of(users: &[&str]) -> Self {
        let groups = Groups::new();
        let authority = groups.authority("ca", "chess");
        let member = |user: &&str| section(&groups.member(&authority, user), &authority);
        let sections: Vec<String> = users.iter().map(member).collect();
        let mut nodes: Vec<Running> = Vec::new();
        for one in &sections {
            let bootstraps: Vec<SocketAddr> = nodes.iter().take(1).map(|node| node.listen).collect();
            nodes.push(groups.start(one, &bootstraps));
        }
        until_well_formed(&nodes);
        Self { groups, authority, sections, nodes }
    }

    /// A file with the notice that a user is revoked, signed with a key.
    fn notice(&self, user: &str, key: &PKey<Private>) -> PathBuf {
        let notice = Notice {
            group: "chess".to_owned(),
            number: 1,
            after: 0,
            at: now() as u64,
            digest: [0; 32],
            mark: Salt([1; SALT_LEN]).mark(),
            user: user.to_owned(),
            serials: Vec::new(),
        };
        let file = self.groups.path(&format!("notices-{user}"));
        fs::write(&file, encode_block(&notice.sign(key).unwrap()) + "\n").unwrap();
        file
    }

    fn revoke(&self, teller: usize, notices: &Path) -> Output {
        verb(&["revoke", text(notices), "--control", &self.nodes[teller].control.to_string()])
    }

    fn knows(node: &Running) -> u64 {
        node.status().revocations.unwrap().count
    }
}

#[test]
fn a_notice_puts_a_user_out_everywhere_and_is_known_after_a_restart() {
    let mut chess = Chess::of(&["ann", "bob", "eve"]);
    let notices = chess.notice("eve", &Forger::with(&chess.authority).key);
    let said = chess.revoke(0, &notices);
    assert_eq!(said.status.code(), Some(0), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(String::from_utf8_lossy(&said.stdout), "1: user eve\n");
    until("eve is out", || chess.nodes[2].peers().is_empty().then_some(()));
    until("bob knows", || (Chess::knows(&chess.nodes[1]) == 1).then_some(()));
    let users = |node: &Running| node.peers().into_iter().filter_map(|peer| peer.user).collect::<Vec<_>>();
    assert_eq!(users(&chess.nodes[1]), ["ann"]);
    assert_eq!(chess.revoke(1, &notices).status.code(), Some(1), "it is known there");

    // Ann is gone, so that nobody tells Bob; Eve tries again and again.
    let eve = chess.nodes.pop().unwrap();
    chess.nodes.clear();
    let bob = chess.groups.start(&chess.sections[1], &[eve.listen]);
    until("eve is refused", || {
        (bob.metric("atoll_drops_total{overlay=\"public\",reason=\"revoked\"}") > 0.0).then_some(())
    });
    assert!(Chess::knows(&bob) == 1 && bob.peers().is_empty() && eve.peers().is_empty());
}

#[test]
fn a_notice_of_somebody_else_is_refused_and_says_why() {
    let chess = Chess::of(&["ann", "bob"]);
    let forged = chess.notice("bob", &key());
    let said = chess.revoke(0, &forged);
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(2), "{why}");
    assert!(why.contains("the notice is refused") && why.contains("hint: "), "{why}");
    fs::write(&forged, "no notice\n").unwrap();
    let why = String::from_utf8_lossy(&chess.revoke(0, &forged).stderr).into_owned();
    assert!(why.contains("notices-bob:1: no notice in Base64"), "{why}");
    until_well_formed(&chess.nodes);
    assert!(chess.nodes.iter().all(|node| Chess::knows(node) == 0 && node.peers().len() == 1));
}
