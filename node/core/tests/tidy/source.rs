//! The workspace's files, and Rust text without what is no code.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the workspace.
pub(crate) struct File {
    /// Its path from the workspace's root, with `/`.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the core lies two folders down")
        .to_owned()
}

/// Every Rust file under a folder of the workspace, sorted by path.
pub(crate) fn rust_files(folder: &str) -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    walk(&root.join(folder), &mut found);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    found.sort();
    assert!(!found.is_empty(), "no Rust file under `{folder}`");
    found.iter().map(|path| read(&root, path)).collect()
}

fn read(root: &Path, path: &Path) -> File {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    File { path: path.strip_prefix(root).expect("it lies in the workspace").display().to_string(), text }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let skipped = name.starts_with('.') || name == "target" || name == "results";
        match path.is_dir() {
            true if !skipped => walk(&path, found),
            true => {}
            false => found.push(path),
        }
    }
}

/// The code with every comment and every literal's content made blank; lines stay where they are.
pub(crate) fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (len, keep) = token(rest, first, out.chars().last());
        for letter in rest[..len].chars() {
            out.push(if keep || letter == '\n' { letter } else { ' ' });
        }
        rest = &rest[len..];
    }
    out
}

/// The length of what begins here, and whether it is code.
fn token(rest: &str, first: char, before: Option<char>) -> (usize, bool) {
    let in_word = before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    match first {
        '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
        '/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |at| at + 2), false),
        '"' => (quoted(rest), false),
        'r' | 'b' if !in_word && raw(rest).is_some() => (raw(rest).unwrap_or(1), false),
        '\'' => (letter(rest).unwrap_or(1), letter(rest).is_none()),
        other => (other.len_utf8(), true),
    }
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        match letter {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

fn raw(rest: &str) -> Option<usize> {
    let hashes = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let count = hashes.len() - hashes.trim_start_matches('#').len();
    let body = hashes[count..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(count));
    let from = rest.len() - body.len();
    Some(body.find(&end).map_or(rest.len(), |at| from + at + end.len()))
}

/// A character literal, as opposed to a lifetime.
fn letter(rest: &str) -> Option<usize> {
    let inner = &rest[1..];
    if inner.starts_with('\\') {
        return inner[2..].find('\'').map(|at| at + 4);
    }
    let first = inner.chars().next()?;
    inner[first.len_utf8()..].starts_with('\'').then(|| first.len_utf8() + 2)
}

/// The doc comments, on their lines.
pub(crate) fn docs(text: &str) -> String {
    let doc = |line: &str| {
        let line = line.trim_start();
        line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).unwrap_or("").to_owned()
    };
    text.lines().map(doc).collect::<Vec<_>>().join("\n")
}

#[test]
fn comments_and_literals_are_no_code() {
    let text = "let a = \"crate::\\\"x\"; // crate::y\nlet b: &'static str = r#\"crate::\"z\"#; '\\'' 'c' real /* no */";
    let code = code(text);
    assert!(!code.contains("crate"), "{code}");
    assert!(code.contains("real") && code.contains("&'static str") && !code.contains("no"), "{code}");
    assert_eq!(code.lines().count(), 2);
    assert_eq!(docs("code\n  /// said"), "\n said");
}
