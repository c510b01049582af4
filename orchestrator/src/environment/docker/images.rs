//! Images of one static program each, made in memory: no registry, no build folder. A tag is the hash of what is
//! inside, so that an image is made once and never stale.

use std::collections::HashMap;
use std::path::Path;

use bollard::Docker as Api;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
};
use futures_util::TryStreamExt as _;
use sha2::{Digest as _, Sha256};

use super::engine::{failed, is_absent};
use crate::error::{OrFail, Result};

/// Label of every image made here.
const LABEL: &str = "atoll.image";

/// The image of a program, made if the engine has none with this content.
///
/// # Errors
/// The program cannot be read, or the engine cannot keep the image.
pub(super) async fn ensure(api: &Api, name: &str, program: &Path) -> Result<String> {
    let bytes = tokio::fs::read(program).await.or_fail(|| format!("cannot read {}", program.display()))?;
    let hash = Sha256::digest(&bytes);
    let tag: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let image = format!("{name}:{tag}");
    match api.inspect_image(&image).await {
        Ok(_) => return Ok(image),
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(failed(format!("cannot look for the image {image}"), &error)),
    }
    let content = archive(name, &bytes).or_fail(|| format!("cannot pack the image {image}"))?;
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(name)
        .tag(&tag)
        .changes(vec![format!("LABEL {LABEL}={name}")])
        .build();
    let body = bollard::body_full(content.into());
    let made: Result<Vec<_>, _> = api.create_image(Some(options), Some(body), None).try_collect().await;
    made.map_err(|error| failed(format!("cannot make the image {image}"), &error))?;
    Ok(image)
}

/// Removes every image made here that nobody uses.
///
/// # Errors
/// The engine does not list its images.
pub(super) async fn remove_all(api: &Api) -> Result<usize> {
    let filters = HashMap::from([("label", vec![LABEL])]);
    let options = ListImagesOptionsBuilder::default().filters(&filters).build();
    let images = api.list_images(Some(options)).await;
    let images = images.map_err(|error| failed("cannot list the images", &error))?;
    let mut removed = 0;
    for image in images {
        let options = RemoveImageOptionsBuilder::default().force(false).build();
        // One that a container still uses stays.
        removed += usize::from(api.remove_image(&image.id, Some(options), None).await.is_ok());
    }
    Ok(removed)
}

/// A file system with one program in its root.
fn archive(name: &str, program: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::with_capacity(program.len() + 4096));
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    header.set_mtime(0);
    header.set_cksum();
    archive.append_data(&mut header, name, program)?;
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_the_program_and_nothing_else() {
        let archive = archive("atoll-node", b"program").unwrap();
        let mut archive = tar::Archive::new(archive.as_slice());
        let mut entries = archive.entries().unwrap();
        let entry = entries.next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().to_str(), Some("atoll-node"));
        assert_eq!(entry.header().mode().unwrap() & 0o777, 0o755);
        assert!(entries.next().is_none());
    }
}
