//! The key file: nothing opens without it, and nothing secret lies in the database.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;

use atoll_core::security::Wall;
use atoll_site::{Clock, KeyFile, NoVault, NotOpened, Places, Site, Told};
use common::node::{Node, unhex};
use common::{PASSWORD, Served, places};
use serde_json::json;

fn open(places: &Places) -> Result<Site, NotOpened> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Site::open(places, Told::default(), Clock::new(|| Wall(common::START))))
}

#[test]
fn a_site_refuses_to_start_without_the_key_of_its_database() {
    let served = Served::new();
    served.program("ann").done("POST", "/api/v1/groups", &json!({"name": "chess"}));
    let folder = served.end();
    let places = places(folder.path());
    let key = fs::read(places.key.path()).unwrap();
    fs::remove_file(places.key.path()).unwrap();
    assert!(matches!(open(&places), Err(NotOpened::Vault(NoVault::Missing(_)))));
    assert!(!places.key.path().exists(), "none is made in its place");
    let other = tempfile::tempdir().unwrap();
    let strange = Places { key: KeyFile::Own(other.path().join("key")), ..places.clone() };
    atoll_site::files::publish(strange.key.path(), &[7; 32], atoll_site::files::Access::Private).unwrap();
    assert!(matches!(open(&strange), Err(NotOpened::Vault(NoVault::Other(_)))));
    let beside = Places { key: KeyFile::Own(places.data.join("key")), ..places.clone() };
    assert!(matches!(open(&beside), Err(NotOpened::Vault(NoVault::Beside(_)))));
    atoll_site::files::publish(places.key.path(), &key, atoll_site::files::Access::Private).unwrap();
    assert!(open(&places).is_ok());
}

#[test]
fn the_folder_of_the_database_holds_no_secret_in_the_clear() {
    let served = Served::new();
    let ann = served.program("ann");
    ann.done("POST", "/api/v1/groups", &json!({"name": "chess"}));
    let node = Node::of(&ann, "chess");
    let token = ann.token.clone();
    drop(ann);
    let folder = served.end();
    let mut bytes = Vec::new();
    for entry in fs::read_dir(folder.path().join("data")).unwrap() {
        bytes.extend(fs::read(entry.unwrap().path()).unwrap());
    }
    let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(holds(b"chess"), "it is the database");
    for text in [&node.file.group.secret, &node.file.user.key] {
        assert!(!holds(text.as_bytes()) && !holds(&unhex(text)));
    }
    assert!(!holds(PASSWORD.as_bytes()) && !holds(token.as_bytes()));
    // The beginning of every private key in PKCS #8 on P-256.
    assert!(!holds(&unhex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420")));
}

#[test]
fn the_pin_stays_over_restarts() {
    let served = Served::new();
    let pin = served.site.pin();
    let served = Served::on(served.end(), common::START);
    assert_eq!(served.site.pin(), pin);
}
