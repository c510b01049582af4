//! Mistakes in a group's files: each is found before the node starts, and named with a way out.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use common::group::{ADDRESS, Forger, Groups, Leaf, cert, now, private, text};
use common::verb;

struct Case {
    groups: Groups,
    authority: std::path::PathBuf,
    member: std::path::PathBuf,
}

impl Case {
    fn new() -> Self {
        let groups = Groups::new();
        let authority = groups.authority("ca", "chess");
        let member = groups.member(&authority, "ann");
        Self { groups, authority, member }
    }

    /// What the node says about these settings of its only overlay, paths shortened.
    #[track_caller]
    fn says(&self, overlay: &str, parts: &[&str]) {
        let file = self.groups.path("node.yaml");
        fs::write(&file, format!("overlays:\n  - name: a\n    {overlay}\n")).unwrap();
        let output = verb(&["run", "--listen", "127.0.0.1:0", "--control", "off", "--config", text(&file)]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        let said = said.replace(text(self.groups.0.path()), "");
        for part in parts.iter().chain(&["\nhint: "]) {
            assert!(said.contains(part), "`{part}` is not in:\n{said}");
        }
    }

    /// The same with the member's folder.
    #[track_caller]
    fn folder_says(&self, parts: &[&str]) {
        self.says(&format!("group: {{name: chess, folder: {}}}", text(&self.member)), parts);
    }

    fn forge(&self, name: &str, leaf: &Leaf<'_>) -> std::path::PathBuf {
        let folder = self.groups.path(name);
        Forger::with(&self.authority).member(&folder, leaf);
        private(&folder.join("secret"), &[7; 32]);
        folder
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_that_is_missing_or_cannot_be_read_is_named() {
    for name in [
        "certificate node.pem",
        "key node.key",
        "authority authority.pem",
        "secret secret",
        "revocations revocations.pem",
    ] {
        let case = Case::new();
        let (part, file) = name.split_once(' ').unwrap();
        fs::remove_file(case.member.join(file)).unwrap();
        case.folder_says(&[
            &format!("error: {part} /ca-ann/{file}: No such file"),
            "hint: `group` needs files",
        ]);
        fs::create_dir(case.member.join(file)).unwrap();
        set_mode(&case.member.join(file), 0o700);
        case.folder_says(&[&format!("error: {part} /ca-ann/{file}: no file of a fitting size")]);
    }
}

#[test]
fn a_key_or_secret_that_others_may_read_is_refused() {
    for (part, file) in [("key", "node.key"), ("secret", "secret")] {
        let case = Case::new();
        set_mode(&case.member.join(file), 0o640);
        let error = format!("error: {part} /ca-ann/{file}: others may use this private file (mode 0640)");
        case.folder_says(&[&error, &format!("hint: chmod 600 /ca-ann/{file}")]);
    }
}

#[test]
fn a_file_of_another_kind_is_named() {
    let parts = [
        ("node.pem", "error: certificate /ca-ann/node.pem: no certificate in PEM"),
        ("node.key", "error: key /ca-ann/node.key: no unencrypted private key in PEM"),
        ("authority.pem", "error: authority /ca-ann/authority.pem: no certificate in PEM"),
        ("secret", "error: secret /ca-ann/secret: 8 bytes and not 32"),
        ("revocations.pem", "error: revocations /ca-ann/revocations.pem: no revocation list in PEM"),
    ];
    for (file, error) in parts {
        let case = Case::new();
        private(&case.member.join(file), b"nonsense");
        case.folder_says(&[error]);
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let case = Case::new();
    let other = case.groups.authority("other", "chess");
    let foreign = case.groups.member(&other, "bob");
    let mixed = |key: &str, path: &Path, parts: &[&str]| {
        let (folder, path) = (text(&case.member), text(path));
        case.says(&format!("group: {{name: chess, folder: {folder}, {key}: {path}}}"), parts);
    };
    let hint = "hint: take all files of a membership from one run of `atoll-node cert issue`";
    mixed(
        "key",
        &foreign.join("node.key"),
        &["certificate /ca-ann/node.pem: it is for another key than /other-bob", hint],
    );
    mixed("authority", &other.join("authority.pem"), &["another authority signed the list", hint]);
    mixed("revocations", &other.join("revocations.pem"), &["another authority signed the list", hint]);
    let list = text(&other.join("revocations.pem")).to_owned();
    let authority = format!("{}, revocations: {list}", text(&other.join("authority.pem")));
    mixed(
        "authority",
        Path::new(&authority),
        &["/ca-ann/node.pem: another authority than /other/authority.pem signed it", hint],
    );
    mixed("authority", &foreign.join("node.pem"), &["it is not the certificate of an authority", hint]);
}

#[test]
fn a_certificate_that_no_peer_would_take_is_refused() {
    let case = Case::new();
    let folder = |folder: &Path, parts: &[&str]| {
        case.says(&format!("group: {{name: chess, folder: {}}}", text(folder)), parts);
    };
    let names = ["atoll://group/chess", ADDRESS];
    let fine = Leaf::new(&names);
    let expired = case.forge("expired", &Leaf { until: now() - 10, ..Leaf::new(&names) });
    folder(&expired, &["certificate /expired/node.pem: it expired at ", "hint: ask the group's authority"]);
    let early = case.forge("early", &Leaf { from: now() + 1000, ..Leaf::new(&names) });
    folder(&early, &["certificate /early/node.pem: it is not valid before ", "hint: is the clock"]);
    let go = case.forge("go", &Leaf::new(&["atoll://group/go", ADDRESS]));
    folder(&go, &["it is for group `go` and not for `chess`", "hint: write `group: {name: go}`"]);
    let nobody = case.forge("nobody", &Leaf::new(&["atoll://group/chess"]));
    folder(&nobody, &["it names no member of a group"]);
    let own = case.groups.path("own");
    Forger::alone(&fine).own_member(&own);
    private(&own.join("secret"), &[7; 32]);
    let authority = format!(
        "{}, revocations: {}",
        text(&case.authority.join("authority.pem")),
        text(&case.authority.join("revocations.pem"))
    );
    case.says(
        &format!("group: {{name: chess, folder: {}, authority: {authority}}}", text(&own)),
        &["certificate /own/node.pem: it signed itself; /ca/authority.pem did not"],
    );
    cert(&["revoke", "--ca", text(&case.authority), "--user", "ann"]);
    fs::copy(case.authority.join("revocations.pem"), case.member.join("revocations.pem")).unwrap();
    folder(&case.member, &["it is revoked: /ca-ann/revocations.pem names "]);
}

#[test]
fn what_contradicts_the_group_is_refused() {
    let case = Case::new();
    let group = format!("group: {{name: chess, folder: {}}}", text(&case.member));
    case.says(
        &format!("security: none\n    {group}"),
        &[
            "/node.yaml:2:5: overlays[0]: a group is not protected by `security: none`",
            "hint: leave `security` out",
        ],
    );
    let address = "ab".repeat(20);
    case.says(
        &format!("address: \"{address}\"\n    {group}"),
        &[
            &format!("address of overlay `a`: {address} is not the address of the certificate"),
            "hint: leave `address`",
        ],
    );
    let twice = format!("{group}\n  - name: b\n    {group}");
    case.says(&twice, &["overlay `b`: overlay `a` has the same secret"]);
    fs::write(case.groups.path("flags.yaml"), format!("overlays:\n  - name: a\n    {group}\n")).unwrap();
    let output = verb(&["run", "--security", "none", "--config", text(&case.groups.path("flags.yaml"))]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("error: overlay `a`: a group is not protected") && output.status.code() == Some(2),
        "{said}"
    );
}

#[test]
fn a_mistake_in_the_section_gives_its_place() {
    let case = Case::new();
    let place = "/node.yaml:3:12: overlays[0].group: ";
    case.says("group: {name: chess}", &[place, "`certificate` is missing", "hint: add it, or the `folder`"]);
    case.says("group: {folder: x}", &[place, "missing field `name`", "add the key `name`"]);
    case.says(
        "group: {name: chess, foldre: x}",
        &["overlays[0].group.foldre: unknown", "did you mean `folder`?"],
    );
    case.says("group: {name: ch ess, folder: x}", &["overlays[0].group.name: `ch ess` is no name"]);
    case.says("group: {name: chess, folder: x, poll: 1}", &["overlays[0].group.poll: ", "its unit"]);
}
