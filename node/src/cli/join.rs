//! `atoll-node join`: from the file or the link of a group's site to a node that is a member, in one command.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use atoll_core::security::Wall;
use clap::Args;
use tokio::sync::watch;

use super::Verdict;
use super::run::Flags;
use crate::config::{
    Bootstrap, FromSite, Group, Interval, Link, MemberFile, Membership, OverlayName, Refused, Settings,
    Source, flag, groups_folder,
};
use crate::driver::{self, Clock};
use crate::enrolment::{self, FILE, Folder, PUBLIC_KEY, came_by};
use crate::failure::Failure;
use crate::logging;

const PUBLIC: &str = "public";
/// Folders that are looked through for a link that was used before.
const FOLDERS_MAX: usize = 1024;

/// Join a group by the file or the link from its site, and run until a signal or `atoll-node leave`
#[derive(Args)]
#[command(after_help = "The same command later goes on where it was: with the same key, and by itself.")]
pub(super) struct Join {
    /// The file NAME.atoll, or the link in quotes: 'atoll://join?...'
    #[arg(value_name = "FILE|LINK", value_parser = flag::<Source>)]
    source: Source,
    /// The folder for this membership's key and certificate; made if it does not exist
    /// [default: atoll/groups/NAME in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A member of the public overlay that may know the way in; may be repeated [default: those of the file]
    #[arg(long, value_name = "HOST:PORT", value_parser = flag::<Bootstrap>)]
    bootstrap: Vec<Bootstrap>,
    /// How often the site is asked for newer revocation lists [default: 30 s]
    #[arg(long, value_name = "SPAN", value_parser = flag::<Interval>)]
    poll: Option<Interval>,
    #[command(flatten)]
    flags: Flags,
}

impl Join {
    pub(super) async fn act(self, clock: Clock) -> Result<Verdict, Failure> {
        let settings = self.flags.over(Settings::default());
        logging::start(settings.log);
        let (file, folder) = match &self.source {
            Source::File(path) => by_file(path, self.data.as_deref())?,
            Source::Link(link) => {
                driver::rehearse(&settings)?;
                let visitor = visitor(&settings, link, &self.bootstrap)?;
                by_link(link, self.data.as_deref(), (visitor, clock)).await?
            }
        };
        let mut settings = memberships(settings, file, (&folder, self.bootstrap))?;
        for group in settings.overlays.iter_mut().filter_map(|member| member.group.as_mut()) {
            group.poll = self.poll.unwrap_or(group.poll);
        }
        driver::run(settings, clock).await?;
        Ok(Verdict::Yes)
    }
}

/// Takes a file over into the folder of its membership.
fn by_file(path: &Path, data: Option<&Path>) -> Result<(MemberFile, PathBuf), Failure> {
    let (file, text) = MemberFile::load(path)?;
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o077 != 0) {
        let (file, hint) = (path.display(), "whoever has it enrols nodes in your name: remove it");
        tracing::warn!(%file, hint, "others may read the member's file");
    }
    let folder = folder_of(&file, data)?;
    Folder::open(&folder)?.adopt(&file, &text)?;
    Ok((file, folder))
}

/// Fetches the file of a link, or finds it where it was put when the link was used.
async fn by_link(
    link: &Link,
    data: Option<&Path>,
    (visitor, clock): (Settings, Clock),
) -> Result<(MemberFile, PathBuf), Failure> {
    let digest = enrolment::digest_of(&link.token);
    if let Some(folder) = known(&digest, data) {
        let (file, _) = MemberFile::load(&folder.join(FILE))?;
        return Ok((file, folder));
    }
    let (ring, waits) = (watch::Sender::new(None), watch::Sender::new(false));
    let fetch = enrolment::redeem(link, (ring.subscribe(), waits.clone()), Wall(clock.wall()));
    let fetched = driver::visit(visitor, clock, (ring, waits.subscribe()), fetch).await?;
    let text = zeroize::Zeroizing::new(fetched.map_err(|trouble| trouble.failure(&link.shown()))?);
    let file = MemberFile::parse(&format!("the file of {}", link.shown()), &text)?;
    let place = folder_of(&file, data)?;
    let folder = Folder::open(&place)?;
    folder.adopt(&file, &text)?;
    folder.keep_link(&digest)?;
    Ok((file, place))
}

/// The folder to which a link's file came before.
fn known(digest: &str, data: Option<&Path>) -> Option<PathBuf> {
    if let Some(folder) = data {
        return came_by(folder, digest).then(|| folder.to_owned());
    }
    let folders = std::fs::read_dir(groups_folder()?).ok()?.take(FOLDERS_MAX);
    folders.filter_map(|entry| Some(entry.ok()?.path())).find(|folder| came_by(folder, digest))
}

fn folder_of(file: &MemberFile, data: Option<&Path>) -> Result<PathBuf, Failure> {
    let usual = || Some(groups_folder()?.join(&file.group.name.0));
    data.map(Path::to_owned).or_else(usual).ok_or_else(|| {
        Failure::new("the folder for the key and the certificate", "nothing says where it is")
            .hint("give it with --data, or set HOME")
    })
}

/// A member of the public overlay alone, with a key that is forgotten: for as long as the file of a link is fetched.
fn visitor(settings: &Settings, link: &Link, bootstraps: &[Bootstrap]) -> Result<Settings, Failure> {
    let named = link.around.as_ref().map_or(&[][..], |(_, bootstraps)| bootstraps);
    let bootstraps = if bootstraps.is_empty() { named } else { bootstraps };
    let public = Membership { bootstraps: bootstraps.to_vec(), ..Membership::new(overlay(PUBLIC)?) };
    Ok(Settings { overlays: vec![public], identity: None, inbox: None, ..settings.clone() })
}

fn overlay(name: &str) -> Result<OverlayName, Failure> {
    name.parse().map_err(|why| Failure::new("the name of the group", why))
}

/// A member of the public overlay and of the group, whose members find each other there.
fn memberships(
    settings: Settings,
    file: MemberFile,
    (folder, bootstraps): (&Path, Vec<Bootstrap>),
) -> Result<Settings, Failure> {
    let bootstraps = if bootstraps.is_empty() { file.bootstraps.clone() } else { bootstraps };
    if bootstraps.is_empty() {
        let hint = "name one with --bootstrap";
        tracing::warn!(hint, "the file names no member of the public overlay: nobody is found there");
    }
    let public = Membership { bootstraps, ..Membership::new(overlay(PUBLIC)?) };
    let site = FromSite { file: folder.join(FILE), folder: folder.to_owned(), refused: Refused::Ends };
    let mut group = Membership::new(overlay(&overlay_called(&file.group.name.0))?);
    group.group = Some(Group::from_site(file.group.name, site));
    let identity = settings.identity.clone().unwrap_or_else(|| folder.join(PUBLIC_KEY));
    Ok(Settings { overlays: vec![public, group], identity: Some(identity), ..settings })
}

/// The overlay of a group: its name, as far as overlays may be called so.
fn overlay_called(group: &str) -> String {
    let name = group.replace('@', "_");
    if name == PUBLIC { format!("{name}-group") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample_file;

    #[test]
    fn a_file_makes_a_member_of_the_public_overlay_and_of_the_group() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chess.atoll");
        std::fs::write(&path, sample_file()).unwrap();
        let data = folder.path().join("data");
        let (file, place) = by_file(&path, Some(&data)).unwrap();
        let settings = memberships(Settings::default(), file, (&place, Vec::new())).unwrap();
        let names: Vec<&str> = settings.overlays.iter().map(|one| &*one.name.0).collect();
        assert_eq!(names, ["public", "chess"]);
        assert_eq!(settings.overlays[0].bootstraps, ["192.0.2.1:4001".parse().unwrap()]);
        assert_eq!(settings.identity, Some(data.join("public.key")));
        let group = settings.overlays[1].group.as_ref().unwrap();
        assert_eq!(group.key, data.join("node.key"));
        std::fs::remove_file(&path).unwrap();
        assert!(MemberFile::load(&group.site.as_ref().unwrap().file).is_ok(), "it has a copy of its own");
    }

    #[test]
    fn every_group_has_an_overlay_of_its_own_name() {
        assert_eq!(
            ["chess", "ann@x.org", "public"].map(overlay_called),
            ["chess", "ann_x.org", "public-group"]
        );
    }
}
