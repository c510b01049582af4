//! The files of a membership in the private overlay, as the daemon wants to find them.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use super::containers;
use crate::environment::{Authority, Group, NodeSpec, Security};
use crate::error::{OrFail as _, Result};

/// Where a member's container has them.
pub(super) const FOLDER: &str = "/etc/atoll/group";
/// The file of what all members share.
pub(super) const SECRET: &str = "secret";
/// Mode of a file that nobody but the daemon may read.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Who makes the files of a trial's members.
pub(super) struct Desk {
    group: Group,
    /// Without security nobody proves anything, and there is none.
    authority: Option<Authority>,
}

impl Desk {
    /// For a group whose members are protected so.
    ///
    /// # Errors
    /// OpenSSL cannot make the authority.
    pub(super) fn new(group: &Group, security: Security) -> Result<Self> {
        let authority = (security != Security::None).then(|| Authority::of(group)).transpose()?;
        Ok(Self { group: group.clone(), authority })
    }

    /// Makes the folder of a member's files.
    ///
    /// # Errors
    /// OpenSSL cannot make what is in them, or they cannot be written.
    pub(super) fn write(&self, folder: &Path, node: &NodeSpec) -> Result<()> {
        let what = || format!("cannot make the folder {}", folder.display());
        std::fs::create_dir_all(folder).or_fail(what)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).or_fail(what)?;
        file(&folder.join(SECRET), &self.group.secret(), PRIVATE)?;
        let Some(authority) = &self.authority else { return Ok(()) };
        let credentials = authority.issue(node.seed, &node.name)?;
        let what = || format!("cannot write down what makes {} a member", node.name);
        let key = credentials.key().private_key_to_pem_pkcs8().or_fail(what)?;
        let certificate = credentials.certificate().to_pem().or_fail(what)?;
        let root = authority.certificate().to_pem().or_fail(what)?;
        let revocations = authority.no_revocations()?;
        file(&folder.join("node.key"), &key, PRIVATE)?;
        file(&folder.join("node.pem"), &certificate, PUBLIC)?;
        file(&folder.join("authority.pem"), &root, PUBLIC)?;
        // The second is where the daemon keeps the newest list: it need not write what is there.
        for name in ["revocations.pem", "node.revocations.pem"] {
            file(&folder.join(name), &revocations, PUBLIC)?;
        }
        Ok(())
    }
}

/// A file of the user that members run as.
fn file(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let write = || {
        std::fs::write(path, content)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        let (user, group) = containers::user();
        chown(path, Some(user), Some(group))
    };
    write().or_fail(|| format!("cannot write {}", path.display()))
}
