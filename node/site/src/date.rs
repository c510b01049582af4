//! Times of the wall clock: as certificates have them, and as people read them.

use atoll_core::security::Wall;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds since 1970 (UTC) as RFC 3339 writes them.
pub fn shown(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{seconds} s after 1970"))
}

/// A time of a certificate or a list; nothing if it lies before 1970.
pub fn wall(time: &Asn1TimeRef) -> Option<Wall> {
    let span = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    u64::try_from(i64::from(span.days) * 86_400 + i64::from(span.secs)).ok().map(Wall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_rfc_3339_has_them() {
        assert_eq!(shown(1_000_000_000), "2001-09-09T01:46:40Z");
        assert_eq!(shown(u64::MAX), format!("{} s after 1970", u64::MAX));
    }
}
