//! The file that a member downloads: all that its nodes need to enrol, and a link that fetches it once.

use std::sync::Arc;

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

/// The link with this token, for one line or a QR code; nothing if members are told no URL.
#[must_use]
pub(crate) fn link(told: &Told, token: &Token) -> Option<String> {
    let url = told.urls.first()?;
    Some(format!("atoll://join?site={url}&pin={}&token={}", hex(&told.pin), token.text()))
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
    /// Only a member may, and only at a site with a URL.
    pub async fn make_link(&self, at: &At) -> Result<String, Refusal> {
        let token = Token::fresh()?;
        let made = link(&self.told, &token).ok_or(Refusal::NoUrl)?;
        let proof = token.hash();
        self.change(at, Rank::Member, move |scene| {
            let (group, account) = (scene.group.id, scene.account.id);
            let sql = "DELETE FROM links WHERE token IN (SELECT token FROM links
                WHERE group_id = ?1 AND account = ?2 ORDER BY ends DESC LIMIT -1 OFFSET ?3)";
            scene.db.execute(sql, params![group, account, LINKS_MAX - 1])?;
            let sql = "INSERT INTO links (token, group_id, account, ends) VALUES (?1, ?2, ?3, ?4)";
            scene.db.execute(sql, params![proof, group, account, scene.now + LINK_LIFE])?;
            scene.note("make link", &scene.account.name)
        })
        .await?;
        Ok(made)
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
