//! A site that nobody reaches from outside is found and joined through the overlay, by a node behind a NAT of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use atoll_topology::Topology;
use serde_json::Value;
use support::{Lab, Program, may_make_namespaces, node_binary};

/// Longest wait for what must happen soon on a slow machine.
const SOON: Duration = Duration::from_secs(90);
const MEMBERS: usize = 4;
const SITE: usize = 4;
const NODE: usize = 5;
const CONTROL: &str = "127.0.0.1:9101";

/// Members that everybody reaches, a site and a node, each of the two behind a NAT of this preset.
fn town(site: &str, node: &str) -> Topology {
    let text = format!(
        "
latency: 10 ms
sites:
  - name: town
    gateways:
      - {{name: office, is: {site}}}
      - {{name: home, is: {node}}}
    hosts:
      - {{name: a}}
      - {{name: b}}
      - {{name: c}}
      - {{name: d}}
      - {{name: site, behind: office}}
      - {{name: node, behind: home}}
"
    );
    Topology::from_yaml(&text, [7; 32], |_| Err("there is none".to_owned())).unwrap()
}

/// Starts a program at a host.
fn start(lab: &Lab, host: usize, program: &Path, words: &[&str]) -> Program {
    let spawn = || Command::new(program).args(words).stdin(Stdio::null()).stderr(Stdio::null()).spawn();
    Program(lab.hosts[host].namespace.enter(spawn).unwrap())
}

/// What a node's control interface says.
fn told(lab: &Lab, host: usize, path: &str) -> Option<Value> {
    let ask = || {
        let mut stream = TcpStream::connect(CONTROL)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {CONTROL}\r\nConnection: close\r\n\r\n")?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok(said)
    };
    let said = lab.hosts[host].namespace.enter(ask).ok()?;
    serde_json::from_str(said.split_once("\r\n\r\n")?.1).ok()
}

/// What a person does at the site's own machine.
fn page(lab: &Lab, path: &str, token: &str, body: Option<&str>) -> String {
    let (url, header) = (format!("https://127.0.0.1:4433{path}"), format!("Authorization: Bearer {token}"));
    let ask = || {
        let mut curl = Command::new("curl");
        curl.args(["--insecure", "--silent", "--show-error", "--fail", "--header", &header, &url]);
        curl.args(body.iter().flat_map(|body| ["--data", body])).output()
    };
    let output = lab.hosts[SITE].namespace.enter(ask).unwrap();
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn until<T>(claim: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + SOON;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "not within {SOON:?}: {claim}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether a host's member of the overlay at this place in its list is connected.
fn is_connected(lab: &Lab, host: usize, overlay: &str) -> Option<()> {
    let status = told(lab, host, "/status")?;
    let members = status["status"].as_array()?;
    members.iter().any(|one| one["overlay"] == overlay && one["state"] == "connected").then_some(())
}

/// A node joins by a file of the site; how long that took.
fn join(site: &str, node: &str) -> Duration {
    let topology = town(site, node);
    let (lab, folder) = (Lab::new(&topology, 6), tempfile::tempdir().unwrap());
    let binary = node_binary();
    let at = |host: usize| SocketAddr::new(lab.addresses[host], 4001).to_string();
    assert!(
        matches!(lab.addresses[SITE], IpAddr::V4(address) if address.is_private()),
        "{:?}",
        lab.addresses
    );
    let listen = ["--listen", "0.0.0.0:4001", "--control", CONTROL];
    let mut programs = vec![start(&lab, 0, &binary, &[&["run"], &listen[..]].concat())];
    let bootstrap = at(0);
    for host in 1..MEMBERS {
        let words = [&["run", "--bootstrap", &bootstrap], &listen[..]].concat();
        programs.push(start(&lab, host, &binary, &words));
    }
    (0..MEMBERS).for_each(|host| until("a member is connected", || is_connected(&lab, host, "public")));

    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let overlays = format!("overlays: [{{name: public, bootstraps: [\"{}\"]}}]\n", at(0));
    fs::write(place("site.yaml"), format!("listen: \"0.0.0.0:4001\"\ncontrol: \"{CONTROL}\"\n{overlays}"))
        .unwrap();
    let (data, key, config) = (place("data"), place("key"), place("site.yaml"));
    let words = ["--data", &data, "--key-file", &key, "--config", &config, "--overlay-only"];
    programs.push(start(&lab, SITE, &binary.with_file_name("atoll-site"), &words));
    until("the site's member is connected", || is_connected(&lab, SITE, "public"));
    let said = page(&lab, "/api/v1/accounts", "", Some("{\"name\":\"ann\",\"password\":\"correct horse\"}"));
    let token = serde_json::from_str::<Value>(&said).unwrap()["token"].as_str().unwrap().to_owned();
    page(&lab, "/api/v1/groups", &token, Some("{\"name\":\"chess\"}"));
    let file = place("chess.atoll");
    fs::write(&file, page(&lab, "/api/v1/groups/chess/file", &token, None)).unwrap();

    let (begin, data) = (Instant::now(), place("ann"));
    let words = [&["join", &file, "--data", &data], &listen[..]].concat();
    programs.push(start(&lab, NODE, &binary, &words));
    until("the node is in the group", || is_connected(&lab, NODE, "chess"));
    let took = begin.elapsed();
    let enrolment = told(&lab, NODE, "/enrolments").unwrap()[0].clone();
    assert_eq!((&enrolment["state"], &enrolment["reached_by"]), (&"enrolled".into(), &"overlay".into()));
    took
}

#[test]
fn a_node_behind_a_nat_joins_by_a_site_behind_another_that_lets_nobody_in() {
    let test = "a_node_behind_a_nat_joins_by_a_site_behind_another_that_lets_nobody_in";
    if !may_make_namespaces(test) {
        return;
    }
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("SKIPPED: {test}: curl is not installed");
        return;
    }
    for (site, node) in [("symmetric", "port-restricted-cone"), ("symmetric", "symmetric")] {
        println!("site behind {site}, node behind {node}: {:?}", join(site, node));
    }
}
