//! Stateless cookies: who answers from where it claims to be, before it costs us any memory (RFC 6347 section 4.2.1).

use std::hash::Hasher as _;
use std::time::Duration;

use siphasher::sip::SipHasher24;

use crate::rng::Rng;
use crate::time::Time;

/// How long one secret makes cookies; a cookie is good for one to two of these.
const ROTATION: Duration = Duration::from_secs(60);

/// Makes and checks cookies with a secret that rotates.
#[derive(Debug)]
pub struct CookieJar {
    rng: Rng,
    secrets: [(u64, u64); 2],
    rotate_at: Time,
}

impl CookieJar {
    /// A jar with fresh secrets.
    #[must_use]
    pub fn new(mut rng: Rng, now: Time) -> Self {
        let secrets = [(); 2].map(|()| (rng.next_u64(), rng.next_u64()));
        Self { rng, secrets, rotate_at: now + ROTATION }
    }

    /// The cookie of a source; never 0, which means "none".
    pub fn make(&mut self, source: &[u8], now: Time) -> u64 {
        self.rotate(now);
        cookie(self.secrets[0], source)
    }

    /// Whether the source was given this cookie lately.
    pub fn check(&mut self, source: &[u8], claimed: u64, now: Time) -> bool {
        self.rotate(now);
        self.secrets.iter().any(|secret| cookie(*secret, source) == claimed)
    }

    fn rotate(&mut self, now: Time) {
        if now < self.rotate_at {
            return;
        }
        let fresh = (self.rng.next_u64(), self.rng.next_u64());
        let idle = now >= self.rotate_at + ROTATION;
        self.secrets[1] = if idle { (self.rng.next_u64(), self.rng.next_u64()) } else { self.secrets[0] };
        self.secrets[0] = fresh;
        self.rotate_at = now + ROTATION;
    }
}

fn cookie((one, two): (u64, u64), source: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(one, two);
    hasher.write(source);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_good_for_its_source_and_for_a_while_only() {
        let mut jar = CookieJar::new(Rng::new([3; 32]), Time::ZERO);
        let cookie = jar.make(b"one", Time::from_secs(50));
        assert!(jar.check(b"one", cookie, Time::from_secs(51)));
        assert!(!jar.check(b"two", cookie, Time::from_secs(51)));
        assert!(jar.check(b"one", cookie, Time::from_secs(70)));
        assert!(!jar.check(b"one", cookie, Time::from_secs(135)));
    }

    #[test]
    fn a_long_pause_makes_all_cookies_stale() {
        let mut jar = CookieJar::new(Rng::new([3; 32]), Time::ZERO);
        let cookie = jar.make(b"one", Time::ZERO);
        assert!(!jar.check(b"one", cookie, Time::from_secs(1000)));
    }
}
