//! Files that one can read at a sitting. (How long a function may be is clippy's to say: see clippy.toml.)

use crate::none;
use crate::source::rust_files;

/// Lines of a file at most.
const LINES_MAX: usize = 700;

fn complaint(path: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > LINES_MAX).then(|| format!("{path}: {lines} lines; at most {LINES_MAX}, aim for 500"))
}

#[test]
fn no_file_is_longer_than_seven_hundred_lines() {
    let files = rust_files("");
    none(&files.iter().filter_map(|file| complaint(&file.path, &file.text)).collect::<Vec<_>>());
}

#[test]
fn a_longer_file_is_found() {
    assert!(complaint("a.rs", &"x\n".repeat(LINES_MAX)).is_none());
    assert!(complaint("a.rs", &"x\n".repeat(LINES_MAX + 1)).is_some());
}
