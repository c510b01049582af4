//! The results folder: made before a run, filled after it, read by `report` and `compare`.
//!
//! Every file is written beside its place and then moved there, so that a full disk leaves what was there before.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Manifest, Record, samples};
use crate::error::{Error, OrFail, Result};

/// The first file of every result; it tells a results folder from any other.
const PLAN: &str = "plan.yaml";
/// All that a run writes, but for the folders of logs and figures.
const FILES: [&str; 7] =
    [PLAN, "manifest.json", "samples.csv", "summary.json", "report.html", "junit.xml", "latest"];

/// Where a run's results go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `results/NAME/DATE-TIME-SEED`.
    Dated,
    /// This folder, which is new or empty.
    Fresh(&'a Path),
    /// This folder, in place of an earlier run's result if there is one.
    Replaced(&'a Path),
}

/// A results folder that can be written.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    link: PathBuf,
}

impl Folder {
    /// Makes the folder. The plan is its first file, so that a folder that cannot be written is found out before
    /// anything runs.
    ///
    /// # Errors
    /// The folder holds something that must stay, or cannot be made or written.
    pub fn create(target: Target<'_>, manifest: &Manifest) -> Result<Self> {
        let folder = match target {
            Target::Dated => Self::dated(manifest),
            Target::Fresh(path) | Target::Replaced(path) => Self::open(path),
        };
        match folder.content() {
            Content::Nothing => {}
            Content::Result if matches!(target, Target::Replaced(_)) => folder.clear()?,
            found => return Err(folder.keep(found)),
        }
        fs::create_dir_all(folder.logs()).map_err(|error| folder.refuse(&folder.logs(), &error))?;
        folder.write(PLAN, manifest.plan.as_bytes())?;
        Ok(folder)
    }

    /// A results folder that is there, to compute its reports again.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        // The link inside lets a script look for `latest` under any folder that it gave.
        Self { path: path.to_path_buf(), link: path.join("latest") }
    }

    fn content(&self) -> Content {
        // What cannot be read as a folder is refused when it is made.
        let first = fs::read_dir(&self.path).ok().and_then(|mut entries| entries.next());
        match first {
            None => Content::Nothing,
            Some(_) if self.path.join(PLAN).exists() => Content::Result,
            Some(_) => Content::Other,
        }
    }

    fn keep(&self, found: Content) -> Error {
        let (why, hint) = match found {
            Content::Other => ("it holds other files", "choose a new or an empty folder with `--out DIR`"),
            _ => ("it holds the result of an earlier run", "choose another folder, or replace it: `--force`"),
        };
        Error::new(format!("cannot write into `{}`", self.path.display()), why).with_hint(hint)
    }

    /// Removes what a run wrote, and nothing else.
    fn clear(&self) -> Result<()> {
        let files = FILES.map(|name| self.path.join(name));
        let folders = ["logs", "figures"].map(|name| self.path.join(name));
        let removed = files.iter().map(|file| (file, fs::remove_file(file)));
        let removed = removed.chain(folders.iter().map(|folder| (folder, fs::remove_dir_all(folder))));
        for (path, result) in removed {
            match result {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(self.refuse(path, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes what a run left that measured nothing; logs stay, and so does everything beside them.
    pub fn discard(&self) {
        if fs::remove_dir(self.logs()).is_ok() {
            let _ = self.clear();
            let _ = fs::remove_dir(&self.path);
        }
    }

    fn dated(manifest: &Manifest) -> Self {
        let root = Path::new("results").join(&manifest.name);
        let stamp = manifest.started.replace('T', "-").replace([':', 'Z'], "");
        let first = root.join(format!("{stamp}-{}", manifest.seed));
        // Two runs within a second get a number each.
        let taken = |n: &u32| !root.join(format!("{stamp}-{}.{n}", manifest.seed)).exists();
        let path = match first.exists() {
            true => (2..).find(taken).map_or(first, |n| root.join(format!("{stamp}-{}.{n}", manifest.seed))),
            false => first,
        };
        Self { path, link: root.join("latest") }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder for logs inside.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Writes the manifest and the samples.
    ///
    /// # Errors
    /// A file cannot be written; what was there before stays.
    pub fn save(&self, record: &Record) -> Result<()> {
        let mut csv = Vec::new();
        samples::write(&record.rows, &mut csv)?;
        self.write("samples.csv", &csv)?;
        self.write_json("manifest.json", &record.manifest)
    }

    /// Writes something as indented JSON.
    ///
    /// # Errors
    /// The file cannot be written; what was there before stays.
    pub fn write_json(&self, name: &str, value: &impl serde::Serialize) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(value).or_fail(|| format!("cannot write {name}"))?;
        json.push(b'\n');
        self.write(name, &json)
    }

    /// Writes one file; `name` may name a folder inside (`figures/join.svg`).
    ///
    /// # Errors
    /// The file cannot be written; what was there before stays.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let target = self.path.join(name);
        let draft = target.with_file_name(format!(".{}.part", name.replace('/', "-")));
        let write = || {
            fs::create_dir_all(target.parent().unwrap_or(&self.path))?;
            let mut file = File::create(&draft)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&draft, &target)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&draft);
            self.refuse(&target, &error)
        })
    }

    /// Removes the figures of an earlier run in the same folder that this one did not draw again.
    ///
    /// # Errors
    /// A figure cannot be removed.
    pub fn keep_figures(&self, names: &[String]) -> Result<()> {
        let Ok(entries) = fs::read_dir(self.path.join("figures")) else { return Ok(()) };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".svg") && !names.contains(&name) {
                fs::remove_file(entry.path()).map_err(|error| self.refuse(&entry.path(), &error))?;
            }
        }
        Ok(())
    }

    /// Points the link `latest` at this folder.
    ///
    /// # Errors
    /// The link cannot be made.
    pub fn link_latest(&self) -> Result<()> {
        let target = match self.link.parent() == Some(&self.path) {
            true => Path::new("."),
            false => self.path.file_name().map_or_else(|| Path::new("."), Path::new),
        };
        let draft = self.link.with_file_name(".latest.part");
        let _ = fs::remove_file(&draft);
        std::os::unix::fs::symlink(target, &draft)
            .and_then(|()| fs::rename(&draft, &self.link))
            .map_err(|error| self.refuse(&self.link, &error))
    }

    fn refuse(&self, file: &Path, error: &std::io::Error) -> Error {
        use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let hint = match error.kind() {
            StorageFull | QuotaExceeded => {
                "free some space and run again; what was there before is untouched"
            }
            PermissionDenied | ReadOnlyFilesystem => "choose a folder that you may write with `--out DIR`",
            _ => "choose another folder with `--out DIR`",
        };
        Error::new(format!("cannot write `{}`", file.display()), error).with_hint(hint)
    }
}

/// What a folder holds before a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Nothing,
    Result,
    Other,
}

/// Reads a results folder.
///
/// # Errors
/// It is none, or one of its files is damaged.
pub fn load(path: &Path) -> Result<Record> {
    let read = |name: &str| {
        let file = path.join(name);
        fs::read_to_string(&file)
            .or_fail(|| format!("cannot read `{}`", file.display()))
            .map_err(|error| error.with_hint("give a results folder, such as `results/join/latest`"))
    };
    let manifest: Manifest = serde_json::from_str(&read("manifest.json")?)
        .or_fail(|| format!("cannot read `{}`", path.join("manifest.json").display()))?;
    Ok(Record { manifest, rows: samples::read(&read("samples.csv")?)? })
}
