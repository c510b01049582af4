//! Why a connection ended, in words about the other side.

use quinn::{ConnectionError, TransportErrorCode};

/// Letters of the other side's text that are shown.
const TEXT_MAX: usize = 200;
/// TLS' alert that no protocol is common to both sides (RFC 7301 section 3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// Another node's text, fit for a terminal and a log.
pub(in crate::driver) fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(TEXT_MAX).collect()
}

/// Why a connection ended, in words about the other side.
pub(in crate::driver) fn of_connection(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => "it fell silent".to_owned(),
        ConnectionError::ApplicationClosed(close) if !close.reason.is_empty() => {
            plain(&String::from_utf8_lossy(&close.reason))
        }
        ConnectionError::ApplicationClosed(_) | ConnectionError::Reset => "it broke off".to_owned(),
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
        {
            "it has too much to do".to_owned()
        }
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) =>
        {
            "it has nothing of that kind".to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_another_node_cannot_move_the_cursor() {
        assert_eq!(plain("a\x1b[2Jb\nc\u{9b}d"), "a[2Jbcd");
        assert_eq!(plain(&"x".repeat(5000)).len(), TEXT_MAX);
    }
}
