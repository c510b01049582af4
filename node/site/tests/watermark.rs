//! The watermark: without it nobody knows whether revocations are missing, and only the operator says that the site signs again.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use atoll_core::security::{UserList, Wall};
use atoll_site::{Clock, NoWatermark, NotOpened, Site, Told};
use common::club::{give_back, group, restored, revoke, with_backup};
use common::node::Node;
use common::{PASSWORD, Program, START, Served, places};
use serde_json::{Value, json};

/// A group whose database and watermark are those of before a revocation and gone.
struct Lost {
    served: Served,
    token: String,
    own: Node,
    bob: Node,
    /// The list of before the copy, which Bob has, and the last one.
    lists: [Value; 2],
}

impl Lost {
    fn new() -> Self {
        let served = Served::new();
        let (ann, others) = group(&served, &["bob", "eve"]);
        let [own, bob] = [&ann, &others[0]].map(|one| Node::of(one, "chess"));
        bob.certificate(&served);
        let old = bob.list(&served).json();
        let token = ann.token.clone();
        drop((ann, others));
        let (served, backup) = with_backup(served, START);
        revoke(&Program { served: &served, token: token.clone() }, "bob");
        let newest = own.list(&served).json();
        let folder = served.end();
        fs::rename(folder.path().join("watermark"), folder.path().join("away")).unwrap();
        let served = restored(folder, backup.path(), START);
        Self { served, token, own, bob, lists: [old, newest] }
    }

    fn ann(&self) -> Program<'_> {
        Program { served: &self.served, token: self.token.clone() }
    }

    /// Nothing is signed, whoever asks.
    #[track_caller]
    fn is_held(&self) {
        assert_eq!(self.bob.enrol(&self.served).reason(), "restored");
        assert_eq!(self.own.enrol(&self.served).reason(), "restored");
        assert_eq!(self.own.list(&self.served).reason(), "restored");
        self.ann().refused(("DELETE", "/api/v1/groups/chess/members/eve"), &json!(null), "restored");
        let view = self.ann().done("GET", "/api/v1/groups/chess", &json!(null)).json();
        assert_eq!(view["inside"]["held"], true);
    }

    fn again(self) -> Self {
        let served = Served::on(self.served.end(), START);
        Self { served, ..self }
    }

    fn release(&self) -> UserList {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        assert_eq!(runtime.block_on(self.served.site.release()).unwrap(), ["chess"]);
        let said = self.own.list(&self.served).json();
        UserList::read(said["text"].as_str().unwrap()).unwrap()
    }
}

#[test]
fn a_copy_in_the_place_of_a_site_that_was_started_without_it_is_held() {
    let lost = Lost::new();
    let (token, own, bob, lists) = (lost.token, lost.own, lost.bob, lost.lists);
    let folder = lost.served.end();
    // What a site without groups writes when it is started before the copy is in its place.
    let place = folder.path().join("watermark");
    fs::write(&place, "{}").unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o600)).unwrap();
    let data = folder.path().join("data");
    let database = rusqlite::Connection::open(data.join("site.sqlite")).unwrap();
    database.execute("UPDATE groups SET held = 0", []).unwrap();
    drop(database);
    let lost = Lost { served: Served::on(folder, START), token, own, bob, lists };
    lost.is_held();
    lost.again().is_held();
}

#[test]
fn a_watermark_that_was_only_elsewhere_frees_its_groups_when_it_is_back() {
    let served = Served::new();
    let (ann, others) = group(&served, &["bob"]);
    let own = Node::of(&ann, "chess");
    drop((ann, others));
    let folder = served.end();
    let (place, away) = (folder.path().join("watermark"), folder.path().join("away"));
    fs::rename(&place, &away).unwrap();
    let served = Served::on(folder, START);
    assert_eq!(own.enrol(&served).reason(), "restored");
    let folder = served.end();
    fs::rename(&away, &place).unwrap();
    let served = Served::on(folder, START);
    own.certificate(&served);
}

/// Members do that by themselves, and it is in nobody's way.
#[test]
fn a_watermark_that_is_back_frees_its_group_though_a_list_was_given_back_meanwhile() {
    let served = Served::new();
    let (ann, others) = group(&served, &["bob"]);
    let own = Node::of(&ann, "chess");
    let token = ann.token.clone();
    drop((ann, others));
    let known = own.list(&served).json();
    let without = |served: Served| {
        let folder = served.end();
        fs::rename(folder.path().join("watermark"), folder.path().join("away")).unwrap();
        Served::on(folder, START)
    };
    let served = without(served);
    assert_eq!(give_back(&own, &served, &known).json()["new"], false);
    let served = with_watermark(served);
    own.certificate(&served);
    // Nothing is left of it, nor after the operator's word.
    let served = without(served);
    let lost = Lost { served, token, own: own.clone(), bob: own, lists: [known.clone(), known] };
    lost.release();
    let served = with_watermark(without(lost.served));
    lost.own.certificate(&served);
}

/// The watermark that was away is back, in the place of what stands there now.
fn with_watermark(served: Served) -> Served {
    let folder = served.end();
    fs::rename(folder.path().join("away"), folder.path().join("watermark")).unwrap();
    Served::on(folder, START)
}

#[test]
fn a_copy_is_freed_by_the_watermark_and_the_newest_list_whichever_comes_first() {
    for newest_first in [true, false] {
        let Lost { served, own, bob, lists: [old, newest], .. } = Lost::new();
        assert_eq!(give_back(&own, &served, &old).json()["new"], false);
        let served = if newest_first {
            assert_eq!(give_back(&own, &served, &newest).json()["new"], false, "it may be an old one");
            with_watermark(served)
        } else {
            let served = with_watermark(served);
            assert_eq!(own.enrol(&served).reason(), "restored");
            assert_eq!(give_back(&own, &served, &old).json()["new"], false);
            assert_eq!(own.enrol(&served).reason(), "restored");
            assert_eq!(give_back(&own, &served, &newest).json()["new"], true);
            served
        };
        own.certificate(&served);
        assert_eq!(bob.enrol(&served).reason(), "revoked");
        let said = own.list(&served).json();
        let list = UserList::read(said["text"].as_str().unwrap()).unwrap();
        let number = newest["number"].as_i64().unwrap();
        assert!(list.number > number && list.users.iter().any(|(user, _)| user == "bob"), "{list:?}");
    }
}

#[test]
fn without_a_watermark_only_the_operator_has_the_site_sign_again() {
    let lost = Lost::new();
    lost.is_held();
    let mut ann = lost.served.browser();
    ann.post(("/login", "/login"), &[("name", "ann"), ("password", PASSWORD)]);
    let page = ann.get("/groups/chess").body;
    assert!(page.contains("was restored from an older copy, or may have been"), "{page}");
    let [old, newest] = lost.lists.clone();
    assert_eq!(give_back(&lost.bob, &lost.served, &old).json()["new"], false, "anybody may have an old one");
    lost.is_held();
    let lost = lost.again();
    lost.is_held();
    assert_eq!(
        give_back(&lost.own, &lost.served, &newest).json()["new"],
        false,
        "which may be an old one as well"
    );
    // What it says is kept.
    assert_eq!(lost.bob.enrol(&lost.served).reason(), "revoked");
    let lost = lost.again();
    assert_eq!(lost.own.enrol(&lost.served).reason(), "restored");
    let number = lost.lists[1]["number"].as_i64().unwrap();
    let list = lost.release();
    assert_eq!(list.number, number + 1, "above what was given back");
    assert!(list.users.iter().any(|(user, _)| user == "bob"));
    assert_eq!(lost.bob.enrol(&lost.served).reason(), "revoked");
    lost.own.certificate(&lost.served);
    let lost = lost.again();
    lost.own.certificate(&lost.served);
}

#[test]
fn a_group_that_is_founded_meanwhile_frees_no_other_one() {
    let lost = Lost::new();
    lost.ann().done("POST", "/api/v1/groups", &json!({"name": "go"}));
    Node::of(&lost.ann(), "go").certificate(&lost.served);
    let folder = lost.served.folder.as_ref().unwrap().path();
    assert!(folder.join("watermark").exists());
    // The same copy once more, which knows nothing of being held.
    let database = rusqlite::Connection::open(folder.join("data/site.sqlite")).unwrap();
    database.execute("UPDATE groups SET held = 0", []).unwrap();
    drop(database);
    let lost = lost.again();
    lost.is_held();
    Node::of(&lost.ann(), "go").certificate(&lost.served);
}

#[test]
fn a_group_that_was_being_founded_when_the_site_was_killed_goes_on() {
    let served = Served::new();
    let path = served.folder.as_ref().unwrap().path().join("watermark");
    assert_eq!(fs::read(&path).unwrap(), b"{}", "a site without groups makes it");
    let (ann, _) = group(&served, &[]);
    let own = Node::of(&ann, "chess");
    drop(ann);
    // It was killed between the founding and the number.
    let folder = served.end();
    fs::write(&path, "{\"chess\":-1}").unwrap();
    let served = Served::on(folder, START);
    own.certificate(&served);
    assert_eq!(fs::read(&path).unwrap(), b"{\"chess\":1}");
}

fn open(folder: &Path) -> Result<Site, NotOpened> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Site::open(&places(folder), Told::default(), Clock::new(|| Wall(START))))
}

#[test]
fn a_site_that_cannot_write_its_watermark_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut places = places(folder.path());
    places.watermark = folder.path().join("nowhere/watermark");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let try_it = || runtime.block_on(Site::open(&places, Told::default(), Clock::new(|| Wall(START))));
    let why = try_it().unwrap_err();
    assert!(matches!(&why, NotOpened::Watermark(NoWatermark::Unwritten { .. })), "{why:?}");
    assert!(why.to_string().contains("nowhere/watermark cannot be written"), "{why}");
    fs::create_dir(folder.path().join("nowhere")).unwrap();
    drop(try_it().unwrap());
    assert!(places.watermark.exists());
    // With groups that are held as well.
    let served = Served::on(folder, START);
    group(&served, &[]);
    let folder = served.end();
    fs::remove_file(folder.path().join("watermark")).unwrap();
    fs::create_dir(folder.path().join("watermark")).unwrap();
    assert!(matches!(open(folder.path()), Err(NotOpened::Watermark(NoWatermark::Unreadable { .. }))));
}

#[test]
fn a_number_that_could_not_be_kept_is_kept_as_soon_as_that_is_possible() {
    let served = Served::new();
    let (ann, _) = group(&served, &["bob", "eve"]);
    let path = served.folder.as_ref().unwrap().path().join("watermark");
    let kept = || serde_json::from_slice::<Value>(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(kept()["chess"], 1);
    // A folder at its place: nothing takes its name.
    let away = path.with_extension("away");
    fs::rename(&path, &away).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("full"), "").unwrap();
    revoke(&ann, "bob");
    revoke(&ann, "eve");
    fs::remove_dir_all(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while kept()["chess"] != 3 {
        assert!(Instant::now() < end, "{}", kept());
        std::thread::sleep(Duration::from_millis(50));
    }
}
