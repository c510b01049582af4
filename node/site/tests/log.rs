//! What the site's log says when its database is older than what it has signed.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fmt::{Debug, Write as _};
use std::fs;
use std::sync::{Arc, Mutex};

use atoll_site::Enrol;
use common::club::{give_back, group, restored, revoke, with_backup};
use common::node::Node;
use common::{START, Served};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps every line from `info` on.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<(Level, String)>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push((*event.metadata().level(), text.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Lines {
    /// How many lines there were with all of these words since this was asked last.
    #[track_caller]
    fn said(&self, level: Level, words: &[&str]) -> usize {
        let lines: Vec<(Level, String)> = self.0.lock().unwrap().drain(..).collect();
        let fits =
            |line: &&(Level, String)| line.0 == level && words.iter().all(|word| line.1.contains(word));
        let count = lines.iter().filter(fits).count();
        assert!(count > 0, "{words:?} is not in {lines:?}");
        count
    }

    fn forget(&self) {
        self.0.lock().unwrap().clear();
    }
}

// One test: the log is the process's.
#[test]
fn a_restored_database_is_said_at_each_start_and_when_it_is_over() {
    let lines = Lines::default();
    tracing::subscriber::set_global_default(lines.clone()).unwrap();
    let served = Served::new();
    let (ann, others) = group(&served, &["bob"]);
    let own = Node::of(&ann, "chess");
    drop((ann, others));
    let (served, backup) = with_backup(served, START);
    revoke(&served.again("ann"), "bob");
    let said = own.list(&served).json();

    lines.forget();
    let served = restored(served.end(), backup.path(), START);
    let held = ["the database was restored", "chess", "hint=", "--release-restored", "number=1", "newest=2"];
    assert_eq!(lines.said(Level::WARN, &held), 1);
    let served = Served::on(served.end(), START);
    assert_eq!(lines.said(Level::WARN, &held), 1, "at the next start as well");
    give_back(&own, &served, &said);
    lines.said(Level::INFO, &["list came back", "chess", "given=2", "number=3"]);
    let served = Served::on(served.end(), START);
    assert!(lines.0.lock().unwrap().iter().all(|(_, line)| !line.contains("restored")), "it is over");

    let served = restored(served.end(), backup.path(), START);
    lines.said(Level::WARN, &held[..4]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(runtime.block_on(served.site.release()).unwrap(), ["chess"]);
    lines.said(Level::WARN, &["the operator lets the group sign again", "chess", "hint="]);

    // Without the watermark the site does not know whether anything is missing.
    let folder = served.end();
    fs::remove_file(folder.path().join("watermark")).unwrap();
    lines.forget();
    let served = restored(folder, backup.path(), START);
    let lost = ["no watermark", "chess", "hint=", "let members ask", "--release-restored", "number=1"];
    assert_eq!(lines.said(Level::WARN, &lost), 1);
    let served = Served::on(served.end(), START);
    assert_eq!(lines.said(Level::WARN, &lost), 1, "at the next start as well");
    for _ in 0..2 {
        give_back(&own, &served, &said);
    }
    assert_eq!(
        lines.said(Level::INFO, &["the group stays held", "chess", "given=2"]),
        1,
        "once for each list"
    );
    assert_eq!(runtime.block_on(served.site.release()).unwrap(), ["chess"]);

    // The watermark was put back as well, so that the site sees nothing by itself; a node does.
    let folder = served.end();
    fs::write(folder.path().join("watermark"), "{\"chess\":1}").unwrap();
    let served = restored(folder, backup.path(), START);
    lines.forget();
    let ask = || {
        let draft = own.draft(served.now());
        Node::send(&served, &own.signed(Enrol { list: 9, ..draft })).reason()
    };
    assert_eq!([ask(), ask()], ["restored", "restored"]);
    assert_eq!(lines.said(Level::WARN, &["knows a newer list", "chess", "hint=", "number=9"]), 1);
}
