//! The dashboard and the alerts against a real Prometheus that reads real nodes behind a real fabric.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use atoll_fabric::api::{Attach, Client};
use atoll_fabric::setting::Setting;
use serde_json::Value;
use support::{Program, StandIn, may_make_namespaces, node_binary, topology, workspace};

/// Longest wait for what must happen soon on a slow machine.
const SOON: Duration = Duration::from_secs(90);
const NODES: usize = 8;

fn dashboards() -> PathBuf {
    workspace().join("dashboards")
}

fn has_prometheus(test: &str) -> bool {
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let has = has("prometheus") && has("promtool");
    if !has {
        eprintln!("SKIPPED: {test}: prometheus and promtool (Debian package `prometheus`) are not installed");
    }
    has
}

/// Nodes in namespaces behind a fabric, all of them let go.
struct Town {
    hosts: Vec<StandIn>,
    pages: SocketAddr,
    _fabric: Program,
}

impl Town {
    async fn start(folder: &Path) -> Self {
        let topology = topology("cones", NODES, Duration::from_millis(5));
        let (setting, socket) = (folder.join("setting.json"), folder.join("fabric.sock"));
        let first = topology.hosts.iter().position(|host| host.gateway.is_none()).expect("one is public");
        let bootstrap = SocketAddr::new(topology.hosts[first].address, 4001);
        fs::write(&setting, Setting { topology, seed: [1; 32], dilation: 1 }.to_json().unwrap()).unwrap();
        let fabric = Command::new(env!("CARGO_BIN_EXE_atoll-fabric"))
            .args([Path::new("--setting"), &setting, Path::new("--socket"), &socket])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let fabric = Program(fabric);
        let client = Client::new(&socket);
        until("the fabric answers", async || client.report().await.is_ok()).await;
        let secret = folder.join("secret");
        fs::write(&secret, [7; 32]).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let site = (first + 1) % NODES;
        let hosts: Vec<_> = (0..NODES)
            .map(|n| {
                let config = folder.join(format!("m{n}.yaml"));
                let mut text = configuration((n != first).then_some(bootstrap), &secret);
                if n == first {
                    text += &vouched(folder);
                }
                fs::write(&config, text).unwrap();
                let beside = folder.join(format!("site{n}"));
                held(&if n == site { site_words(&config, &beside) } else { node_words(&config) })
            })
            .collect();
        attach(&client, &hosts).await;
        // What nobody asked for is dropped, and counted.
        assert!(client.controls().await.unwrap().iter().all(|control| control.holds));
        let names: Vec<_> = (0..NODES).map(|n| format!("m{n}")).collect();
        assert!(client.release(&names).await.unwrap().iter().all(Result::is_ok));
        let pages = SocketAddr::from(([127, 0, 0, 1], client.report().await.unwrap().pages_port));
        Self { hosts, pages, _fabric: fabric }
    }
}

/// A member of the public overlay and of a private one.
fn configuration(bootstrap: Option<SocketAddr>, secret: &Path) -> String {
    let bootstraps = bootstrap.map(|address| format!("\"{address}\"")).unwrap_or_default();
    format!(
        "listen: \"0.0.0.0:4001\"\nmetrics: \"127.0.0.1:9100\"\ncontrol: \"127.0.0.1:9101\"\nlog: {{level: off}}\n\
         overlays:\n  - {{name: public, bootstraps: [{bootstraps}]}}\n  - {{name: group, security: none, \
         discovery: {{secret: {}}}}}\n",
        secret.display()
    )
}

/// Memberships by a certificate, and by the file of a site that does not answer.
fn vouched(folder: &Path) -> String {
    let (authority, member) = (folder.join("authority"), folder.join("member"));
    let cert = |words: &[&str], out: &Path| {
        let status =
            Command::new(node_binary()).arg("cert").args(words).arg("--out").arg(out).output().unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    };
    cert(&["ca", "--group", "vouched"], &authority);
    cert(&["issue", "--ca", authority.to_str().unwrap(), "--user", "ann"], &member);
    let root = fs::read_to_string(authority.join("authority.pem")).unwrap().replace('\n', "\n    ");
    let digits = "1f".repeat(32);
    let text = format!(
        "atoll: 1\nsite: {{urls: [\"https://127.0.0.1:1\"], pin: \"{digits}\"}}\ngroup:\n  name: vouched\n  \
         secret: \"{digits}\"\n  authority: |\n    {root}\nuser: {{name: ann, key: \"{digits}\"}}\nbootstraps: []\n"
    );
    let file = folder.join("vouched.atoll");
    fs::write(&file, text).unwrap();
    format!(
        "  - {{name: vouched, group: {{name: vouched, folder: {}}}}}\n  - {{name: enrolling, group: {{file: {}, \
         folder: {}}}}}\n",
        member.display(),
        file.display(),
        folder.join("enrolling").display()
    )
}

fn node_words(config: &Path) -> String {
    format!("run --config {}", config.display())
}

/// A site that is reached through the overlay, and its node.
fn site_words(config: &Path, folder: &Path) -> String {
    let (config, folder) = (config.display(), folder.display());
    format!("site --data {folder} --key-file {folder}.key --overlay-only --log off --config {config}")
}

fn held(words: &str) -> StandIn {
    let (hold, node) = (env!("CARGO_BIN_EXE_atoll-hold"), node_binary());
    StandIn::running(&format!("exec {hold} {} {words} 2>/dev/null", node.display()))
}

async fn attach(client: &Client, hosts: &[StandIn]) {
    let order = |(n, host): (usize, &StandIn)| Attach {
        name: format!("m{n}"),
        host: u32::try_from(n).unwrap(),
        pid: host.pid(),
        held: true,
    };
    let orders: Vec<_> = hosts.iter().enumerate().map(order).collect();
    assert_eq!(client.attach(&orders).await.unwrap(), vec![None; hosts.len()]);
}

/// Waits for a state of another process that announces itself in no other way.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < SOON, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A Prometheus of our own, with the configuration that users get.
struct Prometheus {
    at: SocketAddr,
    _program: Program,
}

impl Prometheus {
    /// Starts it with the fabric's place filled in, and quicker than for users.
    fn start(folder: &Path, pages: SocketAddr) -> Self {
        let config = fs::read_to_string(dashboards().join("prometheus.yml")).unwrap();
        assert!(config.contains("127.0.0.1:9099"), "the place that users replace is named");
        let rules = dashboards().join("rules.yml").display().to_string();
        let config = config
            .replace("127.0.0.1:9099", &pages.to_string())
            .replace("rules.yml", &rules)
            .replace(": 5s", ": 1s");
        let file = folder.join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={at}"))
            .arg("--log.level=error")
            .spawn()
            .unwrap();
        Self { at, _program: Program(child) }
    }

    fn get(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.at).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.at).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// Whether a query has an answer with a number in it. A query that is refused ends the test.
    #[track_caller]
    fn answers(&self, query: &str) -> bool {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let Some(answer) = self.get(&format!("/api/v1/query?query={encoded}")) else { return false };
        assert_eq!(answer["status"], "success", "{query}: {}", answer["error"]);
        let series = answer["data"]["result"].as_array().unwrap();
        series.iter().any(|one| one["value"][1].as_str().unwrap().parse::<f64>().unwrap().is_finite())
    }

    /// Waits until every query has an answer.
    async fn wait_for(&self, queries: BTreeSet<String>) {
        let start = Instant::now();
        let mut empty = queries;
        while !empty.is_empty() {
            empty.retain(|query| !self.answers(query));
            assert!(start.elapsed() < SOON, "no answer to:\n{}", Vec::from_iter(empty).join("\n"));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What the rules compute and what the alerts compare, as Prometheus itself understood them.
    fn rules(&self) -> BTreeSet<String> {
        let answer = self.get("/api/v1/rules").unwrap();
        let groups = answer["data"]["groups"].as_array().unwrap();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
        rules.flat_map(rule_queries).collect()
    }
}

fn rule_queries(rule: &Value) -> Vec<String> {
    let query = rule["query"].as_str().unwrap();
    if rule["type"] == "recording" {
        return vec![query.to_owned(), rule["name"].as_str().unwrap().to_owned()];
    }
    let (left, _) = query.rsplit_once(" > ").unwrap_or_else(|| panic!("{query} compares nothing"));
    vec![left.to_owned()]
}

/// Every query of the dashboard: of its panels, and of its variables.
fn dashboard_queries(dashboard: &Value) -> BTreeSet<String> {
    let mut queries = BTreeSet::new();
    let panels = dashboard["panels"].as_array().unwrap();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{} asks nothing", panel["title"]);
        queries.extend(targets.iter().map(|target| filled(target["expr"].as_str().unwrap())));
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        let query = variable["query"]["query"].as_str().unwrap();
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
        let (metric, label) = inner.rsplit_once(", ").unwrap();
        queries.insert(format!("count by ({label}) ({metric})"));
    }
    queries
}

/// A query with its variables filled in, as Grafana does.
fn filled(query: &str) -> String {
    let values = [("$__rate_interval", "20s"), ("$__range", "1m"), ("$overlay", ".*"), ("$node", ".*")];
    let query = values.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value));
    assert!(!query.contains('$'), "{query} has a variable that this test does not know");
    query
}

fn dashboard() -> Value {
    serde_json::from_slice(&fs::read(dashboards().join("overlay.json")).unwrap()).unwrap()
}

#[tokio::test]
async fn every_panel_and_every_rule_has_an_answer_from_a_real_prometheus() {
    let test = "every_panel_and_every_rule_has_an_answer_from_a_real_prometheus";
    if !may_make_namespaces(test) || !has_prometheus(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut town = Town::start(folder.path()).await;
    let prometheus = Prometheus::start(folder.path(), town.pages);
    let all_seen = format!(
        "sum(atoll_connected{{overlay=~\"public|group\"}}) == {} and sum(up{{job=\"nodes\"}}) == {NODES}",
        2 * NODES
    );
    prometheus.wait_for(BTreeSet::from([all_seen])).await;
    // A death, so that what tells of deaths has something to tell.
    town.hosts.last_mut().unwrap().end();
    let queries = dashboard_queries(&dashboard());
    assert!(queries.len() > 30, "{} queries", queries.len());
    let rules = prometheus.rules();
    assert!(rules.len() > 10, "{} rules", rules.len());
    prometheus.wait_for(&queries | &rules).await;
}

#[test]
fn panels_have_titles_and_explanations_and_no_two_share_a_place() {
    let dashboard = dashboard();
    let mut places = BTreeSet::new();
    let mut titles = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(titles.insert(title), "two panels are called {title}");
        assert!(panel["type"] == "row" || !panel["description"].as_str().unwrap().is_empty(), "{title}");
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(x < 24 && places.insert((x, y)), "{title} covers another panel");
            }
        }
    }
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    if !has_prometheus("alerts_fire_when_they_should_and_only_then") {
        return;
    }
    for arguments in [["check", "config", "prometheus.yml"], ["test", "rules", "rules-test.yml"]] {
        let done = Command::new("promtool").args(arguments).current_dir(dashboards()).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}
