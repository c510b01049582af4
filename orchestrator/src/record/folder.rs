//! The results folder: made before a run, filled after it, read by `report` and `compare`.
//!
//! Every file is written beside its place and then moved there, so that a full disk leaves what was there before.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Manifest, Record, samples};
use crate::error::{Error, OrFail, Result};

/// A results folder that can be written.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    link: PathBuf,
}

impl Folder {
    /// Makes the folder: `out`, or `results/NAME/DATE-TIME-SEED`. The plan is its first file, so that a folder
    /// that cannot be written is found out before anything runs.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn create(out: Option<&Path>, manifest: &Manifest) -> Result<Self> {
        let folder = match out {
            // The link inside lets a script look for `latest` under any folder that it gave.
            Some(out) => Self { path: out.to_path_buf(), link: out.join("latest") },
            None => Self::dated(manifest),
        };
        fs::create_dir_all(folder.logs()).map_err(|error| folder.refuse(&folder.logs(), &error))?;
        folder.write("plan.yaml", manifest.plan.as_bytes())?;
        Ok(folder)
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
