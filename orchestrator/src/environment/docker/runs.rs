//! Runs of this host, seen from outside: what is there, and how it is removed, whoever made it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bollard::Docker as Api;
use bollard::models::ContainerSummary;
use futures_util::{StreamExt as _, stream};

use super::containers::{self, TOGETHER_MAX, name_of};
use super::place::{
    FOLDER, NODE, OWNER, RUN, RunPlace, is_alive, is_folder_owned, keep_capture, remove_folder, run_folders,
};
use super::{engine, images, runtime};
use crate::environment::Progress;
use crate::error::{Error, OrFail, Result};

/// A run as its containers show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunState {
    /// The run's id.
    pub id: String,
    /// Its folder.
    pub folder: Option<PathBuf>,
    /// Its fabric runs.
    pub has_fabric: bool,
    /// Members whose containers run.
    pub running: u32,
    /// Members whose containers have ended.
    pub ended: u32,
    /// The process that it belongs to is gone: nobody will remove it but `atoll down`.
    pub is_left_over: bool,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Runs.
    pub runs: usize,
    /// Containers.
    pub containers: usize,
    /// Folders of runs whose containers were gone already.
    pub folders: usize,
    /// Captures of removed runs, which their owners asked for, and where they lie now.
    pub captures: Vec<PathBuf>,
    /// Images.
    pub images: usize,
}

/// Every run of this host, those without a container included.
///
/// # Errors
/// No engine answers.
pub fn list() -> Result<Vec<RunState>> {
    runtime()?.block_on(async { states(&engine::connect().await?).await })
}

/// Removes runs that nobody owns any more; with `all` every run, and the images as well.
///
/// # Errors
/// No engine answers, or something could not be removed.
pub fn down(all: bool, progress: &dyn Progress) -> Result<Removed> {
    runtime()?.block_on(async {
        let api = engine::connect().await?;
        let mut removed = Removed::default();
        let doomed: Vec<_> = states(&api).await?.into_iter().filter(|run| all || run.is_left_over).collect();
        for run in doomed {
            let count = remove_run(&api, &run.id, progress).await?;
            removed.containers += count;
            if let Some(folder) = &run.folder {
                removed.captures.extend(keep_capture(folder)?);
                remove_folder(folder)?;
            }
            if count > 0 { removed.runs += 1 } else { removed.folders += 1 }
        }
        if all {
            removed.images = images::remove_all(&api).await?;
        }
        Ok(removed)
    })
}

/// Removes one run: containers, devices with them, and files.
///
/// # Errors
/// What was left behind.
pub(super) async fn remove(api: &Api, place: &RunPlace, progress: &dyn Progress) -> Result<()> {
    remove_run(api, &place.id, progress).await?;
    place.remove()
}

async fn remove_run(api: &Api, id: &str, progress: &dyn Progress) -> Result<usize> {
    let names: Vec<_> = containers::list(api, Some(id)).await?.iter().filter_map(name_of).collect();
    let total = names.len();
    progress.step("removing containers", 0, total as u64);
    let failures = containers::remove_all(api, names).await;
    let left = containers::list(api, Some(id)).await?.len();
    match failures.into_iter().next() {
        Some(error) if left > 0 => {
            Err(error.with_hint(format!("{left} are left: `atoll down --all` tries again")))
        }
        _ if left > 0 => {
            Err(Error::new(format!("{left} containers of run {id} are left"), "the engine keeps them")
                .with_hint("`atoll down --all` tries again"))
        }
        _ => Ok(total),
    }
}

async fn states(api: &Api) -> Result<Vec<RunState>> {
    let mut runs: BTreeMap<String, RunState> = BTreeMap::new();
    for container in containers::list(api, None).await? {
        take_in(&mut runs, &container);
    }
    for folder in run_folders()? {
        let id = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let is_left_over = !is_folder_owned(&folder);
        let run =
            runs.entry(id.clone()).or_insert_with(|| RunState { id, is_left_over, ..RunState::default() });
        run.folder = Some(folder);
    }
    Ok(runs.into_values().collect())
}

fn take_in(runs: &mut BTreeMap<String, RunState>, container: &ContainerSummary) {
    let label = |key: &str| container.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
    let Some(id) = label(RUN) else { return };
    let runs_now = container.state.is_some_and(|state| state.as_ref() == "running");
    let run = runs.entry(id.clone()).or_insert_with(|| RunState { id, ..RunState::default() });
    run.folder = label(FOLDER).map(PathBuf::from);
    run.is_left_over = !is_alive(&label(OWNER).unwrap_or_default());
    match (label(NODE), runs_now) {
        (Some(_), true) => run.running += 1,
        (Some(_), false) => run.ended += 1,
        (None, running) => run.has_fabric |= running,
    }
}

/// Writes what every container of a run wrote into a folder, a file each.
///
/// # Errors
/// The engine does not list the containers, or the folder cannot be written.
pub(super) async fn save_logs(api: &Api, place: &RunPlace, folder: &Path) -> Result<()> {
    let prefix = place.container("");
    let names: Vec<_> = containers::list(api, Some(&place.id)).await?.iter().filter_map(name_of).collect();
    let saves = names.iter().map(|name| async {
        let short = name.strip_prefix(&prefix).unwrap_or(name);
        let path = folder.join(format!("{short}.log"));
        let log = containers::log(api, name, "all").await;
        tokio::fs::write(&path, log).await.or_fail(|| format!("cannot write {}", path.display()))
    });
    let saved: Vec<Result<()>> = stream::iter(saves).buffer_unordered(TOGETHER_MAX).collect().await;
    saved.into_iter().collect()
}
