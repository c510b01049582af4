//! Accounts: names and passwords, and who is logged in.
//!
//! A token of somebody who is logged in is made at the log-in and at no other time, so that nobody can be made to use one
//! that another knows. Whether a name has an account is told by no answer's words or time, but for signing up.
//! Guesses are counted for each name, and apart from them those that come from where the account logged in before (`known`).

use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use atoll_core::security::is_name;
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::known::{Browser, Claim, Whence};
use crate::limits::Remote;
use crate::refusal::Refusal;
use crate::site::{Site, Try};
use crate::token::Token;

/// How long a log-in holds at most, and how long without a request: seconds.
pub(crate) const LOGIN_MAX: i64 = 7 * 86_400;
pub(crate) const IDLE_MAX: i64 = 86_400;
/// A log-in's last use is written down this often at most: seconds.
const SEEN_STEP: i64 = 600;
/// Log-ins of one account; a further one ends the oldest.
const LOGINS_MAX: i64 = 32;
/// Accounts of one site.
const ACCOUNTS_MAX: i64 = 1_000_000;
const PASSWORD_LETTERS: std::ops::RangeInclusive<usize> = 10..=128;
/// Passwords that are hashed at once; each takes 19 MiB for a moment.
const HASHES_MAX: usize = 2;
/// How long one waits for its turn.
const HASH_WAIT: Duration = Duration::from_secs(10);

/// Somebody with an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub(crate) id: i64,
    /// As it was written at signing up.
    pub name: String,
}

/// Whether an account or a group of this site may be called so.
pub(crate) fn is_site_name(name: &str) -> bool {
    is_name(name) && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

/// Hashes passwords, a few at once.
#[derive(Debug)]
pub(crate) struct Hasher {
    turns: Arc<Semaphore>,
    /// The hash of a password that nobody has: what is wrong for want of an account takes as long as other mistakes.
    nobody: String,
}

impl Hasher {
    pub(crate) fn new() -> Result<Self, Refusal> {
        let nobody = hashed(&Token::fresh()?.text())?;
        Ok(Self { turns: Arc::new(Semaphore::new(HASHES_MAX)), nobody })
    }

    async fn hash(&self, password: Zeroizing<String>) -> Result<String, Refusal> {
        self.run(move || hashed(&password)).await
    }

    /// Whether the password is the one of the hash.
    async fn verify(&self, password: Zeroizing<String>, hash: String) -> Result<bool, Refusal> {
        self.run(move || Ok(fits(&password, &hash))).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = timeout(HASH_WAIT, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| Refusal::Busy)?.map_err(|_| Refusal::Broken)?;
        let done = spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.unwrap_or(Err(Refusal::Broken))
    }
}

fn hashed(password: &str) -> Result<String, Refusal> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| {
        tracing::warn!(%error, "a password cannot be hashed");
        Refusal::Broken
    })
}

fn fits(password: &str, hash: &str) -> bool {
    let hash = PasswordHash::new(hash);
    hash.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

fn check_password(password: &str) -> Result<(), Refusal> {
    let fits = PASSWORD_LETTERS.contains(&password.chars().count());
    if fits { Ok(()) } else { Err(Refusal::Password) }
}

impl Site {
    /// Makes an account and logs it in.
    ///
    /// # Errors
    /// The name is taken or none, or the password too short or too long.
    pub async fn sign_up(&self, name: &str, password: &str, from: Remote) -> Result<Entered, Refusal> {
        if !is_site_name(name) {
            return Err(Refusal::Name);
        }
        check_password(password)?;
        self.attempt(&Try::SignUp(from))?;
        let hash = self.hasher.hash(Zeroizing::new(password.to_owned())).await?;
        let (name, now, token) = (name.to_owned(), self.now(), Token::fresh()?);
        let (proof, kept) = (token.hash(), hash.clone());
        let insert = move |db: &Connection| {
            let count: i64 =
                db.query_row("SELECT coalesce(max(id), 0) FROM accounts", [], |row| row.get(0))?;
            if count >= ACCOUNTS_MAX {
                return Err(Refusal::TooMany);
            }
            let sql =
                "INSERT INTO accounts (name, password, made) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
            if db.execute(sql, params![name, hash, now])? == 0 {
                return Err(Refusal::Taken);
            }
            let id = db.last_insert_rowid();
            add_login(db, id, &proof, now)?;
            Ok(id)
        };
        let id = self.store.write(insert).await?;
        self.entered((id, &kept), from, token)
    }

    /// Logs in.
    ///
    /// # Errors
    /// The name or the password is wrong, or there were too many attempts.
    pub async fn log_in(&self, name: &str, password: &str, whence: Whence) -> Result<Entered, Refusal> {
        let (account, hash) = self.prove(name, password, &whence).await?;
        let (now, token) = (self.now(), Token::fresh()?);
        let proof = token.hash();
        self.store.write(move |db| add_login(db, account, &proof, now)).await?;
        self.entered((account, &hash), whence.place, token)
    }

    /// What somebody gets who has shown the password with this hash.
    fn entered(&self, (account, hash): (i64, &str), from: Remote, token: Token) -> Result<Entered, Refusal> {
        self.places.note(&self.vault, (account, hash), from)?;
        Ok(Entered { token, browser: Browser::fresh(&self.vault, hash)? })
    }

    /// Whose name and password these are, and the hash of it.
    async fn prove(&self, name: &str, password: &str, whence: &Whence) -> Result<(i64, String), Refusal> {
        if name.len() > 64 || check_password(password).is_err() {
            return Err(Refusal::WrongCredentials);
        }
        self.attempt(&Try::Password(whence.place))?;
        let asked = name.to_owned();
        let find = move |db: &Connection| {
            let sql = "SELECT id, password FROM accounts WHERE name = ?1";
            Ok(db.query_row(sql, [asked], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
        };
        let found: Option<(i64, String)> = self.store.read(find).await?;
        let account = found.as_ref().map(|(account, _)| *account);
        let hash = found.as_ref().map_or(&self.hasher.nobody, |(_, hash)| hash);
        let guesser = Claim { name, account, hash }.guesser(&self.vault, &self.places, whence)?;
        self.attempt(&Try::Guess(&guesser))?;
        let is_right = self.hasher.verify(Zeroizing::new(password.to_owned()), hash.clone()).await?;
        let proved = found.filter(|_| is_right).ok_or(Refusal::WrongCredentials)?;
        self.forgive(&guesser);
        Ok(proved)
    }

    /// Ends a log-in.
    ///
    /// # Errors
    /// Nothing can be written.
    pub async fn log_out(&self, token: &Token) -> Result<(), Refusal> {
        let proof = token.hash();
        let end = move |db: &Connection| {
            db.execute("DELETE FROM logins WHERE token = ?1", [proof])?;
            Ok(())
        };
        self.store.write(end).await
    }

    /// Who is logged in with this token.
    ///
    /// # Errors
    /// Nobody is.
    pub async fn who(&self, token: &Token) -> Result<Account, Refusal> {
        let (proof, now) = (token.hash(), self.now());
        let (account, seen) = self.store.read(move |db| login(db, &proof, now)).await?;
        if now - seen > SEEN_STEP {
            let note = move |db: &Connection| {
                Ok(db.execute("UPDATE logins SET seen = ?2 WHERE token = ?1", params![proof, now])?)
            };
            // A full disk keeps nobody from reading.
            let _ = self.store.write(note).await;
        }
        Ok(account)
    }

    /// Changes a password; every log-in but a new one ends.
    ///
    /// # Errors
    /// The old password is wrong, or the new one too short or too long.
    pub async fn change_password(
        &self,
        account: &Account,
        change: Change<'_>,
        whence: Whence,
    ) -> Result<Entered, Refusal> {
        check_password(change.new)?;
        let (id, _) = self.prove(&account.name, change.old, &whence).await?;
        let hash = self.hasher.hash(Zeroizing::new(change.new.to_owned())).await?;
        let (now, token) = (self.now(), Token::fresh()?);
        let (proof, kept) = (token.hash(), hash.clone());
        let replace = move |db: &Connection| {
            db.execute("UPDATE accounts SET password = ?2 WHERE id = ?1", params![id, hash])?;
            db.execute("DELETE FROM logins WHERE account = ?1", [id])?;
            add_login(db, id, &proof, now)
        };
        self.store.write(replace).await?;
        self.entered((id, &kept), whence.place, token)
    }
}

/// What somebody gets who has logged in.
#[derive(Clone, Debug)]
pub struct Entered {
    /// The token of the log-in.
    pub token: Token,
    /// What the browser is known by afterwards, when somebody else guesses the account's password.
    pub browser: Browser,
}

/// An old password and a new one.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    /// The one that it has.
    pub old: &'a str,
    /// The one that it shall have.
    pub new: &'a str,
}

fn add_login(db: &Connection, account: i64, proof: &[u8; 32], now: i64) -> Result<(), Refusal> {
    let sql = "DELETE FROM logins WHERE token IN
        (SELECT token FROM logins WHERE account = ?1 ORDER BY made DESC LIMIT -1 OFFSET ?2)";
    db.execute(sql, params![account, LOGINS_MAX - 1])?;
    let sql = "INSERT INTO logins (token, account, made, seen) VALUES (?1, ?2, ?3, ?3)";
    db.execute(sql, params![proof, account, now])?;
    Ok(())
}

fn login(db: &Connection, proof: &[u8; 32], now: i64) -> Result<(Account, i64), Refusal> {
    let sql = "SELECT accounts.id, accounts.name, logins.seen FROM logins
        JOIN accounts ON accounts.id = logins.account
        WHERE logins.token = ?1 AND logins.made > ?2 AND logins.seen > ?3";
    let read = |row: &rusqlite::Row<'_>| Ok((Account { id: row.get(0)?, name: row.get(1)? }, row.get(2)?));
    let found = db.query_row(sql, params![proof, now - LOGIN_MAX, now - IDLE_MAX], read).optional()?;
    found.ok_or(Refusal::NotLoggedIn)
}
