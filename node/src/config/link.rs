//! What `atoll-node join` takes: a file, or the link that fetches it once.

use std::path::PathBuf;
use std::str::FromStr;

use atoll_core::wire::Address;
use atoll_site::Token;

use super::member_file::{Digits, Url};
use super::value::{Bootstrap, Text};

const SCHEME: &str = "atoll:";
const FORM: &str = "atoll://join?site=URL&pin=DIGITS&token=WORD, in quotes";
/// Members of the public overlay that are read in a link at most.
const BOOTSTRAPS_MAX: usize = 16;

/// A link, which is good for one use within a quarter of an hour.
#[derive(Clone, Debug)]
pub struct Link {
    /// Where the site is on the web, and the SHA-256 of the public key of its TLS certificate.
    pub web: Option<(Url, Digits)>,
    /// The address of the authority that says in the public overlay where the site is, and members of that overlay.
    pub around: Option<(Address, Vec<Bootstrap>)>,
    /// What the site knows the link by.
    pub token: Token,
}

impl Link {
    /// Where the site is, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        let url = self.web.as_ref().map(|(url, _)| format!("the site {url}"));
        url.unwrap_or_else(|| "the site in the public overlay".to_owned())
    }
}

impl FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let query = text.strip_prefix("atoll://join").map(|rest| rest.trim_start_matches('/'));
        let query = query.and_then(|rest| rest.strip_prefix('?')).ok_or("this is no link to join with")?;
        let all = |name: &'static str| {
            let pairs = query.split('&').filter_map(move |pair| pair.strip_prefix(name)?.strip_prefix('='));
            pairs.map(move |pair| {
                decoded(pair).ok_or_else(|| format!("the link's `{name}` is not encoded as URLs are"))
            })
        };
        // A shell without quotes around the link cuts it at the first `&`.
        let part = |name: &'static str| {
            all(name).next().unwrap_or_else(|| Err(format!("the link has no `{name}`: was it cut off?")))
        };
        let authority = all("authority").next().transpose()?;
        let authority: Option<Address> = match authority {
            Some(text) => Some(text.parse().map_err(|why| format!("the link's `authority`: {why}"))?),
            None => None,
        };
        let web = if authority.is_none() || all("site").next().is_some() {
            let (site, pin) = (part("site")?, part("pin")?);
            Some((site.parse()?, pin.parse().map_err(|why| format!("the link's `pin`: {why}"))?))
        } else {
            None
        };
        let token = Token::read(&part("token")?);
        let token = token.ok_or("the link's `token` is no such word: was it cut off?")?;
        let bootstraps = all("bootstrap").take(BOOTSTRAPS_MAX).map(|place| place?.parse());
        let bootstraps: Vec<Bootstrap> = bootstraps.collect::<Result<_, String>>()?;
        Ok(Self { web, around: authority.map(|authority| (authority, bootstraps)), token })
    }
}

/// A percent-encoded text (RFC 3986 section 2.1).
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend(parts.next()?.bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).ok()
}

/// Where the member's file comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// It lies on a disk.
    File(PathBuf),
    /// The site has it.
    Link(Box<Link>),
}

impl Text for Source {
    const FORM: &'static str = FORM;
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with(SCHEME) {
            return text.parse().map(|link| Self::Link(Box::new(link)));
        }
        Ok(Self::File(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_plain_and_encoded() {
        let (pin, token) = ("ab".repeat(32), Token::of([7; 32]).text());
        for site in ["https://site.example:4433", "https%3A%2F%2Fsite.example%3a4433"] {
            let text = format!("atoll://join?site={site}&pin={pin}&token={token}");
            let Ok(Source::Link(link)) = text.parse() else { panic!("{text}") };
            let (site, pin) = link.web.unwrap();
            assert_eq!((site.to_string(), pin.0), ("https://site.example:4433".to_owned(), [0xab; 32]));
            assert!(link.token == Token::of([7; 32]) && link.around.is_none());
        }
    }

    #[test]
    fn a_link_leads_into_the_public_overlay_as_well_or_there_alone() {
        let (pin, token, authority) = ("ab".repeat(32), Token::of([7; 32]).text(), "07".repeat(20));
        let around = format!("authority={authority}&bootstrap=192.0.2.1:4001&bootstrap=[2001:db8::1]:4001");
        for web in [format!("site=https://site.example&pin={pin}&"), String::new()] {
            let link: Link = format!("atoll://join?{web}{around}&token={token}").parse().unwrap();
            let (named, bootstraps) = link.around.unwrap();
            assert_eq!((named.to_string(), bootstraps.len()), (authority.clone(), 2));
            assert_eq!(link.web.is_some(), !web.is_empty());
        }
        let wrong = format!("atoll://join?authority=07&token={token}").parse::<Link>().unwrap_err();
        assert!(wrong.contains("`authority`"), "{wrong}");
    }

    #[test]
    fn a_link_that_was_cut_off_says_so_and_anything_else_is_a_file() {
        let (pin, token) = ("ab".repeat(32), Token::of([7; 32]).text());
        for (text, why) in [
            ("atoll://join?site=https://a".to_owned(), "no `pin`"),
            (format!("atoll://join?site=https://a&pin={pin}&token={}", &token[1..]), "no such word"),
            (format!("atoll://join?site=http://a&pin={pin}&token={token}"), "no URL of a site"),
            (format!("atoll://join?site=https://a&pin=1&token={token}"), "`pin`: these are not"),
            (format!("atoll://leave?site=https://a&pin={pin}&token={token}"), "no link to join with"),
        ] {
            let said = text.parse::<Source>().unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        assert!(matches!("chess.atoll".parse(), Ok(Source::File(path)) if path.ends_with("chess.atoll")));
    }

    #[test]
    fn a_name_is_read_as_it_was_encoded() {
        assert_eq!(decoded("a%20b%C3%B6"), Some("a b\u{f6}".to_owned()));
        for wrong in ["%", "a%2", "%zz", "%ff", "%\u{f6}"] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
    }
}
