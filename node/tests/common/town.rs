//! A site with a group, members of the public overlay, and nodes that join by the site's files.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use atoll_core::control::State;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::group::text;
use super::site::Site;
use super::{Running, get, program, until};

/// All of it, ended when dropped.
pub struct Town {
    pub folder: TempDir,
    pub site: Site,
    pub public: Running,
    /// Of the administrator.
    pub token: String,
    flags: Vec<String>,
}

impl Town {
    /// A site with the group `chess`, which `ann` founded.
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// The same with further flags for the site.
    pub fn with(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let public = Running::start(&[]);
        let bootstrap = public.listen.to_string();
        let mut all = vec!["--bootstrap".to_owned(), bootstrap];
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let site = Site::start(folder.path(), &all.iter().map(String::as_str).collect::<Vec<_>>());
        Self::found(folder, public, (site, all))
    }

    /// The same with a site that runs already.
    pub fn found(folder: TempDir, public: Running, (site, flags): (Site, Vec<String>)) -> Self {
        let token = site.account("ann");
        site.ask("POST", "/api/v1/groups", (&token, &json!({"name": "chess"})));
        Self { folder, site, public, token, flags }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The site comes back after it was killed.
    pub fn restart_site(&mut self) {
        self.restart_site_with(&[]);
    }

    /// The same with more flags.
    pub fn restart_site_with(&mut self, more: &[&str]) {
        let own = self.flags.iter().map(String::as_str);
        let flags: Vec<&str> = own.chain(more.iter().copied()).collect();
        self.site.start_again(self.folder.path(), &flags);
    }

    /// A user whom `ann` lets in; gives the token.
    pub fn member(&self, name: &str) -> String {
        let token = self.site.account(name);
        self.site.ask("POST", "/api/v1/groups/chess/requests", (&token, &Value::Null));
        let place = format!("/api/v1/groups/chess/requests/{name}");
        self.site.ask("PUT", &place, (&self.token, &json!({"admitted": true})));
        token
    }

    /// The file of the user with this token, written to a place of this name.
    pub fn file(&self, token: &str, name: &str) -> PathBuf {
        let file = self.site.ask("GET", "/api/v1/groups/chess/file", (token, &Value::Null));
        let path = self.path(name);
        super::group::private(&path, file.as_bytes());
        path
    }

    /// A link for the user with this token.
    pub fn link(&self, token: &str) -> String {
        let said = self.site.ask("POST", "/api/v1/groups/chess/links", (token, &Value::Null));
        let said: Value = serde_json::from_str(&said).unwrap();
        said["link"].as_str().unwrap().to_owned()
    }

    pub fn policy(&self, policy: &str) {
        self.site.ask("PUT", "/api/v1/groups/chess/policy", (&self.token, &json!({"policy": policy})));
    }

    pub fn revoke(&self, user: &str) {
        let place = format!("/api/v1/groups/chess/members/{user}");
        self.site.ask("DELETE", &place, (&self.token, &Value::Null));
    }

    /// Nodes that wait for `ann`.
    pub fn waiting(&self) -> Vec<String> {
        let said = self.site.ask("GET", "/api/v1/groups/chess/nodes", (&self.token, &Value::Null));
        let said: Value = serde_json::from_str(&said).unwrap();
        let rows = said["rows"].as_array().unwrap();
        rows.iter().map(|row| row["address"].as_str().unwrap().to_owned()).collect()
    }

    pub fn decide(&self, address: &str, admitted: bool) {
        let place = format!("/api/v1/groups/chess/nodes/{address}");
        self.site.ask("PUT", &place, (&self.token, &json!({"admitted": admitted})));
    }

    /// The nodes of a user as the site's page has them.
    pub fn nodes(&self, user: &str) -> Vec<Value> {
        let place = format!("/api/v1/groups/chess/members/{user}/nodes");
        let said = self.site.ask("GET", &place, (&self.token, &Value::Null));
        serde_json::from_str(&said).unwrap()
    }

    /// `atoll-node join` by a file or a link, with this folder.
    pub fn join(&self, source: &str, data: &str) -> Running {
        let mut node = self.join_unready(source, data);
        node.wait_until_ready();
        node
    }

    /// The same, but for that it may not get ready.
    pub fn join_unready(&self, source: &str, data: &str) -> Running {
        self.join_as(program(&["join", source]), data)
    }

    /// The same by a process that becomes the program, with the verb.
    pub fn join_as(&self, process: Process, data: &str) -> Running {
        let data = self.path(data);
        let flags = ["--listen", "127.0.0.1:0", "--poll", "1 s", "--data", text(&data)];
        Running::start_unready(process, &flags)
    }

    /// A node with a configuration whose private overlay has this section `group`.
    pub fn run(&self, name: &str, section: &str, bootstraps: &[SocketAddr]) -> Running {
        let file = self.path(&format!("{name}.yaml"));
        let bootstraps: Vec<String> = bootstraps.iter().map(|address| format!("\"{address}\"")).collect();
        let overlays = format!(
            "overlays:\n  - {{name: public, bootstraps: [{}]}}\n  - {{name: chess, group: {{{section}}}}}\n",
            bootstraps.join(", ")
        );
        fs::write(&file, overlays).unwrap();
        Running::start_with(&["--listen", "127.0.0.1:0", "--config", text(&file)])
    }
}

/// What the control interface tells of the membership with a site.
pub fn enrolment(node: &Running) -> Value {
    let (status, body) = get(node.control, "/enrolments");
    assert_eq!(status, 200, "{body}");
    let all: Vec<Value> = serde_json::from_str(&body).unwrap();
    assert_eq!(all.len(), 1, "{body}");
    all.into_iter().next().unwrap()
}

/// Waits until nodes know each other in the group, and nobody else.
#[track_caller]
pub fn meet(nodes: &[&Running]) {
    until("the members of the group met", || {
        let met = |node: &&Running| {
            let state = node.status_in("chess").map(|status| status.state);
            state == Some(State::Connected) && node.peers_in("chess").len() == nodes.len() - 1
        };
        nodes.iter().all(met).then_some(())
    });
}

/// The certificate in a folder.
pub fn certificate(folder: &Path) -> Option<Vec<u8>> {
    fs::read(folder.join("node.pem")).ok()
}
