//! OpenSSL's randomness in virtual time: drawn from a seed while a machine runs, so that real handshakes repeat themselves.
//!
//! OpenSSL has one generator a process. The first world puts one in its place that draws from the seeded generator of the
//! thread, where there is one, and from OpenSSL's own everywhere else. A program that makes no world is not touched.
#![allow(unsafe_code, reason = "OpenSSL's table of functions has no safe binding")]

use std::cell::Cell;
use std::ffi::{c_double, c_int, c_void};
use std::ptr;
use std::sync::Once;

use atoll_core::Rng;

thread_local! {
    /// The generator of the machine that runs on this thread; null where none does.
    static SEEDED: Cell<*mut Rng> = const { Cell::new(ptr::null_mut()) };
}

/// `RAND_METHOD` (RAND_set_rand_method(3)).
#[repr(C)]
struct Method {
    seed: Option<unsafe extern "C" fn(*const c_void, c_int) -> c_int>,
    bytes: Option<unsafe extern "C" fn(*mut u8, c_int) -> c_int>,
    cleanup: Option<unsafe extern "C" fn()>,
    add: Option<unsafe extern "C" fn(*const c_void, c_int, c_double) -> c_int>,
    pseudorand: Option<unsafe extern "C" fn(*mut u8, c_int) -> c_int>,
    status: Option<unsafe extern "C" fn() -> c_int>,
}

unsafe extern "C" {
    fn RAND_set_rand_method(method: *const Method) -> c_int;
    fn RAND_OpenSSL() -> *const Method;
}

static OURS: Method = Method {
    seed: None,
    bytes: Some(bytes),
    cleanup: None,
    add: None,
    pseudorand: Some(bytes),
    status: Some(status),
};

/// Puts the seeded generator in place, once a process.
pub(crate) fn install() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        openssl::init();
        // SAFETY: the table lives for ever and its functions have the types that OpenSSL calls.
        let done = unsafe { RAND_set_rand_method(&raw const OURS) };
        assert_eq!(done, 1, "OpenSSL takes another generator");
    });
}

/// Lets OpenSSL draw from `rng` while `act` runs on this thread.
pub(crate) fn seeded<T>(rng: &mut Rng, act: impl FnOnce() -> T) -> T {
    /// Takes the generator back also when `act` panics.
    struct Lent;
    impl Drop for Lent {
        fn drop(&mut self) {
            SEEDED.set(ptr::null_mut());
        }
    }
    SEEDED.set(rng);
    let _lent = Lent;
    act()
}

/// # Safety
/// As OpenSSL calls it: `buffer` has room for `count` bytes.
unsafe extern "C" fn bytes(buffer: *mut u8, count: c_int) -> c_int {
    let Ok(len) = usize::try_from(count) else { return 0 };
    // SAFETY: it points to what `seeded` borrows for as long as it stands there, and nothing else uses it meanwhile.
    if let Some(rng) = unsafe { SEEDED.get().as_mut() } {
        // SAFETY: the caller has room for that many bytes.
        rng.fill(unsafe { std::slice::from_raw_parts_mut(buffer, len) });
        return 1;
    }
    // SAFETY: OpenSSL's own table is never gone, and `buffer` is passed on as it came.
    unsafe { (*RAND_OpenSSL()).bytes.map_or(0, |own| own(buffer, count)) }
}

unsafe extern "C" fn status() -> c_int {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw() -> [u8; 16] {
        let mut bytes = [0; 16];
        openssl::rand::rand_bytes(&mut bytes).expect("OpenSSL draws");
        bytes
    }

    #[test]
    fn what_openssl_draws_follows_from_the_seed_and_goes_on_where_it_ended() {
        install();
        let run = || {
            let mut rng = Rng::new([7; 32]);
            [seeded(&mut rng, draw), seeded(&mut rng, draw)]
        };
        let [first, second] = run();
        assert_eq!(run(), [first, second]);
        assert_ne!(first, second);
    }

    #[test]
    fn outside_a_machine_and_on_other_threads_openssl_draws_as_ever() {
        install();
        assert_ne!(draw(), draw());
        let mut rng = Rng::new([7; 32]);
        let (ours, theirs) =
            seeded(&mut rng, || (draw(), std::thread::spawn(draw).join().expect("it draws")));
        assert_ne!(ours, theirs);
        assert_ne!(draw(), ours);
    }

    #[test]
    fn a_panic_gives_the_generator_back() {
        install();
        let mut rng = Rng::new([7; 32]);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            seeded(&mut rng, || panic!("as it was meant"));
        }));
        assert!(panicked.is_err());
        assert_ne!(draw(), draw());
    }
}
