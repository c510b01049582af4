//! Names of received files: what the sender calls a file is only a proposal.

/// Bytes of a name at most; file systems bear 255.
const NAME_MAX: usize = 200;
/// Bytes of an extension that survives when a name is cut.
const EXTENSION_MAX: usize = 16;

/// A name without folders, control characters and a leading dot.
pub(super) fn sanitised(proposed: &str) -> String {
    let last = proposed.rsplit(['/', '\\']).find(|part| !part.trim().is_empty()).unwrap_or_default();
    let visible: String = last.chars().filter(|letter| !letter.is_control()).collect();
    let name = visible.trim().trim_start_matches('.').trim_start();
    if name.is_empty() {
        return "unnamed".to_owned();
    }
    let (stem, extension) = split(name);
    format!("{}{extension}", cut(stem, NAME_MAX - extension.len()))
}

/// The name for the time that it is tried: 0 is the name itself.
pub(super) fn numbered(name: &str, time: u32) -> String {
    let (stem, extension) = split(name);
    if time == 0 { name.to_owned() } else { format!("{stem} ({}){extension}", time + 1) }
}

/// The stem, and the extension with its dot.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= EXTENSION_MAX => name.split_at(at),
        _ => (name, ""),
    }
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leaves_its_folder_and_is_never_hidden() {
        for (proposed, name) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "passwd"),
            ("/etc/passwd", "passwd"),
            ("C:\\windows\\system.ini", "system.ini"),
            ("..", "unnamed"),
            (".", "unnamed"),
            ("", "unnamed"),
            ("/", "unnamed"),
            ("folder/", "folder"),
            (".bashrc", "bashrc"),
            (" . . x", ". x"),
            ("a\0b\nc\x1b[0m", "abc[0m"),
            ("größe.txt", "größe.txt"),
        ] {
            assert_eq!(sanitised(proposed), name, "{proposed:?}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_letters_and_keeps_its_extension() {
        let name = sanitised(&format!("{}.tar", "ö".repeat(500)));
        assert!(name.len() <= NAME_MAX && name.ends_with("ö.tar"), "{name}");
        assert!(sanitised(&format!("a.{}", "x".repeat(500))).len() <= NAME_MAX);
    }

    #[test]
    fn a_taken_name_gets_a_number_before_its_extension() {
        assert_eq!(numbered("a.txt", 0), "a.txt");
        assert_eq!(numbered("a.txt", 1), "a (2).txt");
        assert_eq!(numbered("a", 2), "a (3)");
    }
}
