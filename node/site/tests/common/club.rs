//! A group with some members, and a site whose database is put back to what it was.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::node::Node;
use super::{Answer, Program, Request, Served};

pub fn group<'a>(served: &'a Served, users: &[&str]) -> (Program<'a>, Vec<Program<'a>>) {
    let ann = served.program("ann");
    ann.done("POST", "/api/v1/groups", &json!({"name": "chess"}));
    let others = users.iter().map(|name| {
        let user = served.program(name);
        user.done("POST", "/api/v1/groups/chess/requests", &json!(null));
        ann.done("PUT", &format!("/api/v1/groups/chess/requests/{name}"), &json!({"admitted": true}));
        user
    });
    let others = others.collect();
    (ann, others)
}

pub fn revoke(ann: &Program<'_>, user: &str) {
    ann.done("DELETE", &format!("/api/v1/groups/chess/members/{user}"), &json!(null));
}

pub fn give_back(node: &Node, served: &Served, given: &Value) -> Answer {
    let body = json!({"text": given["text"], "signature": given["signature"], "notices": given["notices"]});
    let body = body.to_string();
    let request = Request::json("POST", "/api/v1/groups/chess/revocations", &body);
    served.ask(&request.with("Atoll-Reader", node.proof()))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The same site with its clock at `wall`, and its database as it is now, for [`restored`].
pub fn with_backup(served: Served, wall: u64) -> (Served, TempDir) {
    let (folder, backup) = (served.end(), tempfile::tempdir().unwrap());
    copy(&folder.path().join("data"), backup.path());
    (Served::on(folder, wall), backup)
}

/// The same site after its database was put back to what it was at `backup`.
pub fn restored(folder: TempDir, backup: &Path, wall: u64) -> Served {
    fs::remove_dir_all(folder.path().join("data")).unwrap();
    copy(backup, &folder.path().join("data"));
    Served::on(folder, wall)
}
