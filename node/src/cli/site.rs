//! `atoll-node site`: the web site of groups and their authorities, beside a member of the public overlay.
//!
//! The site has threads of its own: what it computes holds up no datagram of the member.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atoll_core::control::Reply;
use atoll_core::security::Wall;
use atoll_site::{
    Clock as SiteClock, KeyFile, NoVault, NoWatermark, NotOpened, Places, Say, Site as Opened, TlsFiles,
    Told, serve, serve_calls,
};
use clap::{Args, Parser};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::Verdict;
use crate::config::{Bootstrap, Engine, Listen, Log, LogFormat, LogLevel, Settings, Url, Validity, flag};
use crate::driver::{self, Announce, Clock, Hosted};
use crate::failure::Failure;
use crate::logging;

/// Where the site listens if nothing else is said.
const LISTEN: &str = "[::]:4433";
/// The same if members reach it through the overlay alone: the pages are for this host.
const LISTEN_HERE: &str = "127.0.0.1:4433";
/// The key of the member beside the site if its configuration names none: the site stays at one address. It lies beside the key
/// file, or the watermark if that is handed over.
const MEMBER_KEY: &str = ".member";
/// Where earlier versions made it, in the folder of the database.
const OLD_MEMBER_KEY: &str = "member.key";
/// The name of the key among the credentials that systemd hands over.
const CREDENTIAL: &str = "atoll-site.key";
const WORKERS: usize = 2;
/// Threads for what blocks: the disk, and passwords.
const BLOCKING_MAX: usize = 16;

/// The command line of the program that `atoll-node site` becomes.
#[derive(Parser)]
#[command(name = "atoll-node site", version, max_term_width = 110)]
#[command(
    about = "Serve the web site where groups are founded and joined, and sign their members' certificates"
)]
pub(super) struct Line {
    #[command(flatten)]
    pub(super) site: Site,
}

#[derive(Args)]
pub(super) struct Site {
    /// The folder of the database; made if it does not exist
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The key that secrets are sealed with, outside --data; made at the first start
    /// [default: atoll-site.key in $CREDENTIALS_DIRECTORY]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Remembers the newest revocation lists, outside --data, to know a restored database
    /// [default: beside the key file, with .watermark behind its name]
    #[arg(long, value_name = "FILE")]
    watermark: Option<PathBuf>,
    /// Where HTTPS is served [default: [::]:4433, with --overlay-only 127.0.0.1:4433]
    #[arg(long, value_name = "IP:PORT", value_parser = flag::<Listen>)]
    listen: Option<Listen>,
    /// Where members reach the site: https://HOST[:PORT]; may be repeated, the best first
    /// [default: https://localhost:PORT]
    #[arg(long, value_name = "URL", value_parser = url)]
    url: Vec<String>,
    /// Members are told no URL: they find and reach the site through the public overlay alone, without a public web server
    #[arg(long, requires = "config", conflicts_with = "url")]
    overlay_only: bool,
    /// The operator's certificate, with those that lead to its authority (PEM) [default: one of its own]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The key of --tls-certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Configuration of the member of the public overlay that runs beside the site (YAML) [default: none runs]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A member of the public overlay that members' files name; may be repeated [default: those of --config]
    #[arg(long, value_name = "HOST:PORT", value_parser = flag::<Bootstrap>)]
    bootstrap: Vec<Bootstrap>,
    /// How long certificates are valid: 20 s to 1000 days [default: 90 days]
    #[arg(long, value_name = "SPAN", value_parser = flag::<Validity>)]
    valid: Option<Validity>,
    /// After the database was restored: sign again although revocations may be missing
    #[arg(long)]
    release_restored: bool,
    /// The least urgent level that is logged [default: info]
    #[arg(long, value_name = "LEVEL", value_enum)]
    log: Option<LogLevel>,
    /// How log lines are written [default: text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<LogFormat>,
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").map(|rest| rest.trim_end_matches('/'));
    let fits = |host: &&str| {
        !host.is_empty()
            && host.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"-.:[]".contains(&letter))
    };
    // Members have to be able to read it, and a link with it has to fit into a QR code.
    let url = host.filter(fits).map(|host| format!("https://{host}"));
    url.filter(|url| url.parse::<Url>().is_ok())
        .ok_or_else(|| format!("`{text}` is no URL of a site\nhint: write https://HOST or https://HOST:PORT"))
}

impl Site {
    pub(super) async fn act(self, clock: Clock) -> Result<Verdict, Failure> {
        let member = self.member()?;
        let log = member.as_ref().map_or_else(Log::default, |settings| settings.log);
        logging::start(Log {
            level: self.log.unwrap_or(log.level),
            format: self.log_format.unwrap_or(log.format),
        });
        self.say_old_member_key(member.as_ref());
        let (announce, announcements) = mpsc::channel(1);
        let announce = member.is_some().then_some(announce);
        let mut running = Running::start(self, (member.as_ref(), announce), clock).await?;
        let hosted = running.hosted.take();
        let beside = async {
            match member {
                Some(settings) => driver::run_beside(settings, clock, (hosted, announcements)).await,
                None => driver::asked_to_leave().await.map(|signal| tracing::info!(signal, "leaving")),
            }
        };
        let ended = tokio::select! {
            ended = beside => ended,
            _ = &mut running.served => return Err(Failure::new("the site", "it ended by itself")),
        };
        running.stop().await;
        ended.map(|()| Verdict::Yes)
    }

    /// The member that runs beside the site. It keeps its address, so that the site stays where it was found.
    fn member(&self) -> Result<Option<Settings>, Failure> {
        let Some(file) = &self.config else { return Ok(None) };
        let mut settings = Settings::load(file)?.with_defaults();
        if settings.identity.is_none() {
            settings.identity = Some(self.member_key(&self.places_here()?));
        }
        let first = settings.overlays.first();
        let is_public = first.is_some_and(|first| first.group.is_none() && first.security != Engine::None);
        if self.overlay_only && !is_public {
            let why = "its first overlay is no public one whose members prove who they are";
            return Err(Failure::new(file.display().to_string(), why).hint(
                "with --overlay-only members find the site there: leave out `group` and `security: none`",
            ));
        }
        let known = first.is_some_and(|first| !first.bootstraps.is_empty()) || !self.bootstrap.is_empty();
        if self.overlay_only && !known {
            let why = "nothing says how members get into the public overlay";
            return Err(Failure::new("--overlay-only", why)
                .hint("name a member of it with --bootstrap, which may be this one"));
        }
        Ok(Some(settings))
    }

    /// Whoever has it answers in the site's place: a copy of the database's folder holds it no more.
    fn member_key(&self, places: &Places) -> PathBuf {
        let old = self.data.join(OLD_MEMBER_KEY);
        match &places.key {
            _ if old.exists() => old,
            KeyFile::Own(path) => with_suffix(path, MEMBER_KEY),
            KeyFile::Handed(_) => with_suffix(&places.watermark, MEMBER_KEY),
        }
    }

    fn say_old_member_key(&self, member: Option<&Settings>) {
        let old = self.data.join(OLD_MEMBER_KEY);
        if member.and_then(|settings| settings.identity.as_ref()) == Some(&old) {
            let hint = "stop the site, and move it beside the key file: KEY-FILE.member";
            tracing::warn!(file = %old.display(), hint, "the member's key lies in the clear in the folder of the database");
        }
    }

    fn places_here(&self) -> Result<Places, Failure> {
        self.places(std::env::var_os("CREDENTIALS_DIRECTORY").as_deref())
    }

    /// `credentials` is the folder of what systemd hands over: nobody writes to it.
    fn places(&self, credentials: Option<&OsStr>) -> Result<Places, Failure> {
        let handed = credentials.map(|folder| Path::new(folder).join(CREDENTIAL));
        let key = match (&self.key_file, handed) {
            (Some(own), _) => KeyFile::Own(own.clone()),
            (None, Some(handed)) => KeyFile::Handed(handed),
            (None, None) => {
                return Err(Failure::new("the key file", "nothing says where it is")
                    .hint("give --key-file a place outside --data, such as /etc/atoll/site.key"));
            }
        };
        let beside = match &key {
            KeyFile::Own(path) => Some(with_suffix(path, ".watermark")),
            KeyFile::Handed(_) => None,
        };
        let watermark = self.watermark.clone().or(beside).ok_or_else(|| {
            Failure::new("the watermark", "nothing says where it is")
                .hint("give --watermark a place outside --data that is not restored with it")
        })?;
        Ok(Places { data: self.data.clone(), key, watermark })
    }

    fn told(&self, member: Option<&Settings>, local: SocketAddr) -> Told {
        let known = member.and_then(|settings| settings.overlays.first());
        let known = known.map_or(&[][..], |overlay| &overlay.bootstraps);
        let bootstraps = if self.bootstrap.is_empty() { known } else { &self.bootstrap };
        let bootstraps = bootstraps.iter().map(ToString::to_string).collect();
        let own = || format!("https://localhost:{}", local.port());
        if self.overlay_only {
            return Told::in_overlay(own(), bootstraps);
        }
        let urls = if self.url.is_empty() { vec![own()] } else { self.url.clone() };
        Told::new(urls, bootstraps)
    }

    fn tls(&self) -> Option<TlsFiles> {
        let (certificate, key) = self.tls_certificate.clone().zip(self.tls_key.clone())?;
        Some(TlsFiles { certificate, key })
    }
}

/// The site, which is served by threads of its own.
struct Running {
    runtime: Option<Runtime>,
    stop: Option<watch::Sender<()>>,
    served: JoinHandle<()>,
    /// The site for the member beside it.
    hosted: Option<Hosted>,
}

impl Running {
    async fn start(
        site: Site,
        (member, announce): (Option<&Settings>, Option<mpsc::Sender<Announce>>),
        clock: Clock,
    ) -> Result<Self, Failure> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING_MAX)
            .enable_all()
            .build()
            .map_err(|why| Failure::new("the site's runtime", why))?;
        let (stop, stopped) = watch::channel(());
        let listener = bind(site.listen.as_ref(), if site.overlay_only { LISTEN_HERE } else { LISTEN })?;
        let local = listener.local_addr().map_err(|why| Failure::new("the site's socket", why))?;
        let told = site.told(member, local);
        let started = runtime.spawn(start(site, (listener, told, announce), clock, stopped)).await;
        let started = started.map_err(|why| Failure::new("the site", why)).and_then(|started| started);
        match started {
            Ok((served, hosted)) => {
                Ok(Self { runtime: Some(runtime), stop: Some(stop), served, hosted: Some(hosted) })
            }
            Err(failure) => {
                runtime.shutdown_background();
                Err(failure)
            }
        }
    }

    async fn stop(mut self) {
        // Dropped, so that the calls that wait are answered and no further ones come.
        drop((self.stop.take(), self.hosted.take()));
        let _ = (&mut self.served).await;
    }
}

/// A runtime that ends inside of another one waits for nothing.
impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn start(
    site: Site,
    (listener, told, announce): (std::net::TcpListener, Told, Option<mpsc::Sender<Announce>>),
    clock: Clock,
    stopped: watch::Receiver<()>,
) -> Result<(JoinHandle<()>, Hosted), Failure> {
    let clock = SiteClock::new(move || Wall(clock.wall()));
    let places = site.places_here()?;
    let mut opened = Opened::open(&places, told, clock).await.map_err(|why| explain(&why))?;
    if let Some(Validity(seconds)) = site.valid {
        opened = opened.with_validity(seconds);
    }
    if site.release_restored {
        let groups = opened.release().await.map_err(|why| Failure::new("groups that are held", why))?;
        say_released(&groups);
    }
    let acceptor = opened.secure(site.tls().as_ref()).await.map_err(|why| {
        Failure::new("HTTPS", why).hint("--tls-certificate and --tls-key take PEM files that belong together")
    })?;
    let listener = TcpListener::from_std(listener).map_err(|why| Failure::new("the site's socket", why))?;
    let listen = listener.local_addr().map(|local| local.to_string()).unwrap_or_default();
    tracing::info!(listen, url = opened.url(), pin = opened.pin(), "site ready");
    let opened = Arc::new(opened);
    match announce {
        Some(announce) => {
            let (say, said) = mpsc::channel(1);
            tokio::spawn(Arc::clone(&opened).spread(say));
            tokio::spawn(hand_on(said, announce));
        }
        None => tracing::info!(
            hint = "with --config a member of the public overlay tells them at once",
            "members learn of revocations when they ask the site"
        ),
    }
    let (hosted, calls) = Hosted::new(Arc::clone(&opened));
    let called = serve_calls(Arc::clone(&opened), calls, stopped.clone());
    let served = async move {
        tokio::join!(serve(opened, listener, acceptor, stopped), called);
    };
    Ok((tokio::spawn(served), hosted))
}

/// Groups that stay held were named, each with its reason.
fn say_released(groups: &[String]) {
    if groups.is_empty() {
        tracing::warn!(
            "--release-restored has let no group sign again: none is held, or none of them can sign"
        );
    } else {
        tracing::warn!(groups = groups.join(", "), "signs again although revocations may be missing");
    }
}

/// Hands what the site has to say to the member that runs beside it, and how many members have confirmed it back.
async fn hand_on(mut said: mpsc::Receiver<Say>, announce: mpsc::Sender<Announce>) {
    while let Some(Say { telling, done }) = said.recv().await {
        let (reply, answer) = oneshot::channel();
        if announce.send(Announce { telling, reply }).await.is_err() {
            return;
        }
        tokio::spawn(async move {
            match answer.await {
                Ok(Reply::Announced { members }) => {
                    let _ = done.send(members);
                }
                Ok(other) => tracing::warn!(?other, "members could not be told of a revocation"),
                // The member begins anew, or leaves.
                Err(_) => {}
            }
        });
    }
}

fn bind(listen: Option<&Listen>, usual: &str) -> Result<std::net::TcpListener, Failure> {
    let address = listen.map_or_else(|| usual.parse().expect("the default is an address"), |listen| listen.0);
    let bound = std::net::TcpListener::bind(address);
    let listener = bound.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.map_err(|why| {
        Failure::new(format!("listen {address}"), why).hint("choose another place with --listen")
    })
}

fn explain(why: &NotOpened) -> Failure {
    let failure = Failure::new("the site", why);
    match why {
        NotOpened::Store { .. } => {
            failure.hint("--data needs a folder that this user may write to, room on its disk, and one site alone")
        }
        NotOpened::Vault(NoVault::Beside(_)) => {
            failure.hint("keep the key file in another folder than --data")
        }
        NotOpened::Vault(NoVault::Unreadable { path, .. }) => {
            failure.hint(format!("it needs mode 0600: chmod 600 {}", path.display()))
        }
        NotOpened::Vault(NoVault::Missing(_) | NoVault::Other(_) | NoVault::Length { .. }) => failure.hint(
            "put the key file back that this database was made with: without it no authority signs again",
        ),
        NotOpened::Vault(_) => {
            failure.hint("--key-file needs a folder that exists and that this user may write to, and room on its disk")
        }
        NotOpened::Watermark(NoWatermark::Unwritten { .. }) => {
            failure.hint("--watermark needs a folder that exists and that this user may write to, and room on its disk")
        }
        NotOpened::Watermark(NoWatermark::Beside(_)) => {
            failure.hint("give --watermark a place outside --data, and move the file there")
        }
        NotOpened::Watermark(_) => failure.hint(
            "move the file away: then nothing is signed until --release-restored, as revocations may be missing",
        ),
        NotOpened::Refused(_) => failure.hint("has its disk no room, or is the file damaged?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(words: &[&str], credentials: Option<&str>) -> Result<Places, Failure> {
        let line = Line::parse_from(["x", "--data", "/data"].iter().chain(words));
        line.site.places(credentials.map(OsStr::new))
    }

    #[test]
    fn the_key_is_the_flag_s_or_else_systemd_s_and_the_watermark_lies_where_one_may_write() {
        let own = places(&["--key-file", "/etc/key"], Some("/run/credentials")).unwrap();
        assert!(matches!(&own.key, KeyFile::Own(path) if path == Path::new("/etc/key")));
        assert_eq!(own.watermark, Path::new("/etc/key.watermark"));
        let handed = places(&["--watermark", "/var/mark"], Some("/run/credentials")).unwrap();
        assert!(matches!(&handed.key, KeyFile::Handed(path) if path.ends_with("credentials/atoll-site.key")));
        assert_eq!(handed.watermark, Path::new("/var/mark"));
        assert!(places(&[], Some("/run/credentials")).unwrap_err().to_string().contains("watermark"));
        assert!(places(&[], None).unwrap_err().to_string().contains("key file"));
    }

    #[test]
    fn the_member_s_key_is_made_outside_of_the_database_s_folder_and_used_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_str().unwrap();
        let at = |key: KeyFile| {
            let line = Line::parse_from(["x", "--data", data]);
            line.site.member_key(&Places { data: data.into(), key, watermark: "/var/mark".into() })
        };
        assert_eq!(at(KeyFile::Own("/etc/key".into())), Path::new("/etc/key.member"));
        assert_eq!(at(KeyFile::Handed("/run/key".into())), Path::new("/var/mark.member"));
        std::fs::write(folder.path().join("member.key"), "").unwrap();
        assert_eq!(at(KeyFile::Own("/etc/key".into())), folder.path().join("member.key"));
    }

    #[test]
    fn a_site_has_a_url_of_https_without_a_path() {
        assert_eq!(url("https://site.example:4433/"), Ok("https://site.example:4433".to_owned()));
        assert_eq!(url("https://[2001:db8::1]"), Ok("https://[2001:db8::1]".to_owned()));
        let long = format!("https://{}", "a".repeat(254));
        let unreadable = ["https://a:b", "https://a:0", "https://a:1:2", "https://[a", &long];
        let others = ["http://a", "https://", "https://a/b", "https://a b", "site.example", "https://a?x"];
        for wrong in unreadable.into_iter().chain(others) {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
