//! Enrolment: a node gets its certificate from the site of its group, renews it there, and brings the group's lists home.
//!
//! It owns the folder of such a membership and what is said to the site; the node's key never leaves the folder. What the site
//! brings counts only as far as the group's authority signed it. When to ask, the driver says.

mod facts;
mod folder;
mod https;
mod pace;
mod trouble;
mod vet;
mod way;

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::time::Duration;

use atoll_core::security::{Epoch, Notice, SignedList as Known, UserList, Wall, address_of};
use atoll_core::wire::Address;
use atoll_site::{Enrol, Enrolled, EpochPart, Token, reader_proof};
use hyper::header::{CONTENT_TYPE, IF_NONE_MATCH};
use hyper::{Request, StatusCode};
use openssl::base64::{decode_block, encode_block};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rand::rand_bytes;
use openssl::x509::{CrlStatus, X509, X509Crl, X509Req};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub(crate) use folder::{FILE, Folder, PUBLIC_KEY, came_by};
pub(crate) use pace::{AFTER_REFUSAL, Life, until_decision, without_certificate};
pub(crate) use trouble::Trouble;
pub use way::Via;
pub(crate) use way::{Around, Opening, Ring, Rings};

use crate::authority::{CERTIFICATE, REVOCATIONS};
use crate::config::{Digits, FromSite, Group, Link, MemberFile};
use crate::failure::Failure;
use crate::files::{self, Access, LARGE, SMALL, Unreadable};
use crate::revoked::{Memory, salt_of};
use crate::{date, group};
use facts::Facts;
use folder::SignedList;
use https::{Place, Said};
use trouble::{Refused, count};
use vet::Judge;
use way::Way;

const JSON: &str = "application/json";
/// Notices that the site takes with one list at most.
const GIVEN_NOTICES_MAX: usize = 256;

/// What a site that has forgotten it gets back.
#[derive(Serialize)]
struct GivenBack {
    text: String,
    signature: String,
    /// In Base64.
    notices: Vec<String>,
}

/// A membership whose files come from the group's site.
pub(crate) struct Enrolment {
    folder: Folder,
    group: Group,
    file: MemberFile,
    way: Way,
    key: PKey<Private>,
    address: Address,
    /// What the site knows the list by that is in the folder.
    tag: Option<String>,
    users: Option<UserList>,
    /// The last notice that the site brought, and as its authority signed it.
    notice: Option<(Notice, Vec<u8>)>,
    /// The last list of the site's that lacked what is known here; it was told.
    lacking: Option<i64>,
    memory: Memory,
}

/// What asking for a certificate came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// There is one now.
    Enrolled,
    /// An administrator decides; ask again after this.
    Waiting(Duration),
}

/// What a look at the site's list found.
enum Looked {
    /// Nothing new, or a list of this number.
    Found(Option<i64>),
    /// The site does not know what we know: what is wrong if that does not change.
    Forgot(Trouble),
}

/// A list as the site hands it out.
#[derive(Deserialize)]
struct Lists {
    text: String,
    signature: String,
    x509: String,
    #[serde(default)]
    notices: Vec<String>,
}

#[derive(Deserialize)]
struct Reason {
    reason: String,
    message: String,
}

impl Enrolment {
    /// Opens the folder of a membership, with the member's file of today and a key. `rings` is the public overlay if the node
    /// is in one, and whom to tell when its start is waited for.
    pub(crate) fn open(
        group: &Group,
        site: &FromSite,
        rings: Option<(Rings, watch::Sender<bool>)>,
    ) -> Result<Self, Failure> {
        let (file, text) = MemberFile::load(&site.file)?;
        let (own, named) = (&file.group.name.0, &group.name.0);
        if own != named {
            let why = format!("it is for group `{own}` and not for `{named}`");
            return Err(Failure::new(site.file.display().to_string(), why)
                .hint(format!("write `group: {{name: {own}, file: {}}}`", site.file.display())));
        }
        let folder = Folder::open(&site.folder)?;
        folder.adopt(&file, &text)?;
        let key = folder.key()?.key().clone();
        let address = address_of(&key).map_err(|why| Failure::new("the node's public key", why))?;
        let place = Place { urls: file.site.urls.0.clone(), pin: file.site.pin.clone() };
        let authority = authority_of(&file)?;
        let way = Way::new(place, rings.map(|(rings, waits)| Around { authority, rings, waits }));
        let group = group.clone();
        let (memory, tag, users) = (Memory::of(&group), None, None);
        let (notice, lacking) = (None, None);
        let mut enrolment =
            Self { folder, group, file, way, key, address, tag, users, notice, lacking, memory };
        // One that does not hold is as good as none: the site has the newest.
        enrolment.users = enrolment.folder.list().and_then(|list| enrolment.judge().list(&list).ok());
        Ok(enrolment)
    }

    /// The node's place on the ring of the group.
    pub(crate) fn address(&self) -> Address {
        self.address
    }

    /// Whose node it is.
    pub(crate) fn user(&self) -> &str {
        &self.file.user.name.0
    }

    /// Where the site is, for people.
    pub(crate) fn site(&self) -> String {
        self.way.shown()
    }

    /// The way in which it answered last.
    pub(crate) fn reached_by(&self) -> Option<Via> {
        self.way.last()
    }

    /// The newest list that was brought home.
    pub(crate) fn list(&self) -> Option<i64> {
        self.users.as_ref().map(|list| list.number)
    }

    /// The same as members hand it on.
    pub(crate) fn signed_list(&self) -> Option<Vec<u8>> {
        let list = self.folder.list().filter(|_| self.users.is_some())?;
        let signature = decode_block(&list.signature).ok()?;
        Some(Known::join(&list.text, &signature))
    }

    /// The last notice that the site brought.
    pub(crate) fn notice(&self) -> Option<Vec<u8>> {
        self.notice.as_ref().map(|(_, bytes)| bytes.clone())
    }

    /// The salt that is kept, wherever it came from.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.memory.epoch()
    }

    /// Whether the salt is missing that the group has since this notice, or since the last one that the site brought.
    pub(crate) fn lacks_salt(&self, number: u64) -> bool {
        let last = self.notice.as_ref().map_or(0, |(notice, _)| notice.number);
        self.epoch().map_or(0, |epoch| epoch.number) < last.max(number)
    }

    /// From when until when the certificate is valid, if it is of use.
    pub(crate) fn life(&self, now: Wall) -> Result<Option<Life>, Failure> {
        life(&self.group, now)
    }

    /// Whether there is one, good or not.
    pub(crate) fn has_certificate(&self) -> bool {
        self.group.certificate.exists()
    }

    /// Whether the newest list withdraws the user.
    pub(crate) fn is_withdrawn(&self) -> bool {
        let is_it = |list: &UserList| list.users.iter().any(|(user, _)| user == self.user());
        self.users.as_ref().is_some_and(is_it)
    }

    /// Asks for a certificate, and keeps it.
    pub(crate) async fn ask(&mut self, now: Wall) -> Result<Asked, Trouble> {
        let answer = match self.request(now).await {
            // It has forgotten what we know.
            Err(trouble) if trouble.reason() == Some("restored") && self.users.is_some() => {
                self.give_back().await?;
                self.request(now).await?
            }
            other => other?,
        };
        match answer {
            Enrolled::Waiting { again } => Ok(Asked::Waiting(Duration::from_secs(again.into()))),
            Enrolled::Issued { certificate, list, epoch, .. } => {
                if self.list().is_none_or(|own| own < list) || !self.group.revocations.exists() {
                    self.tag = None;
                    self.fetch_lists().await?;
                }
                let lacks = |epoch: &EpochPart| {
                    self.notice.as_ref().is_none_or(|(notice, _)| notice.number < epoch.number)
                };
                if epoch.as_ref().is_some_and(lacks) {
                    self.tag = None;
                    // Without the notice the salt is not taken, and the certificate is.
                    let _ = self.fetch_lists().await;
                }
                self.take_epoch(epoch.as_ref());
                let pem = self.judge().certificate(&certificate, now).map_err(Trouble::Strange)?;
                self.folder.keep(CERTIFICATE, &pem, Access::Public).map_err(Trouble::Unkept)?;
                Ok(Asked::Enrolled)
            }
        }
    }

    /// Fetches the salt that the group has since a notice: whoever has a certificate is told it when it asks again.
    pub(crate) async fn fetch_salt(&mut self, number: u64, now: Wall) -> Result<Asked, Trouble> {
        if self.notice.as_ref().is_none_or(|(notice, _)| notice.number < number) {
            self.tag = None;
            self.fetch_lists().await?;
        }
        self.ask(now).await
    }

    /// Keeps a salt that has the mark of the last notice. A membership does without one: what is wrong with it is only said.
    fn take_epoch(&self, said: Option<&EpochPart>) {
        let Some(EpochPart { number, salt }) = said else { return };
        let epoch = salt_of(salt).map(|salt| Epoch { number: *number, salt });
        let is_good = |epoch: &Epoch| {
            let last = self.notice.as_ref().map(|(notice, _)| (notice.number, notice.mark));
            last == Some((epoch.number, epoch.salt.mark()))
        };
        let Some(epoch) = epoch.filter(is_good) else {
            let hint = "it asks again; its peers may know the salt as well";
            return tracing::warn!(number, hint, "the site's salt has not the mark of the last notice");
        };
        if let Err(why) = self.memory.keep_epoch(epoch) {
            let hint = "let the daemon's user write to that folder";
            tracing::warn!(number, %why, hint, "the group's salt is not kept");
        }
    }

    /// Looks whether the site has a newer list, and keeps it; gives its number. A site that forgot what we know gets our list
    /// back, and is asked again.
    pub(crate) async fn fetch_lists(&mut self) -> Result<Option<i64>, Trouble> {
        if let Looked::Found(found) = self.look_at_lists().await? {
            return Ok(found);
        }
        self.give_back().await?;
        match self.look_at_lists().await? {
            Looked::Found(found) => Ok(found),
            Looked::Forgot(trouble) => Err(trouble),
        }
    }

    async fn look_at_lists(&mut self) -> Result<Looked, Trouble> {
        let mut request = Request::get(self.lists_place()).header("Atoll-Reader", self.proof()?);
        if let Some(tag) = &self.tag {
            request = request.header(IF_NONE_MATCH, tag);
        }
        let said = self.way.ask(request, Vec::new()).await?;
        if said.status == StatusCode::NOT_MODIFIED {
            return Ok(Looked::Found(None));
        }
        let own = self.list();
        let said = match granted(said, None) {
            Err(trouble) if trouble.reason() == Some("restored") && own.is_some() => {
                return Ok(Looked::Forgot(trouble));
            }
            other => other?,
        };
        let lists: Lists = read(&said)?;
        let list = SignedList { text: lists.text, signature: lists.signature };
        // The list of X.509 that goes with an older one is refused as well.
        let theirs = self.judge().list(&list).map_err(Trouble::Strange)?;
        let number = theirs.number;
        if own.is_some_and(|own| own > number) {
            return Ok(Looked::Forgot(Trouble::Strange("its list is older than ours".to_owned())));
        }
        // Once for each list: what the site does not take is no reason to do without its newest.
        if self.lacking != Some(number) && self.is_lacking(&theirs) {
            self.lacking = Some(number);
            return Ok(Looked::Forgot(Trouble::Strange("its list lacks what was revoked".to_owned())));
        }
        let known = files::read(&self.group.revocations, Access::Public, LARGE).ok();
        let judged = self.judge().lists(&list, lists.x509.as_bytes(), known.as_deref());
        let users = judged.map_err(Trouble::Strange)?;
        self.keep_lists(&list, lists.x509.as_bytes()).map_err(Trouble::Unkept)?;
        (self.users, self.tag) = (Some(users), said.tag);
        self.notice = self.last_notice(&lists.notices).or_else(|| self.notice.take());
        Ok(Looked::Found((own != Some(number)).then_some(number)))
    }

    /// Whether a list lacks a revocation that is known here. An operator may have a site sign again that has forgotten some.
    fn is_lacking(&self, theirs: &UserList) -> bool {
        let all = Facts::of(theirs);
        let judge = self.judge();
        let is_news = |notice: &Vec<u8>| judge.notice(notice).is_ok_and(|notice| !all.has(&notice));
        self.users.as_ref().is_some_and(|own| !all.has_all(own)) || self.memory.notices().iter().any(is_news)
    }

    /// The last of some notices in Base64, if the authority signed it.
    fn last_notice(&self, notices: &[String]) -> Option<(Notice, Vec<u8>)> {
        let bytes = decode_block(notices.last()?).ok()?;
        let notice = self.judge().notice(&bytes);
        if let Err(why) = &notice {
            tracing::warn!(why, "a notice of the group's site is not taken");
        }
        Some((notice.ok()?, bytes))
    }

    fn keep_lists(&self, list: &SignedList, x509: &[u8]) -> Result<(), Failure> {
        self.folder.keep_list(list)?;
        self.folder.keep(REVOCATIONS, x509, Access::Public)
    }

    /// Gives the newest list back to a site that forgot it, and what was revoked since.
    async fn give_back(&mut self) -> Result<(), Trouble> {
        let Some(SignedList { text, signature }) = self.folder.list() else { return Ok(()) };
        let last = self.list().and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
        let (judge, listed) = (self.judge(), self.users.as_ref().map(Facts::of));
        let is_news = |notice: &Vec<u8>| {
            let is_beyond = |notice: &Notice| listed.as_ref().is_none_or(|listed| !listed.has(notice));
            judge.notice(notice).is_ok_and(|notice| notice.number > last || is_beyond(&notice))
        };
        let notices = self.memory.notices().into_iter().filter(is_news).take(GIVEN_NOTICES_MAX);
        let notices = notices.map(|notice| encode_block(&notice)).collect();
        let list = GivenBack { text, signature, notices };
        let request = Request::post(self.lists_place())
            .header("Atoll-Reader", self.proof()?)
            .header(CONTENT_TYPE, JSON);
        let text = serde_json::to_vec(&list).map_err(|why| Trouble::Strange(why.to_string()))?;
        let said = self.way.ask(request, text).await?;
        granted(said, None).map(|_| ())
    }

    async fn request(&mut self, now: Wall) -> Result<Enrolled, Trouble> {
        let body = self.body(now).map_err(|why| Trouble::Strange(format!("OpenSSL: {why}")))?;
        let body = serde_json::to_vec(&body).map_err(|why| Trouble::Strange(why.to_string()))?;
        let request = Request::post("/api/v1/enrol").header(CONTENT_TYPE, JSON);
        let said = granted(self.way.ask(request, body).await?, Some(count(now)))?;
        read(&said)
    }

    /// A request with the node's public key, made with the user's.
    fn body(&self, now: Wall) -> Result<Enrol, ErrorStack> {
        let mut nonce = [0; 16];
        rand_bytes(&mut nonce)?;
        let mut request = X509Req::builder()?;
        request.set_pubkey(&self.key)?;
        request.sign(&self.key, MessageDigest::sha256())?;
        let request = String::from_utf8_lossy(&request.build().to_pem()?).into_owned();
        let draft = Enrol {
            group: self.file.group.name.0.clone(),
            user: self.file.user.name.0.clone(),
            request,
            time: count(now),
            nonce: hex(&nonce),
            list: self.list().unwrap_or(0),
            mac: String::new(),
        };
        let mac = draft.code(&self.file.user.key.0).map_err(|_| ErrorStack::get())?;
        Ok(Enrol { mac, ..draft })
    }

    fn judge(&self) -> Judge<'_> {
        Judge { file: &self.file, key: &self.key }
    }

    fn lists_place(&self) -> String {
        format!("/api/v1/groups/{}/revocations", self.file.group.name.0)
    }

    fn proof(&self) -> Result<String, Trouble> {
        reader_proof(&self.file.group.secret.0).map_err(|why| Trouble::Strange(why.to_string()))
    }
}

/// The address that belongs to the key of the group's authority.
fn authority_of(file: &MemberFile) -> Result<Address, Failure> {
    let key = file.group.authority.0.public_key().and_then(|key| address_of(&key));
    key.map_err(|why| Failure::new("the public key of the group's authority", why))
}

/// Fetches the member's file of a link, which ends by that. `rings` is as with [`Enrolment::open`].
pub(crate) async fn redeem(
    link: &Link,
    (rings, waits): (Rings, watch::Sender<bool>),
    now: Wall,
) -> Result<String, Trouble> {
    let around = link.around.as_ref().map(|(authority, _)| Around { authority: *authority, rings, waits });
    let place = link.web.as_ref().map(|(url, pin)| Place { urls: vec![url.clone()], pin: pin.clone() });
    // Without a URL nobody shows a key that could be another one.
    let place = place.unwrap_or_else(|| Place { urls: Vec::new(), pin: Digits([0; 32]) });
    let mut way = Way::new(place, around);
    let body = serde_json::json!({"token": link.token.text()}).to_string();
    let request = Request::post("/api/v1/links").header(CONTENT_TYPE, JSON);
    let said = granted(way.ask(request, body.into_bytes()).await?, Some(count(now)))?;
    String::from_utf8(said.body.into()).map_err(|_| Trouble::Strange("the file is no text".to_owned()))
}

/// What a link is remembered by.
pub(crate) fn digest_of(token: &Token) -> String {
    hex(&openssl::sha::sha256(token.text().as_bytes()))
}

/// From when until when the certificate of a membership is valid: nothing if there is none that peers would take, and a new
/// one has to be asked for. What a user has to mend is a failure.
pub(crate) fn life(group: &Group, now: Wall) -> Result<Option<Life>, Failure> {
    let path = &group.certificate;
    let pem = match files::read(path, Access::Public, SMALL) {
        Err(Unreadable::Io(why)) if why.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|why| Failure::new(format!("certificate {}", path.display()), why))?,
    };
    let Ok(certificate) = X509::from_pem(&pem) else { return Ok(None) };
    let times = date::wall(certificate.not_before()).zip(date::wall(certificate.not_after()));
    let Some((from, until)) = times.filter(|(_, until)| *until >= now) else { return Ok(None) };
    let is_listed = [&group.revocations, &group::memory(group)].into_iter().any(|list| {
        let list = files::read(list, Access::Public, LARGE).ok().and_then(|pem| X509Crl::from_pem(&pem).ok());
        list.is_some_and(|list| matches!(list.get_by_cert(&certificate), CrlStatus::Revoked(_)))
    });
    let is_whole = group.revocations.exists() && is_for(&certificate, group);
    Ok((is_whole && !is_listed).then(|| Life::new(from, until)))
}

/// Whether a certificate is for the key in the folder, which may be another since.
fn is_for(certificate: &X509, group: &Group) -> bool {
    let key = files::read(&group.key, Access::Private, SMALL).ok();
    let key = key.map(zeroize::Zeroizing::new).and_then(|pem| crate::keys::private(&pem).ok());
    // What keeps the key from being read is said when the membership is.
    key.is_none_or(|key| certificate.public_key().is_ok_and(|public| public.public_eq(&key)))
}

/// An answer that is no refusal. `ours` is what our clock said.
fn granted(said: Said, ours: Option<i64>) -> Result<Said, Trouble> {
    if said.status.is_success() {
        return Ok(said);
    }
    let Ok(Reason { reason, message }) = serde_json::from_slice(&said.body) else {
        return Err(Trouble::Strange(format!("status {}", said.status)));
    };
    let clocks = said.date.zip(ours).map(|(theirs, ours)| [theirs, ours]);
    Err(Trouble::Refused(Refused { reason, message, clocks, wait: said.wait }))
}

fn read<T: serde::de::DeserializeOwned>(said: &Said) -> Result<T, Trouble> {
    serde_json::from_slice(&said.body).map_err(|why| Trouble::Strange(why.to_string()))
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
