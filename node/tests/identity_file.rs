//! The identity: one key for good, whoever starts when and however it ends.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::path::Path;

use common::{Running, program, until};

fn start(key: &Path) -> Running {
    Running::start_with(&["--listen", "127.0.0.1:0", "--identity", key.to_str().unwrap()])
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn nodes_that_start_together_agree_on_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    let nodes: Vec<Running> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| start(&key))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let address = nodes[0].status().address;
    assert!(nodes.iter().all(|node| node.status().address == address));
    assert_eq!(files(folder.path()), ["key.pem"], "a draft was left behind");
}

#[test]
fn a_killed_node_comes_back_with_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    let mut first = start(&key);
    let address = first.status().address;
    first.signal("KILL");
    first.wait();
    assert_eq!(start(&key).status().address, address);
}

#[test]
fn nodes_that_are_killed_while_they_make_a_key_leave_none_that_is_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    for delay in 0..20 {
        let _ = fs::remove_file(&key);
        let flags = ["run", "--listen", "127.0.0.1:0", "--control", "off", "--log", "off", "--identity"];
        let mut child = program(&flags).arg(&key).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(delay * 500));
        child.kill().unwrap();
        child.wait().unwrap();
        if key.exists() {
            let pem = fs::read_to_string(&key).unwrap();
            assert!(pem.ends_with("-----END PRIVATE KEY-----\n"), "{pem}");
        }
    }
    until("a key is there", || start(&key).is_running().then_some(()));
}
