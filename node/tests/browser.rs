//! The whole story in a browser: a group is founded, somebody is let in, real nodes join by what was downloaded, and one is out.
//!
//! With `ATOLL_PICTURES=FOLDER` each page is kept there as it looks on a desktop and on a phone.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::path::{Path, PathBuf};

use common::browser::{Browser, Driver};
use common::group::text;
use common::site::Site;
use common::town::{enrolment, meet};
use common::{Running, program, until};

const DESKTOP: u32 = 1280;
const PHONE: u32 = 390;

/// A person at a browser.
struct Person<'a> {
    name: &'static str,
    browser: Browser<'a>,
    site: String,
    downloads: PathBuf,
}

impl<'a> Person<'a> {
    /// Somebody who signs up.
    fn new(driver: &'a Driver, site: &str, folder: &Path, name: &'static str) -> Self {
        let downloads = folder.join(format!("{name}-downloads"));
        std::fs::create_dir(&downloads).unwrap();
        let browser = driver.browser(&downloads);
        browser.width(DESKTOP);
        let person = Self { name, browser, site: site.to_owned(), downloads };
        person.at("/");
        person.look("welcome");
        person.browser.click("Sign up");
        person.look("signup");
        person.browser.fill("name", name);
        person.browser.fill("password", "correct horse");
        person.browser.fill("again", "correct horse");
        person.browser.click("Sign up");
        person.browser.reads("Your groups");
        person.look("home");
        person
    }

    fn at(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.site));
    }

    /// Each page fits a phone, too.
    #[track_caller]
    fn look(&self, page: &str) {
        for width in [PHONE, DESKTOP] {
            self.browser.width(width);
            assert!(self.browser.fits(), "{page} is wider than {width} pixels");
            if let Some(folder) = std::env::var_os("ATOLL_PICTURES") {
                let file = format!("{page}-{}-{width}.png", self.name);
                self.browser.picture(&Path::new(&folder).join(file));
            }
        }
    }

    /// The file that the group's page gives.
    fn download(&self) -> PathBuf {
        self.at("/groups/chess");
        self.browser.click("Download chess.atoll");
        let file = self.downloads.join("chess.atoll");
        until("the file is there", || {
            std::fs::metadata(&file).is_ok_and(|file| file.len() > 0).then_some(())
        });
        file
    }

    /// A node that asks the site for lists this often.
    fn join(&self, poll: &str) -> Running {
        let (file, data) = (self.download(), self.downloads.with_file_name(self.name));
        let flags = ["--listen", "127.0.0.1:0", "--poll", poll, "--data", text(&data)];
        Running::start_verb(program(&["join", text(&file)]), &flags)
    }
}

#[test]
fn from_signing_up_to_a_member_and_out_again() {
    let Some(driver) = Driver::start() else {
        return println!(
            "SKIPPED: the story in a browser: no chromedriver (Debian package `chromium-driver`)"
        );
    };
    let folder = tempfile::tempdir().unwrap();
    let public = Running::start(&[]);
    let (bootstrap, config) = (public.listen.to_string(), folder.path().join("site.yaml"));
    let overlay = format!("overlays: [{{name: public, bootstraps: [\"{bootstrap}\"]}}]");
    std::fs::write(&config, format!("listen: \"127.0.0.1:0\"\ncontrol: off\n{overlay}\n")).unwrap();
    let site = Site::start(folder.path(), &["--bootstrap", &bootstrap, "--config", text(&config)]);
    let url = format!("https://localhost:{}", site.place.port());
    let ann = Person::new(&driver, &url, folder.path(), "ann");
    ann.browser.fill_under("Found a group", "chess");
    ann.browser.click("Found");
    ann.browser.reads("1 member");
    ann.look("group");

    let bob = Person::new(&driver, &url, folder.path(), "bob");
    bob.browser.fill_under("Go to a group", "chess");
    bob.browser.click("Go");
    bob.browser.click("Ask to be let in");
    bob.browser.reads("You asked to be let in");
    bob.look("asked");
    ann.at("/groups/chess/requests");
    ann.look("requests");
    ann.browser.click("Let bob in");
    ann.browser.reads("Nobody asks");

    let (first, mut second) = (ann.join("10 min"), bob.join("1 s"));
    meet(&[&first, &second]);
    let address = enrolment(&second)["address"].as_str().unwrap().to_owned();
    ann.at("/groups/chess/members/bob");
    ann.browser.reads(&address);
    ann.browser.reads("admitted");
    ann.look("member");
    bob.at("/groups/chess");
    bob.browser.click("Show a link");
    bob.browser.reads("atoll://join?site=");
    bob.look("link");
    for page in ["invitations", "audit"] {
        ann.at(&format!("/groups/chess/{page}"));
        ann.look(page);
    }

    ann.at("/groups/chess/members/bob");
    ann.browser.click("Revoke bob");
    let (code, said) = second.last_words();
    assert_eq!(code, Some(2));
    assert!(said.contains("the membership is revoked"), "{said}");
    until("nobody is there for ann", || first.peers_in("chess").is_empty().then_some(()));
    // Nobody but the site's member of the public overlay could tell it.
    until("ann's node was told", || (first.status_in("chess")?.revocations?.count >= 1).then_some(()));
    bob.at("/groups/chess");
    bob.browser.reads("Your membership was revoked");
    bob.look("revoked");
}
