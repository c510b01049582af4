//! The web site and certificate authority of groups.
//!
//! It owns accounts, groups, their authorities' keys, certificates and revocations, and shows them as pages and as JSON. It
//! has no part in the overlay: whoever serves it runs a member beside it.

pub mod authority;
pub mod date;
pub mod files;
pub mod keys;

mod accounts;
mod announcement;
mod enrolment;
mod groups;
mod known;
mod limits;
mod member_file;
mod refusal;
mod revocation;
mod serve;
mod site;
mod store;
mod tls;
mod token;
mod vault;
mod watermark;
mod web;

pub use accounts::{Account, Change, Entered};
pub use announcement::{Announcement, SITE_KEY, Statement, Term};
pub use enrolment::{Enrol, Enrolled, EpochPart, FRESH, VALID};
pub use groups::{
    At, Entry, Inside, Invitation, MemberRow, Mine, Node, NodeState, Overview, Page, Policy, ROWS_MAX, State,
    Unknown,
};
pub use known::{Browser, Whence};
pub use limits::Remote;
pub use member_file::{GroupPart, MemberFile, SitePart, UserPart};
pub use refusal::Refusal;
pub use revocation::{Given, Newest, Say, SignedList, reader_proof};
pub use serve::{Call, Stream, serve, serve_calls};
pub use site::{Clock, NotOpened, Places, Site, Told};
pub use store::Unopened;
pub use tls::{NoTls, TlsFiles};
pub use token::Token;
pub use vault::{KeyFile, NoVault};
pub use watermark::NoWatermark;
