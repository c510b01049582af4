//! The identity of a run: its id, its folder, its labels, and who owns it.
//!
//! Everything that a run makes outside this process carries its id, so that any later `atoll` can find it.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::capture;
use crate::error::{Error, OrFail, Result};

/// Label with the run's id; on every container.
pub(super) const RUN: &str = "atoll.run";
/// Label with the member's name; on every member's container.
pub(super) const NODE: &str = "atoll.node";
/// Label with the run's folder.
pub(super) const FOLDER: &str = "atoll.folder";
/// Label with the process that the run belongs to.
pub(super) const OWNER: &str = "atoll.owner";
/// File with the process that a run belongs to, for the time before its first container.
const OWNER_FILE: &str = "owner";
/// Longest path of a unix socket (`sun_path` with its closing zero).
const SOCKET_PATH_MAX: usize = 107;

/// One run on this host.
#[derive(Clone, Debug)]
pub(super) struct RunPlace {
    pub(super) id: String,
    pub(super) folder: PathBuf,
}

impl RunPlace {
    /// A new run with an empty folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub(super) fn create() -> Result<Self> {
        // The standard library seeds its hashes from the system's randomness: enough for a name.
        let id = format!("{:08x}", RandomState::new().build_hasher().finish() >> 32);
        let folder = runs_folder()?.join(&id);
        let place = Self { id, folder };
        if place.socket().as_os_str().len() > SOCKET_PATH_MAX {
            return Err(Error::new(
                format!("cannot work in {}", place.folder.display()),
                "its path is too long",
            )
            .with_hint("set XDG_STATE_HOME to a shorter path"));
        }
        let what = || format!("cannot make the folder {}", place.folder.display());
        std::fs::create_dir_all(place.nodes()).or_fail(what)?;
        // Containers run under another user and must get in; what is inside is no secret.
        for folder in [&place.folder, &place.nodes()] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).or_fail(what)?;
        }
        let own = owner(std::process::id()).unwrap_or_default();
        std::fs::write(place.folder.join(OWNER_FILE), own).or_fail(what)?;
        Ok(place)
    }

    /// Where the fabric listens for orders.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("fabric.sock")
    }

    /// What the fabric starts from.
    pub(super) fn setting(&self) -> PathBuf {
        self.folder.join("setting.json")
    }

    /// The start gate that every container begins in.
    pub(super) fn hold(&self) -> PathBuf {
        self.folder.join("atoll-hold")
    }

    /// A member's configuration.
    pub(super) fn config(&self, node: &str) -> PathBuf {
        self.nodes().join(format!("{node}.yaml"))
    }

    /// The folder of what makes a member one of the private overlay.
    pub(super) fn papers(&self, node: &str) -> PathBuf {
        self.nodes().join(format!("{node}.group"))
    }

    fn nodes(&self) -> PathBuf {
        self.folder.join("nodes")
    }

    /// The name of a container.
    pub(super) fn container(&self, name: &str) -> String {
        format!("atoll-{}-{name}", self.id)
    }

    /// The labels of every container of the run.
    pub(super) fn labels(&self) -> HashMap<String, String> {
        let own = [
            (RUN, self.id.clone()),
            (FOLDER, self.folder.display().to_string()),
            (OWNER, owner(std::process::id()).unwrap_or_default()),
        ];
        own.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Removes the folder.
    ///
    /// # Errors
    /// Something in it cannot be removed.
    pub(super) fn remove(&self) -> Result<()> {
        remove_folder(&self.folder)
    }
}

/// Removes a run's folder; one that is gone already is fine.
pub(super) fn remove_folder(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(format!("cannot remove {}", folder.display()), error))
        }
        _ => Ok(()),
    }
}

/// Saves the capture of a run that is gone from its folder, which goes: where it lies now, if there is one.
pub(super) fn keep_capture(folder: &Path) -> Result<Option<PathBuf>> {
    let found = folder.join(capture::FILE);
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !found.exists() {
        return Ok(None);
    }
    let shelf = runs_folder()?.with_file_name("captures");
    let kept = shelf.join(format!("{name}.pcap"));
    std::fs::create_dir_all(&shelf)
        .and_then(|()| std::fs::rename(&found, &kept))
        .map_err(|error| Error::new(format!("cannot keep {}", found.display()), error))?;
    Ok(Some(kept))
}

/// The folder that holds the folders of all runs of this user.
pub(super) fn runs_folder() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(home).ok_or_else(|| {
        Error::new("cannot tell where to keep the files of a run", "neither XDG_STATE_HOME nor HOME is set")
    })?;
    Ok(state.join("atoll/runs"))
}

/// The folders of runs that are there.
pub(super) fn run_folders() -> Result<Vec<PathBuf>> {
    let folder = runs_folder()?;
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::new(format!("cannot read {}", folder.display()), error)),
    };
    let mut folders: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    Ok(folders)
}

/// Whether the owner of a run's folder still runs.
pub(super) fn is_folder_owned(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join(OWNER_FILE)).is_ok_and(|owner| is_alive(&owner))
}

/// A process by number and start time, since numbers are used again; `None` if it is gone.
pub(super) fn owner(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything; the start time is the 22nd.
    let start = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?;
    Some(format!("{pid}:{start}"))
}

/// Whether the owner in a label still runs.
pub(super) fn is_alive(label: &str) -> bool {
    let pid = label.split(':').next().and_then(|pid| pid.parse().ok());
    pid.and_then(owner).is_some_and(|now| now == label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_told_from_another_process_of_its_number() {
        let own = owner(std::process::id()).unwrap();
        assert!(is_alive(&own));
        assert!(!is_alive(&format!("{}:1", std::process::id())));
        assert!(!is_alive(""));
        assert!(!is_alive("4194304:1"));
    }
}
