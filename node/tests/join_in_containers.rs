//! From the download to a member, with the site and all nodes in containers. Without a Docker engine it says so loudly and passes.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use common::Running;
use common::group::text;
use common::site::Site;
use common::town::{Town, meet};

/// From the download of the file until the new member knows the other one.
const GOAL: Duration = Duration::from_secs(10);
const PUBLIC: usize = 5;

fn docker(words: &[&str]) -> bool {
    let done = Process::new("docker").args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

/// An image of nothing but the two programs, and the containers of it; all of it goes when this is dropped.
struct Image {
    name: String,
    containers: Vec<String>,
}

impl Image {
    fn make(folder: &Path) -> Self {
        let image = Self { name: format!("atoll-join-{}", std::process::id()), containers: Vec::new() };
        for binary in [env!("CARGO_BIN_EXE_atoll-node"), env!("CARGO_BIN_EXE_atoll-site")] {
            fs::copy(binary, folder.join(Path::new(binary).file_name().unwrap())).unwrap();
        }
        let archive = folder.join("image.tar");
        let pack = ["-C", text(folder), "-cf", text(&archive), "atoll-node", "atoll-site"];
        assert!(Process::new("tar").args(pack).status().unwrap().success());
        assert!(docker(&["import", text(&archive), &image.name]), "the image is not taken");
        image
    }

    /// A process that becomes a container of the program, whose arguments follow.
    fn program(&mut self, folder: &Path) -> Process {
        let name = format!("{}-{}", self.name, self.containers.len());
        let mount = format!("{0}:{0}", text(folder));
        let mut process = Process::new("docker");
        process.args(["run", "--rm", "--name", &name, "--network", "host", "--volume", &mount]);
        process.args([&self.name, "/atoll-node"]).stdin(Stdio::null());
        self.containers.push(name);
        process
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        for container in &self.containers {
            docker(&["rm", "--force", container]);
        }
        docker(&["rmi", "--force", &self.name]);
    }
}

#[test]
fn from_the_download_to_a_member_in_less_than_ten_seconds() {
    if !docker(&["version"]) {
        return println!("SKIPPED: from the download to a member: no Docker engine answers here");
    }
    let (folder, programs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut image = Image::make(programs.path());
    let place = folder.path().to_owned();
    let first = Running::start_as(image.program(&place), &["--listen", "127.0.0.1:0"]);
    let bootstrap = first.listen.to_string();
    let flags = ["--listen", "127.0.0.1:0", "--bootstrap", &bootstrap];
    let _public: Vec<_> = (1..PUBLIC).map(|_| Running::start_as(image.program(&place), &flags)).collect();
    let told = ["--bootstrap", &bootstrap];
    let site = Site::start_as(image.program(&place), &place, &told);
    let town = Town::found(folder, first, (site, told.map(str::to_owned).to_vec()));
    let join = |image: &mut Image, token: &str, name: &str| {
        let file = town.file(token, &format!("{name}.atoll"));
        let mut process = image.program(&place);
        process.args(["join", text(&file)]);
        let mut node = town.join_as(process, name);
        node.wait_until_ready();
        node
    };
    let ann = join(&mut image, &town.token, "ann");
    let token = town.member("bob");
    let start = Instant::now();
    let bob = join(&mut image, &token, "bob");
    meet(&[&ann, &bob]);
    let took = start.elapsed();
    println!("from the download to a member that knows the other: {took:?}");
    assert!(took < GOAL, "{took:?}");
}
