//! Whom the fabric's files belong to: it may be root, and the lab that started it need not be.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

/// Gives a file to the owner of its folder, and to nobody else.
///
/// # Errors
/// The file or its folder is gone, or the right is missing (`CAP_CHOWN`).
pub(crate) fn give_to_owner_of_folder(file: &Path) -> io::Result<()> {
    std::fs::set_permissions(file, Permissions::from_mode(0o600))?;
    match file.parent().map(std::fs::metadata).transpose()? {
        Some(folder) => chown(file, Some(folder.uid()), Some(folder.gid())),
        None => Ok(()),
    }
}
