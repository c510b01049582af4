//! Mistakes in the file, the flags and the surroundings: a clear error, a hint, exit code 2, nothing left behind.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use common::verb;

/// Runs the node with a file of this text; gives what it says about its mistake.
#[track_caller]
fn refused(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.yaml");
    std::fs::write(&path, text).unwrap();
    refused_flags(&["--config", path.to_str().unwrap()]).replace(path.to_str().unwrap(), "node.yaml")
}

/// Runs the node with these flags, without fixed ports; gives what it says about its mistake.
#[track_caller]
fn refused_flags(flags: &[&str]) -> String {
    let output = verb(&[&["run"], flags].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty(), "errors belong on stderr");
    said
}

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

#[test]
fn every_mistake_in_the_file_gives_line_column_key_and_hint() {
    let cases = [
        ("lisen: \"0.0.0.0:1\"\n", "error: node.yaml:1:1: lisen: unknown", "did you mean `listen`?"),
        (
            "listen: 4001\n",
            "error: node.yaml:1:9: listen: `4001` is no transport address",
            "hint: write an IP address and a port",
        ),
        (
            "overlays:\n  - name: a\n    keepalive:\n      adjacent: 9\n",
            "error: node.yaml:4:17: overlays[0].keepalive.adjacent: `9` has no unit",
            "hint: write a duration with its unit",
        ),
        (
            "overlays:\n  - name: a\n    ring:\n      near: 99\n",
            "error: node.yaml:4:13: overlays[0].ring.near: 99 is out of range",
            "hint: write a whole number from 1 to 8",
        ),
        (
            "tcp: sometimes\n",
            "error: node.yaml:1:6: tcp: `sometimes` is neither true nor false",
            "hint: write `true` or `false`",
        ),
        ("overlays: [\n", "error: node.yaml:", "hint: "),
    ];
    for (text, place, hint) in cases {
        says(&refused(text), &[place, hint]);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    says(
        &refused_flags(&["--config", "/nowhere/node.yaml"]),
        &["error: /nowhere/node.yaml: No such", "hint: "],
    );
}

#[test]
fn a_file_without_an_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.yaml");
    std::fs::write(&path, "#".repeat(2 << 20)).unwrap();
    says(&refused_flags(&["--config", path.to_str().unwrap()]), &["too long for a configuration", "hint: "]);
    says(&refused_flags(&["--config", "/dev/zero"]), &["error: /dev/zero: too long", "hint: "]);
}

#[test]
fn a_wrong_flag_names_itself() {
    says(
        &refused_flags(&["--bootstrap", "nowhere"]),
        &["error: atoll-node run: ", "--bootstrap", "`nowhere` has no port", "hint: write a host and a port"],
    );
    says(
        &refused_flags(&["--tcp", "maybe"]),
        &[
            "error: atoll-node run: invalid value 'maybe' for '--tcp <BOOL>'",
            "hint: possible values: true, false",
        ],
    );
    says(
        &refused_flags(&["--inbox", "/tmp", "--security", "none"]),
        &["error: inbox: files need members that prove who they are", "hint: leave out one of the two"],
    );
    says(
        &refused_flags(&["--address", "12"]),
        &["error: ", "--address", "hint: write 40 hexadecimal digits\n"],
    );
}

#[test]
fn a_mistake_on_the_command_line_is_an_error_with_a_hint_and_exit_code_2() {
    let cases: [(&[&str], &str, &str); 5] = [
        (
            &["stauts"],
            "error: atoll-node: unrecognized subcommand 'stauts'",
            "hint: a similar subcommand exists: 'status'",
        ),
        (
            &["run", "--lisen", "[::]:1"],
            "error: atoll-node run: unexpected argument '--lisen' found",
            "hint: a similar argument exists: '--listen'",
        ),
        (
            &["run", "--listen"],
            "error: atoll-node run: a value is required for '--listen <IP:PORT>' but none was supplied",
            "hint: `atoll-node run --help` shows what may be written",
        ),
        (
            &["ping"],
            "error: atoll-node ping: the following required arguments were not provided: <ADDRESS>",
            "hint: `atoll-node ping --help`",
        ),
        (
            &["run", "--log", "lod"],
            "error: atoll-node run: invalid value 'lod' for '--log <LEVEL>'",
            "hint: possible values: ",
        ),
    ];
    for (words, error, hint) in cases {
        let output = verb(words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with(&format!("{error}\n{hint}")) && said.lines().count() == 2, "{said}");
        assert!(output.stdout.is_empty(), "errors belong on stderr");
    }
    assert!(verb(&["--help"]).status.success() && verb(&["--version"]).status.success());
}

#[test]
fn ports_that_are_taken_are_named_with_a_way_out() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = udp.local_addr().unwrap().to_string();
    let said = refused_flags(&["--listen", &taken, "--control", "off"]);
    says(&said, &[&format!("error: listen {taken}: Address already in use"), "hint: ", "--listen"]);

    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = tcp.local_addr().unwrap().to_string();
    let said = refused_flags(&["--listen", "127.0.0.1:0", "--control", "off", "--metrics", &taken]);
    says(&said, &[&format!("error: metrics {taken}: Address already in use"), "hint: ", "--metrics"]);
    let said = refused_flags(&["--listen", "127.0.0.1:0", "--control", &taken]);
    says(&said, &[&format!("error: control {taken}: Address already in use"), "hint: ", "--control off"]);
}

#[test]
fn an_inbox_that_cannot_be_used_is_found_before_the_node_is_ready() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for (inbox, why) in [("/nowhere", "No such file"), (file.path().to_str().unwrap(), "Not a directory")] {
        let said = refused_flags(&["--listen", "127.0.0.1:0", "--control", "off", "--inbox", inbox]);
        says(&said, &[&format!("error: inbox {inbox}: {why}"), "hint: `inbox` needs a folder that exists"]);
        assert!(!said.contains("ready"), "{said}");
    }
}

#[test]
fn an_address_that_no_interface_has_is_explained() {
    let said = refused_flags(&["--listen", "192.0.2.1:0", "--control", "off"]);
    says(&said, &["error: listen 192.0.2.1:0: ", "hint: no interface has this address"]);
}

#[test]
fn a_control_interface_that_other_hosts_reach_is_refused() {
    let said = refused_flags(&["--listen", "127.0.0.1:0", "--control", "0.0.0.0:0"]);
    says(&said, &["error: control 0.0.0.0:0: other hosts could reach it", "hint: use a loopback address"]);
}

#[test]
fn a_failed_start_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (control, identity) = (format!("unix:{}", path("control.sock")), path("missing/key.pem"));
    let said = refused_flags(&["--listen", "127.0.0.1:0", "--control", &control, "--identity", &identity]);
    says(&said, &["error: identity ", "hint: --identity needs a folder that exists"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");
    assert!(!Path::new(&identity).exists());
}
