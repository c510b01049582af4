//! The programs that go into images: found beside `atoll`, named by the user, or built.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::environment::Progress;
use crate::error::{Error, OrFail, Result};

/// Type of a program header that names a dynamic loader (ELF-64, `PT_INTERP`).
const PT_INTERP: u32 = 3;
/// Program headers that are looked at; a program has about ten.
const HEADERS_MAX: usize = 64;

/// The three static programs of a run on containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// The daemon.
    pub node: PathBuf,
    /// The emulated Internet.
    pub fabric: PathBuf,
    /// The start gate.
    pub hold: PathBuf,
}

impl Programs {
    /// Finds the programs beside this one; those of this source tree are built if they are missing.
    ///
    /// # Errors
    /// One is missing and cannot be built, or is not static.
    pub fn find(node: Option<&Path>, progress: &dyn Progress) -> Result<Self> {
        // What the user named is looked at before anything is built.
        node.map_or(Ok(()), check_static)?;
        let own = std::env::current_exe().or_fail(|| "cannot tell where this program is".to_owned())?;
        let beside = own.parent().unwrap_or_else(|| Path::new(".")).to_owned();
        // A test or an example lives one folder below the programs that were built with it.
        let is_below = beside.ends_with("deps") || beside.ends_with("examples");
        let beside = if is_below { beside.join("..") } else { beside };
        let paths = ["atoll-node", "atoll-fabric", "atoll-hold"].map(|name| beside.join(name));
        let missing =
            paths.iter().zip([node.is_some(), false, false]).any(|(path, given)| !given && !path.exists());
        let [own_node, fabric, hold] = if missing { build(progress)? } else { paths };
        let found = Self { node: node.map_or(own_node, Path::to_owned), fabric, hold };
        for path in [&found.node, &found.fabric, &found.hold] {
            check_static(path)?;
        }
        Ok(found)
    }
}

/// Builds the programs from the source tree that this one was built from.
fn build(progress: &dyn Progress) -> Result<[PathBuf; 3]> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let missing = |why: &str| {
        Error::new("atoll-node, atoll-fabric and atoll-hold are not beside atoll", why)
            .with_hint("put them into one folder, or build them: `cargo build --release`")
    };
    if !root.join("Cargo.toml").exists() {
        return Err(missing("and the source tree that it was built from is gone"));
    }
    progress.step("building atoll-node and atoll-fabric", 0, 0);
    let built = Command::new("cargo")
        .args([
            "build",
            "--release",
            "--quiet",
            "--message-format=json",
            "-p",
            "atoll-node",
            "-p",
            "atoll-fabric",
            "--bins",
        ])
        .current_dir(&root)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| missing(&format!("and cargo cannot be started: {error}")))?;
    if !built.status.success() {
        return Err(missing("and they do not build"));
    }
    let find = |name: &str| executable(&built.stdout, name).ok_or_else(|| missing("and cargo built none"));
    Ok([find("atoll-node")?, find("atoll-fabric")?, find("atoll-hold")?])
}

/// The path of a program among the messages of cargo.
fn executable(messages: &[u8], name: &str) -> Option<PathBuf> {
    messages.split(|byte| *byte == b'\n').find_map(|line| {
        let message: serde_json::Value = serde_json::from_slice(line).ok()?;
        let path = PathBuf::from(message.get("executable")?.as_str()?);
        (path.file_name()? == name).then_some(path)
    })
}

fn check_static(path: &Path) -> Result<()> {
    let shown = path.display();
    let bytes =
        std::fs::read(path).or_fail(|| format!("cannot read the program {shown}")).map_err(|error| {
            error.with_hint("`cargo build --release` builds it; `--node-binary FILE` names another daemon")
        })?;
    match needs_loader(&bytes) {
        Some(false) => Ok(()),
        Some(true) => {
            Err(Error::new(format!("{shown} cannot go into an empty image"), "it needs shared libraries")
                .with_hint("build it static: `cargo build --release` in the source tree does"))
        }
        None => {
            Err(Error::new(format!("{shown} cannot go into an image"), "it is no 64-bit program for Linux"))
        }
    }
}

/// Whether a 64-bit little-endian ELF program asks for a dynamic loader; `None` if it is no such program.
fn needs_loader(bytes: &[u8]) -> Option<bool> {
    let word = |at: usize, length: usize| -> Option<u64> {
        let field = bytes.get(at..at.checked_add(length)?)?;
        Some(field.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
    };
    if bytes.get(..6)? != [0x7F, b'E', b'L', b'F', 2, 1] {
        return None;
    }
    let start = usize::try_from(word(32, 8)?).ok()?;
    let (size, count) = (usize::try_from(word(54, 2)?).ok()?, usize::try_from(word(56, 2)?).ok()?);
    let kinds = (0..count.min(HEADERS_MAX)).map(|n| word(start.checked_add(n * size)?, 4));
    kinds.collect::<Option<Vec<_>>>().map(|kinds| kinds.contains(&u64::from(PT_INTERP)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_loader_is_told_from_a_static_one() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(needs_loader(&own), Some(false), "this build is static");
        assert_eq!(needs_loader(&std::fs::read("/bin/sh").unwrap()), Some(true), "the system's shell is not");
        assert_eq!(needs_loader(b"#!/bin/sh\n"), None);
        assert_eq!(needs_loader(&own[..40]), None);
    }

    #[test]
    fn a_built_program_is_found_among_messages() {
        let messages =
            b"{\"reason\":\"x\"}\nnoise\n{\"executable\":\"/a/b/atoll-hold\"}\n{\"executable\":null}\n";
        assert_eq!(executable(messages, "atoll-hold"), Some(PathBuf::from("/a/b/atoll-hold")));
        assert_eq!(executable(messages, "atoll-node"), None);
    }
}
