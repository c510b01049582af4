//! Captures as the lab orders them: into the folder of its socket, and nowhere else.

use std::path::Path;

use super::Fabric;
use crate::api::CaptureOrder;
use crate::capture::{Capture, Summary};

impl Fabric {
    /// Begins a capture.
    pub(super) async fn begin_capture(&self, order: CaptureOrder) -> Result<(), String> {
        if Path::new(&order.file).file_name() != Some(order.file.as_ref()) {
            return Err(format!("{} is no name of a file", order.file));
        }
        let (path, clock) = (self.folder.join(order.file), self.clock);
        let capture = Capture::begin(&path, order.bytes_max, clock)
            .map_err(|error| format!("{} cannot be made: {error}", path.display()))?;
        let begun = self.engine.ask(move |engine| engine.begin_capture(capture)).await;
        let begun = begun.map_err(|error| error.to_string())?;
        begun.map_err(|unused| {
            drop(unused);
            let _ = std::fs::remove_file(&path);
            "a capture goes on already".to_owned()
        })
    }

    /// Ends the capture; all that it holds is in the file then.
    pub(super) async fn end_capture(&self) -> Result<Summary, String> {
        let taken = self.engine.ask(crate::engine::Engine::take_capture).await;
        let capture = taken.map_err(|error| error.to_string())?.ok_or("no capture goes on")?;
        let ended = tokio::task::spawn_blocking(move || capture.end()).await;
        let summary = ended.map_err(|error| error.to_string())?;
        tracing::info!(?summary, "the capture has ended");
        let kept = summary.clone();
        let keep = self.engine.ask(move |engine| engine.keep_captured(kept)).await;
        keep.map(|()| summary).map_err(|error| error.to_string())
    }
}
