//! The one call that the `openssl` crate does not offer.

#![allow(unsafe_code, reason = "libssl's own retransmission timer can be parked in no other way")]

use std::ffi::c_uint;

use foreign_types::ForeignTypeRef as _;
use openssl::ssl::SslRef;
use openssl_sys::SSL;

type TimerCallback = extern "C" fn(*mut SSL, c_uint) -> c_uint;

unsafe extern "C" {
    fn DTLS_set_timer_cb(ssl: *mut SSL, callback: TimerCallback);
}

/// The longest time in microseconds (71 minutes): no handshake lasts so long, so libssl never sends again by itself.
extern "C" fn parked(_ssl: *mut SSL, _last: c_uint) -> c_uint {
    c_uint::MAX
}

/// Parks libssl's retransmission timer: it reads the OS clock, and the filter sends again instead.
pub(super) fn park_timer(ssl: &SslRef) {
    // SAFETY: `as_ptr` is the live SSL object behind the reference, and the callback is a plain function that lives as
    // long as the program and touches nothing. The call sets one field of the object.
    unsafe { DTLS_set_timer_cb(ssl.as_ptr(), parked) }
}
