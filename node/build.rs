//! Packs the program's relative relocations where the C library that is linked in can read them.
//!
//! A static program applies its own relocations when it starts and so reads all of them into memory; packed (DT_RELR)
//! they take a twentieth. glibc reads them since 2.36; an older one would crash at the start.

use std::env::var;
use std::process::Command;

const GLIBC_MIN: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_native = var("HOST").ok() == var("TARGET").ok();
    if is_native && glibc().is_some_and(|version| version >= GLIBC_MIN) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's glibc, if it has one.
fn glibc() -> Option<(u32, u32)> {
    let answer = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let answer = String::from_utf8(answer.stdout).ok()?;
    let (major, minor) = answer.trim().strip_prefix("glibc ")?.split_once('.')?;
    let minor = minor.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
