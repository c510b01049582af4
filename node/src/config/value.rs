//! The values of the configuration: how each is written, its range, and what is said when it is wrong.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use atoll_core::security::is_name;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Separates what is wrong from what to try in the message of a value's error.
pub(super) const HINT: &str = "\nhint: ";

const NAME_MAX: usize = 64;
const TIMER_MIN: Duration = Duration::from_millis(100);
const TIMER_MAX: Duration = Duration::from_secs(600);
const LEASE_SECONDS_MAX: u64 = 24 * 3600;

/// A value that is written as a text of its own form.
pub(crate) trait Text: FromStr<Err: fmt::Display> {
    /// The form, with an example: "expected ...".
    const FORM: &'static str;
    /// The form in a file, where it needs more than on the command line.
    const FORM_IN_FILE: &'static str = Self::FORM;
}

/// Reads a [`Text`]; an error keeps the place of the text itself.
pub(super) fn text<'de, D: Deserializer<'de>, T: Text>(deserializer: D) -> Result<T, D::Error> {
    struct Reader<T>(PhantomData<T>);
    impl<T: Text> Visitor<'_> for Reader<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(T::FORM_IN_FILE)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(|why| E::custom(format!("{why}{HINT}write {}", T::FORM_IN_FILE)))
        }
    }
    deserializer.deserialize_str(Reader(PhantomData))
}

/// Reads a [`Text`] from the command line.
pub(crate) fn flag<T: Text>(text: &str) -> Result<T, String> {
    text.parse().map_err(|why| format!("{why}{HINT}write {}", T::FORM))
}

/// [`text`] for a key that may be absent.
pub(super) fn some_text<'de, D: Deserializer<'de>, T: Text>(deserializer: D) -> Result<Option<T>, D::Error> {
    text(deserializer).map(Some)
}

/// Reads a number in a range; an error keeps the place of the number itself.
pub(super) fn number<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: RangeInclusive<f64>,
) -> Result<f64, D::Error> {
    struct Reader(RangeInclusive<f64>);
    impl Visitor<'_> for Reader {
        type Value = f64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a number from {} to {}", self.0.start(), self.0.end())
        }

        fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
            if self.0.contains(&value) {
                return Ok(value);
            }
            let (low, high) = self.0.into_inner();
            Err(E::custom(format!("{value} is out of range{HINT}write a number from {low} to {high}")))
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
            self.visit_f64(value as f64)
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
            self.visit_f64(value as f64)
        }
    }
    deserializer.deserialize_f64(Reader(range))
}

/// [`number`] for whole numbers.
pub(super) fn whole<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: RangeInclusive<u32>,
) -> Result<usize, D::Error> {
    struct Reader(RangeInclusive<u32>);
    impl Visitor<'_> for Reader {
        type Value = usize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a whole number from {} to {}", self.0.start(), self.0.end())
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<usize, E> {
            let inside = u32::try_from(value).is_ok_and(|value| self.0.contains(&value));
            if inside {
                return Ok(value as usize);
            }
            let (low, high) = self.0.into_inner();
            Err(E::custom(format!("{value} is out of range{HINT}write a whole number from {low} to {high}")))
        }
    }
    deserializer.deserialize_u64(Reader(range))
}

/// Reads `true` or `false`.
pub(super) fn some_bool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    struct Reader;
    impl Visitor<'_> for Reader {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true or false")
        }

        fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
            Ok(value)
        }

        fn visit_str<E: Error>(self, value: &str) -> Result<bool, E> {
            Err(E::custom(format!("`{value}` is neither true nor false{HINT}write `true` or `false`")))
        }
    }
    deserializer.deserialize_any(Reader).map(Some)
}

/// An interval with its unit: `9 s`, `1.5 s`, `250 ms`, `2 min` (100 ms to 10 min).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(pub Duration);

impl Text for Interval {
    const FORM: &'static str = "a duration with its unit, such as \"9 s\", \"250 ms\" or \"2 min\"";
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span = span(text)?;
        if !(TIMER_MIN..=TIMER_MAX).contains(&span) {
            return Err(format!("`{text}` is out of range (100 ms to 10 min)"));
        }
        Ok(Self(span))
    }
}

/// A duration with its unit.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let scale = match unit.trim_end() {
        "ms" => 0.001,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        "" => return Err(format!("`{text}` has no unit")),
        unit => return Err(format!("`{unit}` is no unit of time (known: ms, s, min, h)")),
    };
    let number: f64 = number.trim().parse().map_err(|_| format!("`{text}` does not begin with a number"))?;
    Duration::try_from_secs_f64(number * scale).map_err(|_| format!("`{text}` is no length of time"))
}

/// For how long a value is held: whole seconds, from `1 s` to `24 h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease(pub u64);

impl Text for Lease {
    const FORM: &'static str = "a duration with its unit, such as \"30 s\", \"10 min\" or \"24 h\"";
}

impl FromStr for Lease {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match span(text)?.as_secs() {
            seconds @ 1..=LEASE_SECONDS_MAX => Ok(Self(seconds)),
            _ => Err(format!("`{text}` is out of range (1 s to 24 h)")),
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer)
    }
}

/// How many times slower than the system's a clock runs: 1 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dilation(pub u32);

impl<'de> Deserialize<'de> for Dilation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        whole(deserializer, 1..=1000).map(|times| Self(times as u32))
    }
}

/// A number of bytes with its unit: `1 GiB`, `500 MB`, `1.5 GB`, `2000 B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A file of 1 GiB.
impl Default for Size {
    fn default() -> Self {
        Self(1 << 30)
    }
}

impl Text for Size {
    const FORM: &'static str = "a size with its unit, such as \"1 GiB\" or \"500 MB\"";
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let scale: u64 = match unit.trim_end() {
            "B" => 1,
            "kB" => 1000,
            "MB" => 1000_u64.pow(2),
            "GB" => 1000_u64.pow(3),
            "TB" => 1000_u64.pow(4),
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            "" => return Err(format!("`{text}` has no unit")),
            unit => {
                return Err(format!(
                    "`{unit}` is no unit of size (known: B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)"
                ));
            }
        };
        let number: f64 =
            number.trim().parse().map_err(|_| format!("`{text}` does not begin with a number"))?;
        let bytes = number * scale as f64;
        // An f64 counts bytes exactly up to 2^53, and no file is as large.
        if (1.0..9e15).contains(&bytes) {
            Ok(Self(bytes as u64))
        } else {
            Err(format!("`{text}` is no size of a file"))
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer)
    }
}

/// The transport address that the UDP socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl Text for Listen {
    const FORM: &'static str = "an IP address and a port, such as \"0.0.0.0:4001\" or \"[::]:4001\"";
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("`{text}` is no transport address"))
    }
}

/// Where a server of the daemon is reached: a TCP address, `unix:PATH`, or `off`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Not served.
    Off,
    /// HTTP over TCP.
    Tcp(SocketAddr),
    /// HTTP over a Unix socket.
    Unix(PathBuf),
}

impl Text for Endpoint {
    const FORM: &'static str =
        "an IP address and a port such as \"127.0.0.1:9101\", \"unix:/PATH\", or \"off\"";
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("`unix:` lacks its path".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None if text == "off" => Ok(Self::Off),
            None => text.parse().map(Self::Tcp).map_err(|_| format!("`{text}` is no transport address")),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer)
    }
}

/// A member that may know the way in: a transport address, or a host name with a port that is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// Known as it is.
    Address(SocketAddr),
    /// To be resolved, again and again.
    Name(String),
}

impl Bootstrap {
    /// Its transport address, if that is known without looking anything up.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Name(_) => None,
        }
    }
}

impl Text for Bootstrap {
    const FORM: &'static str = "a host and a port, such as \"203.0.113.7:4001\" or \"host.example:4001\"";
}

impl FromStr for Bootstrap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            let usable = address.port() != 0 && !address.ip().is_unspecified();
            return usable
                .then_some(Self::Address(address))
                .ok_or_else(|| format!("nobody listens at `{text}`"));
        }
        let Some((host, port)) = text.rsplit_once(':') else { return Err(format!("`{text}` has no port")) };
        if port.parse::<u16>().is_ok_and(|port| port != 0) && is_host_name(host) {
            return Ok(Self::Name(text.to_owned()));
        }
        Err(format!("`{text}` is no host with a port"))
    }
}

impl fmt::Display for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for Bootstrap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer)
    }
}

/// Whether `host` may be a name of DNS (RFC 1123 section 2.1; underscores pass, as resolvers let them).
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c))
    };
    let last_is_a_word =
        host.rsplit('.').next().is_some_and(|last| !last.bytes().all(|c| c.is_ascii_digit()));
    host.len() <= 253 && last_is_a_word && host.split('.').all(label)
}

/// The name of an overlay: 1 to 64 letters, digits, `-`, `_` or `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OverlayName(pub String);

impl Text for OverlayName {
    const FORM: &'static str = "1 to 64 letters, digits, `-`, `_` or `.`";
}

impl FromStr for OverlayName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = (1..=NAME_MAX).contains(&text.len())
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c));
        fits.then(|| Self(text.to_owned())).ok_or_else(|| format!("`{text}` is no name for an overlay"))
    }
}

impl<'de> Deserialize<'de> for OverlayName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer)
    }
}

/// The name of a group or of a user: 1 to 64 letters, digits, `-`, `_`, `.` or `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub String);

impl Text for Name {
    const FORM: &'static str = "1 to 64 letters, digits, `-`, `_`, `.` or `@`";
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        is_name(text).then(|| Self(text.to_owned())).ok_or_else(|| format!("`{text}` is no name"))
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer)
    }
}

impl Text for atoll_core::wire::Address {
    const FORM: &'static str = "40 hexadecimal digits";
    const FORM_IN_FILE: &'static str = "40 hexadecimal digits in quotes";
}

impl Text for atoll_core::security::Serial {
    const FORM: &'static str = "hexadecimal digits, as `atoll-node cert issue` shows them";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_need_a_number_a_known_unit_and_a_sane_length() {
        let read = |text: &str| text.parse::<Interval>().map(|interval| interval.0);
        assert_eq!(read("9 s"), Ok(Duration::from_secs(9)));
        assert_eq!(read("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(read("2 min"), Ok(Duration::from_secs(120)));
        for wrong in ["9", "s", "9 sec", "-1 s", "1 ms", "1 h", "nan s", "1e300 s", "", "9 s s"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_need_a_number_and_a_known_unit() {
        let read = |text: &str| text.parse::<Size>().map(|size| size.0);
        assert_eq!(read("1 GiB"), Ok(1 << 30));
        assert_eq!(read("1.5GB"), Ok(1_500_000_000));
        assert_eq!(read("7 B"), Ok(7));
        for wrong in ["9", "B", "9 GiBi", "-1 MB", "0 B", "nan MB", "1e300 MB", "", "9 MB MB"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bootstraps_are_addresses_or_names_with_a_port() {
        let read = str::parse::<Bootstrap>;
        assert!(matches!(read("203.0.113.7:4001"), Ok(Bootstrap::Address(_))));
        assert!(matches!(read("[2001:db8::1]:4001"), Ok(Bootstrap::Address(_))));
        assert!(matches!(read("host.example:4001"), Ok(Bootstrap::Name(_))));
        for wrong in
            ["host.example", "host:0", "203.0.113.7", "1.2.3:4", "0.0.0.0:1", "a b:4", ":4001", "-:x"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn endpoints_are_tcp_unix_or_off() {
        assert_eq!("off".parse(), Ok(Endpoint::Off));
        assert_eq!("unix:/run/a".parse(), Ok(Endpoint::Unix("/run/a".into())));
        assert!(matches!("127.0.0.1:0".parse(), Ok(Endpoint::Tcp(_))));
        for wrong in ["", "unix:", "localhost:1", "9101"] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }
}
