//! The section of a membership in a group: its name, and where the files are that prove it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::value::{HINT, Interval, Name};
use crate::authority::{AUTHORITY, CERTIFICATE, KEY, REVOCATIONS, SECRET};

/// How often the revocation list and the certificate are looked at.
const POLL: Interval = Interval(Duration::from_secs(60));
/// The same where the group's site is asked for newer lists.
const POLL_SITE: Interval = Interval(Duration::from_secs(30));

/// A membership in a group.
#[derive(Clone, Debug)]
pub struct Group {
    /// The group's name, as the authority's certificates have it.
    pub name: Name,
    /// The member's certificate (PEM); read again when the file changes.
    pub certificate: PathBuf,
    /// Its private key (PEM), which nobody else may read.
    pub key: PathBuf,
    /// The certificate of the authority (PEM).
    pub authority: PathBuf,
    /// The group's secret: 32 bytes, which nobody else may read.
    pub secret: PathBuf,
    /// Whom the authority revoked (PEM); read again when the file changes.
    pub revocations: PathBuf,
    /// How often they are looked at, and the group's site is asked for newer lists.
    pub poll: Interval,
    /// If a site hands the files out: what they are asked for with.
    pub site: Option<FromSite>,
}

/// A membership whose files come from the group's site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromSite {
    /// The member's file, `NAME.atoll`.
    pub file: PathBuf,
    /// The folder that the rest is kept in.
    pub folder: PathBuf,
    /// What to do when the site refuses.
    pub refused: Refused,
}

/// What a node does when the site of a group refuses it for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It goes on with its other memberships.
    Stays,
    /// It ends, as that membership is what it was started for.
    Ends,
}

impl Group {
    /// A membership by a site's file, with everything else in a folder.
    #[must_use]
    pub fn from_site(name: Name, site: FromSite) -> Self {
        let folder = &site.folder;
        Self {
            name,
            certificate: folder.join(CERTIFICATE),
            key: folder.join(KEY),
            authority: folder.join(AUTHORITY),
            secret: folder.join(SECRET),
            revocations: folder.join(REVOCATIONS),
            poll: POLL_SITE,
            site: Some(site),
        }
    }
}

/// The folder in which those of memberships lie if nothing else is said: that which systemd gives, or else the user's.
#[must_use]
pub fn groups_folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(variable("HOME")?.join(".local/state"));
    let of_service = variable("STATE_DIRECTORY").map(|folder| folder.join("groups"));
    of_service.or_else(|| Some(variable("XDG_STATE_HOME").or_else(home)?.join("atoll/groups")))
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    name: Option<Name>,
    file: Option<PathBuf>,
    folder: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    authority: Option<PathBuf>,
    secret: Option<PathBuf>,
    revocations: Option<PathBuf>,
    poll: Option<Interval>,
}

impl Keys {
    fn group(self) -> Result<Group, String> {
        match &self.file {
            Some(file) => self.handed_out(file),
            None => self.placed(),
        }
    }

    /// What a site hands out is kept in one folder.
    fn handed_out(&self, file: &Path) -> Result<Group, String> {
        let own = [&self.certificate, &self.key, &self.authority, &self.secret, &self.revocations];
        if own.iter().any(|own| own.is_some()) {
            let why = "with `file` all other files lie in one folder";
            return Err(format!("{why}{HINT}leave them out, or leave out `file`"));
        }
        let called = || file.file_stem()?.to_str()?.parse().ok();
        let name = self.name.clone().or_else(called);
        let name =
            name.ok_or_else(|| format!("`name` is missing{HINT}add it: the file's name is not the group's"))?;
        let usual = || Some(groups_folder()?.join(&name.0));
        let folder = self.folder.clone().or_else(usual);
        let folder = folder
            .ok_or_else(|| format!("`folder` is missing{HINT}name one for the node's key and certificate"))?;
        let site = FromSite { file: file.to_owned(), folder, refused: Refused::Stays };
        let poll = self.poll.unwrap_or(POLL_SITE);
        Ok(Group { poll, ..Group::from_site(name, site) })
    }

    /// The files of the folder, but for those that have a place of their own.
    fn placed(self) -> Result<Group, String> {
        let folder = self.folder;
        let place = |own: Option<PathBuf>, key: &str, name: &str| {
            let inside = || folder.as_ref().map(|folder| folder.join(name));
            let missing = || format!("`{key}` is missing{HINT}add it, or the `folder` that all files lie in");
            own.or_else(inside).ok_or_else(missing)
        };
        Ok(Group {
            name: self.name.ok_or_else(|| format!("missing field `name`{HINT}add the key `name`"))?,
            certificate: place(self.certificate, "certificate", CERTIFICATE)?,
            key: place(self.key, "key", KEY)?,
            authority: place(self.authority, "authority", AUTHORITY)?,
            secret: place(self.secret, "secret", SECRET)?,
            revocations: place(self.revocations, "revocations", REVOCATIONS)?,
            poll: self.poll.unwrap_or(POLL),
            site: None,
        })
    }
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Group;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the keys name and folder, or file")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Group, A::Error> {
                Keys::deserialize(MapAccessDeserializer::new(map))?.group().map_err(Error::custom)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Group, String> {
        serde_yaml::from_str(text).map_err(|why| why.to_string())
    }

    #[test]
    fn a_site_s_file_says_the_group_s_name_and_the_folder_has_the_rest() {
        let group = read("{file: /etc/atoll/chess.atoll, folder: /var/lib/chess}").unwrap();
        assert_eq!((&*group.name.0, &*group.key), ("chess", Path::new("/var/lib/chess/node.key")));
        let site = group.site.unwrap();
        assert_eq!((&*site.file, site.refused), (Path::new("/etc/atoll/chess.atoll"), Refused::Stays));
        let named = read("{file: \"/a/chess (1).atoll\", name: chess, folder: /b, poll: 5 s}").unwrap();
        assert_eq!((&*named.name.0, named.poll.0.as_secs()), ("chess", 5));
    }

    #[test]
    fn a_site_s_file_beside_other_files_is_a_contradiction() {
        let wrong = |text: &str, part: &str| {
            let said = read(text).unwrap_err();
            assert!(said.contains(part), "{said}");
        };
        wrong("{file: /a/chess.atoll, key: /b, folder: /c}", "all other files lie in one folder");
        wrong("{file: \"/a/chess (1).atoll\", folder: /c}", "`name` is missing");
        wrong("{folder: /c}", "missing field `name`");
    }
}
