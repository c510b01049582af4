//! The section of a membership in a group: its name, and where the files are that prove it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::value::{HINT, Interval, Name};
use crate::authority::{AUTHORITY, CERTIFICATE, KEY, REVOCATIONS, SECRET};

/// How often the revocation list and the certificate are looked at.
const POLL: Interval = Interval(Duration::from_secs(60));

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
    /// How often they are looked at.
    pub poll: Interval,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    name: Name,
    folder: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    authority: Option<PathBuf>,
    secret: Option<PathBuf>,
    revocations: Option<PathBuf>,
    poll: Option<Interval>,
}

impl Keys {
    /// The files of the folder, but for those that have a place of their own.
    fn group(self) -> Result<Group, String> {
        let folder = self.folder;
        let place = |own: Option<PathBuf>, key: &str, name: &str| {
            let inside = || folder.as_ref().map(|folder| folder.join(name));
            let missing = || format!("`{key}` is missing{HINT}add it, or the `folder` that all files lie in");
            own.or_else(inside).ok_or_else(missing)
        };
        Ok(Group {
            name: self.name,
            certificate: place(self.certificate, "certificate", CERTIFICATE)?,
            key: place(self.key, "key", KEY)?,
            authority: place(self.authority, "authority", AUTHORITY)?,
            secret: place(self.secret, "secret", SECRET)?,
            revocations: place(self.revocations, "revocations", REVOCATIONS)?,
            poll: self.poll.unwrap_or(POLL),
        })
    }
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Group;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the keys name and folder")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Group, A::Error> {
                Keys::deserialize(MapAccessDeserializer::new(map))?.group().map_err(Error::custom)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}
