//! A site whose disk fills up: it says so, changes nothing, loses nothing, and goes on once there is room again.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};

use common::group::text;
use common::site::Site;
use common::{BINARY, until};
use serde_json::{Value, json};

/// A file system of 6 MiB in a namespace of its own, which is gone with its process.
struct Disk {
    holder: Child,
    folder: PathBuf,
}

impl Disk {
    fn new(folder: &Path) -> Self {
        let mut holder = Process::new("unshare");
        holder.args([
            "-rm",
            "sh",
            "-c",
            "mount -t tmpfs -o size=6m none \"$0\" && touch \"$0/there\" && cat",
        ]);
        let holder = holder.arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let disk = Self { holder, folder: folder.to_owned() };
        until("the disk is there", || disk.seen("there").exists().then_some(()));
        disk
    }

    /// A file of it as this process reaches it.
    fn seen(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.holder.id(), text(&self.folder.join(name))))
    }

    /// The program, which sees the disk.
    fn program(&self) -> Process {
        let mut process = Process::new("nsenter");
        process.args(["-t", &self.holder.id().to_string(), "-U", "-m", "--preserve-credentials", BINARY]);
        process.env_remove("ATOLL_CONTROL").stdin(Stdio::null());
        process
    }

    /// Uses up what is left.
    fn fill(&self) {
        let mut ballast = File::options().create(true).append(true).open(self.seen("ballast")).unwrap();
        for len in [64 << 10, 4 << 10, 1] {
            loop {
                match ballast.write(&vec![1; len]) {
                    Ok(_) => {}
                    Err(why) if why.kind() == ErrorKind::StorageFull => break,
                    Err(why) => panic!("{why}"),
                }
            }
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.seen("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// What the site says to somebody who wants something changed, until there is no room for it.
#[track_caller]
fn refused(site: &Site, (method, path): (&str, &str), (token, body): (&str, &Value)) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let said = until("nothing can be stored", || {
        let (status, said) = site.try_ask(method, path, (token, &body)).unwrap();
        (status != 200).then_some((status, said))
    });
    let reason: Value = serde_json::from_str(&said.1).unwrap();
    assert_eq!((said.0, &reason["reason"]), (503, &json!("unavailable")), "{method} {path}");
}

#[test]
fn a_site_whose_disk_is_full_loses_nothing_and_goes_on_when_there_is_room() {
    let mut try_it = Process::new("unshare");
    if !try_it.args(["-rm", "true"]).status().is_ok_and(|status| status.success()) {
        return println!("SKIPPED: no namespace for a small disk");
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path());
    let mut site = Site::start_as(disk.program(), folder.path(), &[]);
    let (ann, bob) = (site.account("ann"), site.account("bob"));
    site.ask("POST", "/api/v1/groups", (&ann, &json!({"name": "chess"})));
    site.ask("POST", "/api/v1/groups/chess/requests", (&bob, &Value::Null));
    let state = |site: &Site| {
        let said = site.ask("GET", "/api/v1/groups/chess", (&bob, &Value::Null));
        let said: Value = serde_json::from_str(&said).unwrap();
        said["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(&site), "asking");

    disk.fill();
    let admits = ("PUT", "/api/v1/groups/chess/requests/bob");
    let admitted = json!({"admitted": true});
    refused(&site, admits, (&ann, &admitted));
    refused(&site, ("POST", "/api/v1/groups"), (&bob, &json!({"name": "go"})));
    // What is there can be read, pages and all, and nothing was done by halves.
    assert_eq!(state(&site), "asking");
    let (status, page) = site.try_ask("GET", "/login", ("", "")).unwrap();
    assert!(status == 200 && page.contains("</html>"), "{status} {page}");

    // It does not begin on a full disk, says why, and leaves everything as it is.
    site.kill();
    let mut again = disk.program();
    again.args(["site", "--listen", "127.0.0.1:0", "--data", text(&folder.path().join("data"))]);
    let output = again.args(["--key-file", text(&folder.path().join("key"))]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    println!("{said}");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("hint: ") && said.contains("room"), "{said}");

    disk.make_room();
    site = Site::start_as(disk.program(), folder.path(), &[]);
    assert_eq!(state(&site), "asking");
    site.ask(admits.0, admits.1, (&ann, &admitted));
    assert_eq!(state(&site), "member");

    // A revocation that finds no room is refused, and done once there is some.
    disk.fill();
    let revokes = ("DELETE", "/api/v1/groups/chess/members/bob");
    refused(&site, revokes, (&ann, &Value::Null));
    assert_eq!(state(&site), "member");
    disk.make_room();
    site.ask(revokes.0, revokes.1, (&ann, &Value::Null));
    assert_eq!(state(&site), "revoked");
}
