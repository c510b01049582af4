//! The open site: its database, its keys, its clock, and how often who may try.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use atoll_core::security::Wall;
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::accounts::Hasher;
use crate::enrolment::VALID;
use crate::known::{Guesser, Places as KnownPlaces};
use crate::limits::{Limiter, Rate, Remote, Turns, place};
use crate::refusal::Refusal;
use crate::revocation::{Memory, hex};
use crate::store::{self, Store};
use crate::vault::{KeyFile, Missing, NoVault, Vault};
use crate::watermark::{NoWatermark, Watermark};

/// How often what has ended is removed from the database.
const CHORES: Duration = Duration::from_secs(60);
/// How long an invitation stays that has ended, in seconds: a clock that was wrong for a while takes none away.
const KEPT: i64 = 30 * 86_400;
const SEALED_CHECK: &str = "check";

/// Reads the wall clock.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Wall + Send + Sync>);

impl Clock {
    /// A clock that says what this says.
    pub fn new(read: impl Fn() -> Wall + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    pub(crate) fn now(&self) -> Wall {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Where the site keeps what it keeps.
#[derive(Clone, Debug)]
pub struct Places {
    /// The folder of the database.
    pub data: PathBuf,
    /// The key that secrets are sealed with; outside `data`.
    pub key: KeyFile,
    /// The file that remembers the newest list of each group; outside `data`.
    pub watermark: PathBuf,
}

/// What members are told about the site.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub(crate) urls: Vec<String>,
    /// Where the pages are; members may not reach it.
    pub(crate) pages: String,
    /// The SHA-256 of the public key of its TLS certificate.
    pub(crate) pin: [u8; 32],
    pub(crate) bootstraps: Vec<String>,
}

impl Told {
    /// Under which `https://` URLs the site is reached, the best first, and members of the public overlay.
    #[must_use]
    pub fn new(urls: Vec<String>, bootstraps: Vec<String>) -> Self {
        let pages = urls.first().cloned().unwrap_or_default();
        Self { urls, pages, pin: [0; 32], bootstraps }
    }

    /// The same of a site that members reach through the public overlay alone; its pages are at this URL.
    #[must_use]
    pub fn in_overlay(pages: String, bootstraps: Vec<String>) -> Self {
        Self { urls: Vec::new(), pages, pin: [0; 32], bootstraps }
    }
}

/// Why the site does not open.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// The database does not.
    #[error("database in {}: {why}", folder.display())]
    Store {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong.
        why: store::Unopened,
    },
    /// There is no key.
    #[error(transparent)]
    Vault(#[from] NoVault),
    /// The watermark cannot be used.
    #[error(transparent)]
    Watermark(#[from] NoWatermark),
    /// The database refuses.
    #[error("database: {0}")]
    Refused(#[from] Refusal),
}

/// The open site.
#[derive(Debug)]
pub struct Site {
    pub(crate) store: Arc<Store>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) told: Told,
    pub(crate) hasher: Hasher,
    pub(crate) memory: Arc<Memory>,
    /// How long certificates are valid, in seconds.
    pub(crate) valid: i64,
    /// Says that a group was founded.
    pub(crate) founded: watch::Sender<()>,
    /// From where accounts logged in.
    pub(crate) places: KnownPlaces,
    /// Who gives a long list back.
    pub(crate) turns: Arc<Turns>,
    clock: Clock,
    limits: Limits,
}

/// What is limited.
#[derive(Debug)]
struct Limits {
    passwords: Limiter<Remote>,
    guesses: Limiter<Guesser>,
    signups: Limiter<Remote>,
    forgeries: Limiter<Remote>,
    founders: Limiter<i64>,
    enrolments: Limiter<(i64, i64)>,
}

impl Limits {
    fn new() -> Self {
        let rate = |burst, seconds| Rate { burst, every: Duration::from_secs(seconds) };
        Self {
            passwords: Limiter::new(rate(30, 10)),
            guesses: Limiter::new(rate(10, 60)),
            signups: Limiter::new(rate(20, 180)),
            forgeries: Limiter::new(rate(60, 2)),
            founders: Limiter::new(rate(10, 360)),
            enrolments: Limiter::new(rate(60, 2)),
        }
    }
}

/// What somebody tries, and who it is.
#[derive(Debug)]
pub(crate) enum Try<'a> {
    Password(Remote),
    Guess(&'a Guesser),
    SignUp(Remote),
    Forgery(Remote),
    Found(i64),
    Enrol { group: i64, account: i64 },
}

impl Site {
    /// Opens the site; what does not exist yet is made.
    ///
    /// # Errors
    /// The database or its key cannot be used, or do not belong together.
    pub async fn open(places: &Places, told: Told, clock: Clock) -> Result<Self, NotOpened> {
        if is_inside(places.key.path(), &places.data) {
            return Err(NoVault::Beside(places.key.path().to_owned()).into());
        }
        if is_inside(&places.watermark, &places.data) {
            return Err(NoWatermark::Beside(places.watermark.clone()).into());
        }
        let folder = places.data.clone();
        let store = Store::open(&places.data).map_err(|why| NotOpened::Store { folder, why })?;
        let sealed = store.read(sealed_check).await?;
        let missing = if sealed.is_some() { Missing::Refuse } else { Missing::Make };
        let vault = Arc::new(Vault::open(&places.key, missing)?);
        match sealed {
            Some(sealed) if vault.open_sealed(SEALED_CHECK, &sealed).is_err() => {
                return Err(NoVault::Other(places.key.path().to_owned()).into());
            }
            Some(_) => {}
            None => keep_check(&store, &vault).await?,
        }
        let watermark = Watermark::open(&places.watermark)?;
        let (store, memory) = (Arc::new(store), Arc::new(Memory::new(watermark)));
        let (hasher, limits, valid, founded) = (Hasher::new()?, Limits::new(), VALID, watch::Sender::new(()));
        let (places, turns) = (KnownPlaces::default(), Arc::default());
        let site = Self { store, vault, told, hasher, memory, valid, founded, places, turns, clock, limits };
        site.hold_restored().await?;
        Ok(site)
    }

    /// Signs certificates that are valid for so many seconds.
    #[must_use]
    pub fn with_validity(self, seconds: u32) -> Self {
        Self { valid: i64::from(seconds), ..self }
    }

    /// Seconds since 1970 (UTC), as the database has them.
    pub(crate) fn now(&self) -> i64 {
        i64::try_from(self.clock.now().0).unwrap_or(i64::MAX)
    }

    /// The best of its URLs, or that of its pages if members are told none.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.told.pages
    }

    /// The SHA-256 of the public key of its TLS certificate, as hexadecimal digits.
    #[must_use]
    pub fn pin(&self) -> String {
        hex(&self.told.pin)
    }

    /// Counts an attempt.
    pub(crate) fn attempt(&self, what: &Try<'_>) -> Result<(), Refusal> {
        let (limits, now) = (&self.limits, Instant::now());
        let may = match *what {
            Try::Password(from) => limits.passwords.take(place(from), now),
            Try::Guess(guesser) => limits.guesses.take(guesser.clone(), now),
            Try::SignUp(from) => limits.signups.take(place(from), now),
            Try::Forgery(from) => limits.forgeries.take(place(from), now),
            Try::Found(account) => limits.founders.take(account, now),
            Try::Enrol { group, account } => limits.enrolments.take((group, account), now),
        };
        if may { Ok(()) } else { Err(Refusal::TooOften) }
    }

    /// A password was right: it uses up no guess.
    pub(crate) fn forgive(&self, guesser: &Guesser) {
        self.limits.guesses.give_back(guesser);
    }

    /// Removes what has ended, again and again.
    pub async fn keep_house(&self) {
        loop {
            tokio::time::sleep(CHORES).await;
            let now = self.now();
            if let Err(refusal) = self.store.write(move |db| remove_ended(db, now)).await {
                tracing::warn!(%refusal, "what has ended is not removed");
            }
        }
    }
}

fn is_inside(path: &std::path::Path, folder: &std::path::Path) -> bool {
    let real = |path: &std::path::Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let parent = path.parent().map(|parent| parent.canonicalize().unwrap_or_else(|_| real(parent)));
    parent.is_some_and(|parent| parent.starts_with(folder.canonicalize().unwrap_or_else(|_| real(folder))))
}

fn sealed_check(db: &Connection) -> Result<Option<Vec<u8>>, Refusal> {
    let sql = "SELECT value FROM site WHERE name = 'check'";
    Ok(db.query_row(sql, [], |row| row.get(0)).optional()?)
}

async fn keep_check(store: &Store, vault: &Vault) -> Result<(), Refusal> {
    let sealed = vault.seal(SEALED_CHECK, b"atoll")?;
    let insert = move |db: &Connection| {
        db.execute("INSERT INTO site (name, value) VALUES ('check', ?1)", [sealed])?;
        Ok(())
    };
    store.write(insert).await
}

fn remove_ended(db: &Connection, now: i64) -> Result<(), Refusal> {
    use crate::accounts::{IDLE_MAX, LOGIN_MAX};
    use crate::enrolment::FRESH;
    db.execute("DELETE FROM logins WHERE made < ?1 OR seen < ?2", params![now - LOGIN_MAX, now - IDLE_MAX])?;
    db.execute("DELETE FROM nonces WHERE at < ?1", [now - 2 * FRESH])?;
    db.execute("DELETE FROM links WHERE ends < ?1", [now])?;
    db.execute("DELETE FROM invitations WHERE ends < ?1", [now - KEPT])?;
    Ok(())
}
