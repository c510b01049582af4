//! The database's files are for the site's user alone, whatever the folder's mode says: they hold hashes of passwords.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::DATABASE;

const MODE: u32 = 0o600;

/// Makes the database's file if there is none, and takes from others what they may do with those that exist. SQLite gives the
/// files that it makes beside it the same mode.
pub(super) fn make_private(folder: &Path) -> io::Result<()> {
    let path = folder.join(DATABASE);
    OpenOptions::new().create(true).append(true).mode(MODE).open(path)?;
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let path = folder.join(format!("{DATABASE}{suffix}"));
        match fs::metadata(&path) {
            Ok(metadata) if metadata.mode() & 0o077 != 0 => {
                fs::set_permissions(&path, Permissions::from_mode(MODE))?;
                let mode = format!("{:04o}", metadata.mode() & 0o7777);
                tracing::warn!(file = %path.display(), mode, "others could use this file: it is private now");
            }
            Err(why) if why.kind() != ErrorKind::NotFound => return Err(why),
            _ => {}
        }
    }
    Ok(())
}
