//! The file that a member downloads: all that its nodes need to enrol, and a link that fetches it once.

use std::sync::Arc;

use atoll_core::security::address_of;
use atoll_core::wire::Address;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use crate::groups::{At, Group, Member, Rank, State, group_numbered, member, note};
use crate::refusal::Refusal;
use crate::revocation::hex;
use crate::site::{Site, Told};
use crate::token::Token;
use crate::vault::Vault;

/// How long a link holds, in seconds.
pub(crate) const LINK_LIFE: i64 = 15 * 60;
/// Links of one member that hold at once; a further one ends the first.
const LINKS_MAX: i64 = 8;
/// Members of the public overlay that a link names at most: it has to fit into a QR code.
const BOOTSTRAPS_MAX: usize = 3;
/// The version of the file's form.
const VERSION: u32 = 1;

/// The file `NAME.atoll`, in YAML. It holds secrets: whoever has it enrols nodes in the user's name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberFile {
    /// The version of its form: 1.
    pub atoll: u32,
    /// Where the site is.
    pub site: SitePart,
    /// The group.
    pub group: GroupPart,
    /// The user.
    pub user: UserPart,
    /// Members of the public overlay: `HOST:PORT`.
    pub bootstraps: Vec<String>,
}

/// Where the site is, and how it proves that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SitePart {
    /// The best first; none if the site is reached through the public overlay alone.
    pub urls: Vec<String>,
    /// The SHA-256 of the public key of its TLS certificate, as hexadecimal digits.
    pub pin: String,
}

/// A group.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupPart {
    /// Its name.
    pub name: String,
    /// Its secret: 32 bytes as hexadecimal digits.
    pub secret: String,
    /// Its authority's certificate (PEM).
    pub authority: String,
}

/// A user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserPart {
    /// Its name.
    pub name: String,
    /// What it shares with the site for this group: 32 bytes as hexadecimal digits.
    pub key: String,
}

impl MemberFile {
    fn of(told: &Told, vault: &Vault, (group, member): (&Group, &Member)) -> Result<Self, Refusal> {
        let authority = group.authority()?.to_pem()?;
        Ok(Self {
            atoll: VERSION,
            site: SitePart { urls: told.urls.clone(), pin: hex(&told.pin) },
            group: GroupPart {
                name: group.name.clone(),
                secret: hex(&group.secret(vault)?),
                authority: String::from_utf8(authority).map_err(|_| Refusal::Broken)?,
            },
            user: UserPart { name: member.name.clone(), key: hex(&member.key(vault, group)?) },
            bootstraps: told.bootstraps.clone(),
        })
    }

    /// The file's text.
    ///
    /// # Errors
    /// It cannot be written as YAML.
    pub fn text(&self) -> Result<String, Refusal> {
        serde_yaml::to_string(self).map_err(|_| Refusal::Broken)
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// It is of another form.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let file: Self = serde_yaml::from_str(text).map_err(|_| Refusal::Malformed)?;
        if file.atoll == VERSION { Ok(file) } else { Err(Refusal::Malformed) }
    }
}

/// The link with this token, for one line or a QR code. It leads to the site's URL, and to where the group's authority says in the
/// public overlay that the site is.
///
/// # Errors
/// Members are told neither.
fn link(told: &Told, token: &Token, authority: Address) -> Result<String, Refusal> {
    let web = told.urls.first().map(|url| format!("site={url}&pin={}&", hex(&told.pin)));
    let bootstraps = told.bootstraps.iter().take(BOOTSTRAPS_MAX);
    // An address of IPv6 may name an interface behind a `%`.
    let bootstraps: String =
        bootstraps.map(|place| format!("bootstrap={}&", place.replace('%', "%25"))).collect();
    let around = (!bootstraps.is_empty()).then(|| format!("authority={authority}&{bootstraps}"));
    if web.is_none() && around.is_none() {
        return Err(Refusal::NoUrl);
    }
    let (web, around) = (web.unwrap_or_default(), around.unwrap_or_default());
    Ok(format!("atoll://join?{web}{around}token={}", token.text()))
}

impl Site {
    /// What a member downloads.
    ///
    /// # Errors
    /// Only a member may.
    pub async fn file(&self, at: &At) -> Result<MemberFile, Refusal> {
        let told = self.told.clone();
        self.look(at, Rank::Member, move |scene| {
            let member = scene.member.as_ref().ok_or(Refusal::NotMember)?;
            MemberFile::of(&told, scene.vault, (&scene.group, member))
        })
        .await
    }

    /// Makes a link that fetches the file once, within a quarter of an hour.
    ///
    /// # Errors
    /// Only a member may, and only at a site of which members are told where it is.
    pub async fn make_link(&self, at: &At) -> Result<String, Refusal> {
        let (token, told) = (Token::fresh()?, self.told.clone());
        let proof = token.hash();
        self.change(at, Rank::Member, move |scene| {
            let key = scene.group.authority()?.public_key()?;
            let made = link(&told, &token, address_of(&key)?)?;
            let (group, account) = (scene.group.id, scene.account.id);
            let sql = "DELETE FROM links WHERE token IN (SELECT token FROM links
                WHERE group_id = ?1 AND account = ?2 ORDER BY ends DESC LIMIT -1 OFFSET ?3)";
            scene.db.execute(sql, params![group, account, LINKS_MAX - 1])?;
            let sql = "INSERT INTO links (token, group_id, account, ends) VALUES (?1, ?2, ?3, ?4)";
            scene.db.execute(sql, params![proof, group, account, scene.now + LINK_LIFE])?;
            scene.note("make link", &scene.account.name)?;
            Ok(made)
        })
        .await
    }

    /// Fetches the file of a link, which ends by that.
    ///
    /// # Errors
    /// It has been used, or has ended.
    pub async fn redeem(&self, token: &Token) -> Result<MemberFile, Refusal> {
        let (proof, now) = (token.hash(), self.now());
        let (told, vault) = (self.told.clone(), Arc::clone(&self.vault));
        let take = move |db: &Connection| {
            let sql = "DELETE FROM links WHERE token = ?1 AND ends > ?2 RETURNING group_id, account";
            let found = db.query_row(sql, params![proof, now], |row| Ok((row.get(0)?, row.get(1)?)));
            let (id, account): (i64, i64) = found.optional()?.ok_or(Refusal::Ended)?;
            let group = group_numbered(db, id)?.ok_or(Refusal::Ended)?;
            let member = member(db, id, account)?.filter(|member| member.state == State::Member);
            let member = member.ok_or(Refusal::Ended)?;
            note(db, (id, now), [&member.name, "use link", &member.name])?;
            MemberFile::of(&told, &vault, (&group, &member))
        };
        self.store.write(take).await
    }
}
