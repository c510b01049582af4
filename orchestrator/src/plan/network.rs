//! Where the emulated Internet of a trial comes from: names, or files that are read when the plan is made.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use atoll_topology::{RttMatrix, TopologyError};

use super::quantity::{Span, span};
use super::wrong::Wrong;

/// The largest latency matrix or topology file that is read, in bytes.
const FILE_MAX: u64 = 256 << 20;
const MIXES: [&str; 3] = ["none", "cones", "default"];

/// A file that a plan needs, read already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFile {
    /// As the experiment names it.
    pub name: String,
    /// Where it was found.
    pub path: PathBuf,
    /// What it says.
    pub text: Arc<str>,
}

/// What the members are behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nat {
    /// A mix (`none`, `cones`, `default`) or a preset (8 % public and 92 % of it).
    Named(String),
    /// A topology file.
    File(TextFile),
}

/// Delays between sites.
#[derive(Clone, Debug, PartialEq)]
pub enum Latency {
    /// The same one-way delay everywhere.
    Constant(Duration),
    /// Made up, to look like the real Internet.
    Builtin,
    /// A measured matrix of round trips.
    Matrix {
        /// As the experiment names it.
        name: String,
        /// Where it was found.
        path: PathBuf,
        /// What the file says.
        matrix: Arc<RttMatrix>,
    },
}

/// Where files are looked for.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    folders: Vec<PathBuf>,
}

impl Files {
    /// Beside the experiment file first, then in the working directory.
    pub(crate) fn beside(folder: impl Into<PathBuf>) -> Self {
        Self { folders: vec![folder.into(), PathBuf::from(".")] }
    }

    fn read(&self, name: &str) -> Result<TextFile, Wrong> {
        let path = self.find(name)?;
        let wrong = |why: String| Wrong::new(format!("cannot read `{}`: {why}", path.display()));
        let size = std::fs::metadata(&path).map_err(|error| wrong(error.to_string()))?.len();
        if size > FILE_MAX {
            return Err(wrong(format!("{size} bytes are more than the {FILE_MAX} that are read")));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
        Ok(TextFile { name: name.to_owned(), path, text: text.into() })
    }

    fn find(&self, name: &str) -> Result<PathBuf, Wrong> {
        let candidates: Vec<PathBuf> = self.folders.iter().map(|folder| folder.join(name)).collect();
        if let Some(found) = candidates.iter().find(|path| path.is_file()) {
            return Ok(found.clone());
        }
        let whole = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let mut looked: Vec<String> =
            candidates.iter().map(|path| format!("`{}`", whole(path).display())).collect();
        // Beside the file may be the working directory, and an absolute name is the same everywhere.
        looked.dedup();
        Err(Wrong::new(format!("there is no file `{name}`"))
            .with_hint(format!("looked for {}", looked.join(" and "))))
    }
}

impl Nat {
    pub(super) fn read(text: &str, files: &Files) -> Result<Self, Wrong> {
        let presets = atoll_topology::preset_names().filter(|name| !MIXES.contains(name));
        let known: Vec<&str> = MIXES.into_iter().chain(presets).collect();
        if known.contains(&text) {
            return Ok(Self::Named(text.to_owned()));
        }
        if !looks_like_a_file(text) {
            return Err(Wrong::unknown("NAT population or preset", text, &known));
        }
        let file = files.read(text)?;
        check_topology(&file)?;
        Ok(Self::File(file))
    }
}

impl Latency {
    pub(super) fn read(text: &str, files: &Files) -> Result<Self, Wrong> {
        if text == "builtin" {
            return Ok(Self::Builtin);
        }
        if looks_like_a_file(text) {
            let file = files.read(text)?;
            return Ok(Self::Matrix { matrix: Arc::new(matrix(&file)?), name: file.name, path: file.path });
        }
        let hint = "write a one-way delay like `100 ms`, `builtin`, or a matrix file like `rtt-ms.csv`";
        if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            return span(text).map(Self::Constant).map_err(|wrong| wrong.with_hint(hint));
        }
        Err(Wrong::new(format!("`{text}` is no latency")).with_hint(hint))
    }
}

/// A topology file with the matrix that it names, if it names one.
///
/// # Errors
/// What is wrong in the file, with line and column.
pub(crate) fn topology(file: &TextFile, seed: [u8; 32]) -> Result<atoll_topology::Topology, TopologyError> {
    let beside = Files::beside(file.path.parent().unwrap_or_else(|| Path::new(".")));
    atoll_topology::Topology::from_yaml(&file.text, seed, |name| {
        beside.read(name).map(|file| file.text.to_string()).map_err(|wrong| wrong.why)
    })
}

fn check_topology(file: &TextFile) -> Result<(), Wrong> {
    topology(file, [0; 32]).map(|_| ()).map_err(|error| foreign(file, &error))
}

fn matrix(file: &TextFile) -> Result<RttMatrix, Wrong> {
    // King's text is in µs: a CSV that lacks its commas would be a thousand times too fast.
    let read = match file.text.contains(',') || file.name.ends_with(".csv") {
        true => RttMatrix::from_rtt_ms_csv(&file.text),
        false => RttMatrix::from_rtt_us_king(&file.text),
    };
    read.map_err(|error| foreign(file, &error))
}

fn foreign(file: &TextFile, error: &TopologyError) -> Wrong {
    let wrong = Wrong::new(format!("{}: {error}", file.path.display()));
    match error.hint.is_empty() {
        true => wrong,
        false => wrong.with_hint(error.hint.clone()),
    }
}

pub(super) fn looks_like_a_file(text: &str) -> bool {
    text.contains('/') || Path::new(text).extension().is_some_and(|end| end.len() >= 2 && !text.contains(' '))
}

impl fmt::Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::File(file) => f.write_str(&file.name),
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(delay) => Span(*delay).fmt(f),
            Self::Builtin => f.write_str("builtin"),
            Self::Matrix { name, .. } => f.write_str(name),
        }
    }
}
