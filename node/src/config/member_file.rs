//! The file `NAME.atoll`, which a group's site hands to a member: where the site is, and what its nodes enrol with.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use atoll_core::security::is_name;
use openssl::x509::X509;
use serde::de::{Deserialize, Deserializer};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::value::{self, Bootstrap, HINT, Name, Text};
use super::yaml;
use crate::authority::group_of;
use crate::failure::Failure;
use crate::files::{self, Access, SMALL, Unreadable};

/// The version of the file's form.
const VERSION: u32 = 1;
const PORT_DEFAULT: u16 = 443;
const URLS_MAX: usize = 16;
/// What to try when the file is of no use.
const DOWNLOAD: &str = "download the file again from the group's page";

/// What the file says. It holds secrets: whoever has it enrols nodes in the user's name.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberFile {
    #[serde(rename = "atoll")]
    _version: Version,
    /// Where the site is.
    pub site: SitePart,
    /// The group.
    pub group: GroupPart,
    /// The user.
    pub user: UserPart,
    /// Members of the public overlay.
    pub bootstraps: Vec<Bootstrap>,
}

/// Where the site is, and how it proves that.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SitePart {
    /// The best first; none if it is reached through the public overlay alone.
    pub urls: Urls,
    /// The SHA-256 of the public key of its TLS certificate.
    pub pin: Digits,
}

/// A group.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupPart {
    /// Its name.
    pub name: Name,
    /// Its secret.
    pub secret: Digits,
    /// Its authority's certificate.
    pub authority: Root,
}

/// A user.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserPart {
    /// Its name.
    pub name: Name,
    /// What it shares with the site for this group.
    pub key: Digits,
}

impl MemberFile {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is of another form; with line, column, key and a hint.
    pub fn load(path: &Path) -> Result<(Self, Zeroizing<String>), Failure> {
        let shown = path.display().to_string();
        let bytes = files::read(path, Access::Public, SMALL).map_err(|why| unreadable(&shown, &why))?;
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| Failure::new(shown.clone(), "no text").hint(DOWNLOAD))?;
        let text = Zeroizing::new(text);
        Ok((Self::parse(&shown, &text)?, text))
    }

    /// Reads a text; `name` stands for the file in errors.
    ///
    /// # Errors
    /// It is of another form; with line, column, key and a hint.
    pub fn parse(name: &str, text: &str) -> Result<Self, Failure> {
        let file: Self = yaml::read(name, text).map_err(|failure| failure.hint(DOWNLOAD))?;
        let of = group_of(&file.group.authority.0).unwrap_or_default();
        if of != file.group.name.0 {
            let why =
                format!("group.authority: it is that of group `{of}` and not of `{}`", file.group.name.0);
            return Err(Failure::new(name, why).hint(DOWNLOAD));
        }
        if file.site.urls.0.is_empty() && file.bootstraps.is_empty() {
            let why = "it names neither a URL of the site nor a member of the public overlay";
            return Err(Failure::new(name, why).hint("the site's operator can name one with --bootstrap"));
        }
        Ok(file)
    }
}

fn unreadable(shown: &str, why: &Unreadable) -> Failure {
    let failure = Failure::new(shown, why);
    match why {
        Unreadable::Size => failure.hint("is this the file NAME.atoll that the group's page gave you?"),
        _ => failure.hint("give the path of the file NAME.atoll that the group's page gave you"),
    }
}

/// The version of the file's form, which is 1.
#[derive(Clone, Copy)]
struct Version;

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        value::whole(deserializer, VERSION..=VERSION).map(|_| Self)
    }
}

/// 32 bytes, as hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Digits(pub [u8; 32]);

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digits")
    }
}

impl Text for Digits {
    const FORM: &'static str = "64 hexadecimal digits";
    const FORM_IN_FILE: &'static str = "64 hexadecimal digits in quotes";
}

impl FromStr for Digits {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Not shown: it may be a secret.
        const WRONG: &str = "these are not 64 hexadecimal digits";
        if text.len() != 64 || !text.bytes().all(|letter| letter.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| WRONG)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| WRONG)?;
        }
        Ok(Self(bytes))
    }
}

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        value::text(deserializer)
    }
}

/// Where a site is: `https://HOST` or `https://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// A name of DNS or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Text for Url {
    const FORM: &'static str = "https://HOST or https://HOST:PORT";
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no URL of a site");
        let rest = text.strip_prefix("https://").ok_or_else(wrong)?.trim_end_matches('/');
        let six = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (host, port) = match six {
            Some((host, port)) => (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some("443"))),
            None => rest.split_once(':').map_or((rest, Some("443")), |(host, port)| (host, Some(port))),
        };
        let port = port.and_then(|port| port.parse().ok()).filter(|port| *port != 0).ok_or_else(wrong)?;
        let allowed = |letter: u8| letter.is_ascii_alphanumeric() || b"-._".contains(&letter);
        let fits = match six {
            Some(_) => host.parse::<std::net::Ipv6Addr>().is_ok(),
            None => (1..=253).contains(&host.len()) && host.bytes().all(allowed),
        };
        if fits { Ok(Self { host: host.to_owned(), port }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "https://[{}]", self.host)?,
            false => write!(f, "https://{}", self.host)?,
        }
        if self.port == PORT_DEFAULT { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        value::text(deserializer)
    }
}

/// A site's URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Urls(pub Vec<Url>);

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let urls = Vec::deserialize(deserializer)?;
        if urls.len() <= URLS_MAX {
            return Ok(Self(urls));
        }
        let why = format!("{} URLs{HINT}{DOWNLOAD}", urls.len());
        Err(serde::de::Error::custom(why))
    }
}

/// The certificate of an authority (PEM).
#[derive(Clone)]
pub struct Root(pub X509);

impl Text for Root {
    const FORM: &'static str = "a certificate in PEM";
}

impl FromStr for Root {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let certificate = X509::from_pem(text.as_bytes()).map_err(|_| "it is no certificate in PEM")?;
        let is_own = certificate.public_key().and_then(|key| certificate.verify(&key)).unwrap_or(false);
        let is_named = group_of(&certificate).is_some_and(|group| is_name(&group));
        if is_own && is_named {
            Ok(Self(certificate))
        } else {
            Err("it is not the certificate of an authority")
        }
    }
}

impl<'de> Deserialize<'de> for Root {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        value::text(deserializer)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::keys;
    use atoll_core::security::Wall;
    use atoll_site::authority::{Pen, Span, random_serial};

    /// A file as the site writes it.
    pub(crate) fn sample() -> String {
        let key = keys::generate().unwrap();
        let pen = Pen { key: &key, group: "chess" };
        let root = pen.root(&random_serial().unwrap(), Span { now: Wall(1), until: Wall(1 << 34) }).unwrap();
        let file = atoll_site::MemberFile {
            atoll: 1,
            site: atoll_site::SitePart {
                urls: vec!["https://localhost:4433".to_owned()],
                pin: "0a".repeat(32),
            },
            group: atoll_site::GroupPart {
                name: "chess".to_owned(),
                secret: "12".repeat(32),
                authority: String::from_utf8(root.to_pem().unwrap()).unwrap(),
            },
            user: atoll_site::UserPart { name: "ann".to_owned(), key: "ff".repeat(32) },
            bootstraps: vec!["192.0.2.1:4001".to_owned()],
        };
        file.text().unwrap()
    }

    #[test]
    fn what_the_site_writes_is_read() {
        let file = MemberFile::parse("chess.atoll", &sample()).unwrap();
        assert_eq!((&*file.group.name.0, &*file.user.name.0), ("chess", "ann"));
        assert_eq!((file.site.pin.0, file.group.secret.0, file.user.key.0), ([10; 32], [18; 32], [255; 32]));
        assert_eq!(file.site.urls.0[0].to_string(), "https://localhost:4433");
    }

    #[test]
    fn a_wrong_file_gives_the_place_the_key_and_what_to_do() {
        let text = sample();
        for (old, new, part) in [
            ("atoll: 1", "atoll: 2", "chess.atoll:1:8: atoll: 2 is out of range"),
            ("https://localhost", "http://localhost", "site.urls[0]: `http://localhost:4433` is no URL"),
            ("0a0a", "0a", "site.pin: these are not 64"),
            ("1212", "12", "group.secret: these are not 64"),
            ("name: chess", "name: go", "group.authority: it is that of group `chess`"),
            ("name: chess", "nam: chess", "group.nam: unknown field"),
            ("-----BEGIN", "-----BEGUN", "group.authority: it is no certificate"),
            ("ffff", "ff", "user.key: these"),
            ("192.0.2.1:4001", "192.0.2.1", "bootstraps[0]: `192.0.2.1` has no port"),
        ] {
            let changed = text.replacen(old, new, 1);
            assert_ne!(changed, text, "{old}");
            let shown = MemberFile::parse("chess.atoll", &changed).err().unwrap().to_string();
            assert!(shown.contains(part) && shown.contains("hint: download the file again"), "{shown}");
            assert!(!shown.contains("1212") && !shown.contains("ffff"), "a secret is shown: {shown}");
        }
    }

    #[test]
    fn a_file_names_a_url_or_a_member_of_the_public_overlay() {
        let mut file = atoll_site::MemberFile::read(&sample()).unwrap();
        file.site.urls.clear();
        assert!(MemberFile::parse("x", &file.text().unwrap()).unwrap().site.urls.0.is_empty());
        file.bootstraps.clear();
        let shown = MemberFile::parse("x", &file.text().unwrap()).err().unwrap().to_string();
        assert!(
            shown.contains("neither a URL of the site nor a member") && shown.contains("hint: "),
            "{shown}"
        );
    }

    #[test]
    fn a_url_has_a_host_and_a_port() {
        for (text, host, port) in [
            ("https://site.example", "site.example", 443),
            ("https://site.example:4433/", "site.example", 4433),
            ("https://192.0.2.1:1", "192.0.2.1", 1),
            ("https://[2001:db8::1]", "2001:db8::1", 443),
            ("https://[2001:db8::1]:8443", "2001:db8::1", 8443),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!((&*url.host, url.port), (host, port));
            assert_eq!(url.to_string(), text.trim_end_matches('/'));
        }
        for wrong in ["http://a", "https://", "https://a/b", "https://a b", "a", "https://a:0", "https://[a]"]
        {
            assert!(wrong.parse::<Url>().is_err(), "{wrong}");
        }
    }
}
