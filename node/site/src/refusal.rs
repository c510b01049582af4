//! Why the site does not do what it is asked: one word for programs, one sentence for people.

use hyper::StatusCode;

/// Why something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody is logged in.
    #[error("log in first")]
    NotLoggedIn,
    /// The name or the password is wrong; which of the two is not said.
    #[error("the name or the password is wrong")]
    WrongCredentials,
    /// Only an administrator of the group may.
    #[error("only an administrator of the group may do that")]
    NotAdministrator,
    /// Only a member of the group may.
    #[error("only a member of the group may do that")]
    NotMember,
    /// There is no such thing, or none that the asker may see.
    #[error("there is no such thing here")]
    NotFound,
    /// Whoever or whatever is to be revoked is not in the database.
    #[error(
        "the site knows no such member or certificate of this group: if an older copy of its database was put back, revoke it \
         with `?unknown=true`, or a name on the group's page"
    )]
    Unknown,
    /// A name that no account and no group may have.
    #[error("a name has 1 to 64 letters, digits, `-`, `_`, `.` or `@`, and begins with a letter or a digit")]
    Name,
    /// The name is in use.
    #[error("that name is taken")]
    Taken,
    /// Too short or too long.
    #[error("a password has 10 to 128 letters")]
    Password,
    /// What was to be typed twice differs.
    #[error("what is to be typed twice is not the same")]
    Repeat,
    /// A field is missing or out of its range.
    #[error("a field is missing or out of range")]
    Field,
    /// It is done already, or the state does not allow it any more.
    #[error("that is done already, or no longer possible")]
    State,
    /// A group keeps an administrator.
    #[error("the last administrator of a group stays: name another one first")]
    LastAdministrator,
    /// A bounded table is full.
    #[error("there are as many of these as there may be")]
    TooMany,
    /// A group has as many invitations as it may.
    #[error("a group has 256 invitations at most that hold: end one first")]
    Invitations,
    /// Asked too often.
    #[error("too many attempts: wait a minute and try again")]
    TooOften,
    /// The form does not come from this site's page.
    #[error("the form is too old or was not sent from a page of this site: load it again")]
    ForeignForm,
    /// Nothing is done here by this method of HTTP.
    #[error("that method is not for this place")]
    Method,
    /// What was sent cannot be read.
    #[error("what was sent cannot be read")]
    Malformed,
    /// The body is too long.
    #[error("what was sent is too long")]
    TooLong,
    /// An invitation or a link that has ended.
    #[error("the link is not valid, has been used up, or has ended")]
    Ended,
    /// Members of this site are told neither a URL nor a member of the public overlay.
    #[error("members are told no place where a link could lead: download the file")]
    NoUrl,
    /// The request is not authenticated by the user's key.
    #[error("the request is not made with the user's key for this group")]
    Forged,
    /// The request's time is too far from the site's.
    #[error("the request's time is too far from the site's: is the clock right?")]
    Stale,
    /// The request was made before.
    #[error("the request was made before")]
    Replayed,
    /// The certificate request cannot be used.
    #[error("the certificate request is malformed, or not for a key on the curve P-256 that signed it")]
    BadRequest,
    /// The user's or the node's membership is withdrawn.
    #[error("the membership is revoked")]
    Revoked,
    /// The key is that of another user's node.
    #[error("the key belongs to another user's node")]
    OtherNode,
    /// An administrator refused the node.
    #[error("an administrator refused this node")]
    Refused,
    /// The authority has ended.
    #[error("the group's authority has ended")]
    AuthorityEnded,
    /// The database is older than what the site has signed, or nobody knows whether it is.
    #[error(
        "the site's database was restored from an older copy, or may have been: nothing is signed until its revocations are back"
    )]
    Restored,
    /// Another authority signed the list.
    #[error("the list is not signed by the group's authority")]
    ForeignList,
    /// Nothing can be stored: a full disk, most likely.
    #[error("the site cannot store anything now: nothing was changed, try again later")]
    Unavailable,
    /// More work than can be waited for.
    #[error("the site is busy: nothing was changed, try again later")]
    Busy,
    /// An answer takes too long; what was asked may be done all the same.
    #[error("the site did not answer in time: see whether it is done, and try again later")]
    Late,
    /// Our own mistake.
    #[error("something went wrong on the site: nothing was changed")]
    Broken,
}

impl Refusal {
    /// One word for programs, which stays the same.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotLoggedIn => "not_logged_in",
            Self::WrongCredentials => "wrong_credentials",
            Self::NotAdministrator => "not_administrator",
            Self::NotMember => "not_member",
            Self::NotFound | Self::Unknown => "not_found",
            Self::Name => "name",
            Self::Taken => "taken",
            Self::Password => "password",
            Self::Repeat => "repeat",
            Self::Field => "field",
            Self::State => "state",
            Self::LastAdministrator => "last_administrator",
            Self::TooMany | Self::Invitations => "too_many",
            Self::TooOften => "too_often",
            Self::ForeignForm => "foreign_form",
            Self::Method => "method",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Ended => "ended",
            Self::NoUrl => "no_url",
            Self::Forged => "forged",
            Self::Stale => "stale",
            Self::Replayed => "replayed",
            Self::BadRequest => "bad_request",
            Self::Revoked => "revoked",
            Self::OtherNode => "other_node",
            Self::Refused => "refused",
            Self::AuthorityEnded => "authority_ended",
            Self::Restored => "restored",
            Self::ForeignList => "foreign_list",
            Self::Unavailable => "unavailable",
            Self::Busy => "busy",
            Self::Late => "late",
            Self::Broken => "broken",
        }
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotLoggedIn | Self::WrongCredentials | Self::Forged => StatusCode::UNAUTHORIZED,
            Self::NotAdministrator
            | Self::NotMember
            | Self::ForeignForm
            | Self::Revoked
            | Self::OtherNode
            | Self::Refused
            | Self::ForeignList => StatusCode::FORBIDDEN,
            Self::NotFound | Self::Unknown => StatusCode::NOT_FOUND,
            Self::Name | Self::Password | Self::Repeat | Self::Field => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NoUrl
            | Self::Taken
            | Self::State
            | Self::LastAdministrator
            | Self::TooMany
            | Self::Invitations
            | Self::Replayed => StatusCode::CONFLICT,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooOften => StatusCode::TOO_MANY_REQUESTS,
            Self::Malformed | Self::Stale | Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Ended => StatusCode::GONE,
            Self::AuthorityEnded | Self::Restored | Self::Unavailable | Self::Busy | Self::Late => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// What the database refuses is logged here and not told to whoever asked.
impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{CannotOpen, DatabaseBusy, DiskFull, ReadOnly, SystemIoFailure};
        let refusal = match error.sqlite_error_code() {
            Some(DiskFull | SystemIoFailure | ReadOnly | CannotOpen) => Self::Unavailable,
            Some(DatabaseBusy) => Self::Busy,
            _ => Self::Broken,
        };
        tracing::warn!(%error, "the database refuses");
        refusal
    }
}

/// Of what members give back.
impl From<atoll_core::security::Refusal> for Refusal {
    fn from(refusal: atoll_core::security::Refusal) -> Self {
        match refusal {
            atoll_core::security::Refusal::Malformed => Self::Malformed,
            _ => Self::ForeignList,
        }
    }
}

/// Of our own keys, not of what was sent.
impl From<openssl::error::ErrorStack> for Refusal {
    fn from(error: openssl::error::ErrorStack) -> Self {
        tracing::warn!(%error, "OpenSSL refuses");
        Self::Broken
    }
}

impl From<crate::authority::Unsigned> for Refusal {
    fn from(error: crate::authority::Unsigned) -> Self {
        tracing::warn!(%error, "nothing was signed");
        Self::Broken
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        tracing::warn!(%error, "the system refuses");
        Self::Unavailable
    }
}
