//! What the authority of a group signed about revocations, in files beside the member's key: what a member was told once it
//! knows at every start, whoever is there to tell it again.
//!
//! The newest list lies in one file in one piece. Each notice is a line of another one, in Base64; a line that was cut off
//! when the machine stopped is passed over. A third one, for its owner alone, has the salt that the group has since the last
//! notice: the notice's number and 32 hexadecimal digits.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use atoll_core::security::{Authority, Epoch, Refusal, SALT_LEN, Salt};
use openssl::base64::{decode_block, encode_block};
use zeroize::Zeroizing;

use crate::config::Group;
use crate::files::{self, Access, LARGE, SMALL, Unreadable};

/// Where a member keeps what it was told.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    list: PathBuf,
    notices: PathBuf,
    epoch: PathBuf,
}

impl Memory {
    pub(crate) fn of(group: &Group) -> Self {
        Self::beside(&group.key)
    }

    /// The files beside a member's key.
    pub(crate) fn beside(key: &Path) -> Self {
        let file = |kind| key.with_extension(kind);
        Self { list: file("revoked-list"), notices: file("revoked-notices"), epoch: file("epoch") }
    }

    /// The salt that was kept; nothing if none was, or if it cannot be read, and then the site has it.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        match files::read(&self.epoch, Access::Private, SMALL) {
            Ok(text) => read_epoch(&Zeroizing::new(text)),
            Err(why) => {
                self.miss(&self.epoch, &why);
                None
            }
        }
    }

    /// Keeps a salt in place of the last one, unless that one is newer.
    pub(crate) fn keep_epoch(&self, epoch: Epoch) -> io::Result<()> {
        if self.epoch().is_some_and(|own| own.number > epoch.number || own == epoch) {
            return Ok(());
        }
        let mut text = Zeroizing::new(format!("{} ", epoch.number));
        epoch.salt.0.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
        text.push('\n');
        files::replace(&self.epoch, text.as_bytes(), Access::Private)
    }

    /// Tells an authority's rule all that was kept; what another authority signed says nothing to it.
    pub(crate) fn recall(&self, authority: &mut Authority) {
        match files::read(&self.list, Access::Public, LARGE) {
            Ok(list) => self.complain(authority.take_user_list(&list).err()),
            Err(why) => self.miss(&self.list, &why),
        }
        let notices = self.notices();
        for notice in &notices {
            self.complain(authority.take_notice(notice).err());
        }
        self.compact(authority, notices.len());
    }

    /// The notices that were kept, in the order in which they were told; each has still to prove itself.
    pub(crate) fn notices(&self) -> Vec<Vec<u8>> {
        match files::read(&self.notices, Access::Public, LARGE) {
            Ok(text) => String::from_utf8_lossy(&text).lines().filter_map(read_line).collect(),
            Err(why) => {
                self.miss(&self.notices, &why);
                Vec::new()
            }
        }
    }

    /// Leaves out what the list says by now, once that is half of the file.
    fn compact(&self, authority: &Authority, lines: usize) {
        let known = authority.known();
        let mut notices: Vec<&[u8]> = known.notices_after(0).map(|(_, notice)| notice).collect();
        // Of the last one the list does not say all.
        notices.extend(known.last_notice().filter(|last| !notices.contains(last)));
        if lines > 2 * notices.len() + 16 {
            let text: String = notices.into_iter().map(line).collect();
            if let Err(why) = files::replace(&self.notices, text.as_bytes(), Access::Public) {
                tracing::debug!(file = %self.notices.display(), %why, "notices not compacted");
            }
        }
    }

    /// Keeps a list in place of the last one.
    pub(crate) fn keep_list(&self, list: &[u8]) -> io::Result<()> {
        files::replace(&self.list, list, Access::Public)
    }

    /// Keeps notices beside the others.
    pub(crate) fn keep_notices(&self, notices: &[Vec<u8>]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o644).open(&self.notices)?;
        let text: String = notices.iter().map(|notice| line(notice)).collect();
        file.write_all(text.as_bytes())?;
        file.sync_data()
    }

    fn complain(&self, refusal: Option<Refusal>) {
        if let Some(refusal) = refusal {
            let (list, notices) = (self.list.display(), self.notices.display());
            let hint = "they are of another authority, or were changed; the daemon makes new ones";
            tracing::warn!(%list, %notices, %refusal, hint, "a kept revocation is not taken");
        }
    }

    fn miss(&self, file: &Path, why: &Unreadable) {
        // A member that was told nothing has no such file.
        if !matches!(why, Unreadable::Io(why) if why.kind() == ErrorKind::NotFound) {
            let hint = "let the daemon read it, or it learns of revocations from its peers alone";
            tracing::warn!(file = %file.display(), %why, hint, "kept revocations not read");
        }
    }
}

fn read_epoch(text: &[u8]) -> Option<Epoch> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
    let (number, salt) = text.split_once(' ')?;
    Some(Epoch { number: number.parse().ok()?, salt: salt_of(salt)? })
}

/// A salt of 32 hexadecimal digits.
pub(crate) fn salt_of(text: &str) -> Option<Salt> {
    if text.len() != 2 * SALT_LEN || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut salt = [0; SALT_LEN];
    for (byte, digits) in salt.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(Salt(salt))
}

/// The line begins with an end of line, lest one that was cut off before spoils it.
fn line(notice: &[u8]) -> String {
    format!("\n{}\n", encode_block(notice))
}

/// A notice as it stands on a line of its own, in Base64.
pub(crate) fn read_line(line: &str) -> Option<Vec<u8>> {
    // An empty line decodes to an empty notice, which is none.
    decode_block(line.trim()).ok().filter(|notice| !notice.is_empty())
}

#[cfg(test)]
mod tests {
    use atoll_core::security::{Mark, Notice, SignedList, UserList, Wall, sign_list};
    use atoll_site::authority::{Pen, Span, random_serial};
    use atoll_site::keys;
    use openssl::pkey::{PKey, Private};

    use super::*;

    struct Chess {
        key: PKey<Private>,
        rule: Authority,
        folder: tempfile::TempDir,
    }

    impl Chess {
        fn new() -> Self {
            let key = keys::generate().unwrap();
            let pen = Pen { key: &key, group: "chess" };
            let span = Span { now: Wall(1_700_000_000), until: Wall(1_900_000_000) };
            let root = pen.root(&random_serial().unwrap(), span).unwrap();
            let rule = Authority::new(&root.to_der().unwrap(), "chess").unwrap();
            Self { key, rule, folder: tempfile::tempdir().unwrap() }
        }

        fn memory(&self) -> Memory {
            let file = |name| self.folder.path().join(name);
            Memory { list: file("list"), notices: file("notices"), epoch: file("epoch") }
        }

        fn notice(&self, number: u64) -> Vec<u8> {
            let (group, user) = ("chess".to_owned(), format!("u{number}"));
            let (digest, mark, serials) = ([0; 32], Mark::default(), Vec::new());
            let at = 1_800_000_000;
            let notice = Notice { group, number, after: number - 1, at, digest, mark, user, serials };
            notice.sign(&self.key).unwrap()
        }

        fn recalled(&self) -> Authority {
            let mut rule = self.rule.clone();
            self.memory().recall(&mut rule);
            rule
        }
    }

    #[test]
    fn what_was_kept_is_known_again_and_a_cut_line_does_no_harm() {
        let chess = Chess::new();
        assert_eq!(chess.recalled().known().count(), 0);
        let memory = chess.memory();
        memory.keep_notices(&[chess.notice(1), chess.notice(2)]).unwrap();
        memory.keep_notices(&[chess.notice(3)]).unwrap();
        assert_eq!((chess.recalled().known().count(), chess.recalled().known().complete()), (3, 3));
        let text = std::fs::read(&memory.notices).unwrap();
        std::fs::write(&memory.notices, &text[..text.len() - 40]).unwrap();
        assert_eq!(chess.recalled().known().complete(), 2);
        memory.keep_notices(&[chess.notice(3)]).unwrap();
        assert_eq!(chess.recalled().known().complete(), 3);
    }

    #[test]
    fn a_list_stands_for_the_notices_before_it_which_leave_the_file() {
        let chess = Chess::new();
        let notices: Vec<Vec<u8>> = (1..=40).map(|number| chess.notice(number)).collect();
        chess.memory().keep_notices(&notices).unwrap();
        let users = (1..40).map(|number| (format!("u{number}"), 1)).collect();
        let list = UserList { group: "chess".to_owned(), number: 39, at: 1, users, serials: Vec::new() };
        let signed = SignedList::join(&list.text(), &sign_list(&chess.key, &list.text()).unwrap());
        chess.memory().keep_list(&signed).unwrap();
        assert_eq!(chess.recalled().known().count(), 40);
        let text = std::fs::read_to_string(chess.memory().notices).unwrap();
        assert_eq!(text.lines().filter(|line| !line.is_empty()).count(), 1, "the last one");
        assert_eq!(chess.recalled().known().count(), 40);
    }

    #[test]
    fn the_last_salt_is_kept_for_its_owner_alone_and_an_older_one_does_not_replace_it() {
        use std::os::unix::fs::MetadataExt as _;
        let chess = Chess::new();
        let memory = chess.memory();
        let epoch = |number, salt| Epoch { number, salt: Salt([salt; SALT_LEN]) };
        assert_eq!(memory.epoch(), None);
        memory.keep_epoch(epoch(7, 0xab)).unwrap();
        memory.keep_epoch(epoch(6, 1)).unwrap();
        assert_eq!(memory.epoch(), Some(epoch(7, 0xab)));
        assert_eq!(std::fs::metadata(&memory.epoch).unwrap().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&memory.epoch).unwrap();
        assert_eq!(text, format!("7 {}\n", "ab".repeat(16)));
        for broken in ["", "7\n", "7 abcd\n", "x abababababababababababababababab\n", &text[..20]] {
            std::fs::write(&memory.epoch, broken).unwrap();
            assert_eq!(memory.epoch(), None, "{broken}");
        }
        memory.keep_epoch(epoch(8, 1)).unwrap();
        assert_eq!(memory.epoch(), Some(epoch(8, 1)));
    }

    #[test]
    fn what_another_authority_signed_says_nothing() {
        let (chess, other) = (Chess::new(), Chess::new());
        chess.memory().keep_notices(&[other.notice(1)]).unwrap();
        chess.memory().keep_list(b"nonsense").unwrap();
        assert_eq!(chess.recalled().known().count(), 0);
    }
}
