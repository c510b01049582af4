//! What `atoll-node join` takes: a file, or the link that fetches it once.

use std::path::PathBuf;
use std::str::FromStr;

use atoll_site::Token;

use super::member_file::{Digits, Url};
use super::value::Text;

const SCHEME: &str = "atoll:";
const FORM: &str = "atoll://join?site=URL&pin=DIGITS&token=WORD, in quotes";

/// A link, which is good for one use within a quarter of an hour.
#[derive(Clone, Debug)]
pub struct Link {
    /// Where the site is.
    pub site: Url,
    /// The SHA-256 of the public key of its TLS certificate.
    pub pin: Digits,
    /// What the site knows the link by.
    pub token: Token,
}

impl FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let query = text.strip_prefix("atoll://join").map(|rest| rest.trim_start_matches('/'));
        let query = query.and_then(|rest| rest.strip_prefix('?')).ok_or("this is no link to join with")?;
        let part = |name: &str| {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            // A shell without quotes around the link cuts it at the first `&`.
            let pair = pair.ok_or_else(|| format!("the link has no `{name}`: was it cut off?"))?;
            decoded(pair).ok_or_else(|| format!("the link's `{name}` is not encoded as URLs are"))
        };
        let (site, pin, token) = (part("site")?, part("pin")?, part("token")?);
        let pin: Digits = pin.parse().map_err(|why| format!("the link's `pin`: {why}"))?;
        let token = Token::read(&token).ok_or("the link's `token` is no such word: was it cut off?")?;
        Ok(Self { site: site.parse()?, pin, token })
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
            assert_eq!(
                (link.site.to_string(), link.pin.0),
                ("https://site.example:4433".to_owned(), [0xab; 32])
            );
            assert_eq!(link.token, Token::of([7; 32]));
        }
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
