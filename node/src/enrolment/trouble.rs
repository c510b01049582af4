//! Why a node has no certificate yet, in words, and what to do about it.

use std::time::Duration;

use atoll_core::security::Wall;

use crate::date;
use crate::failure::Failure;

/// What went wrong with the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody answers.
    Silent(String),
    /// Somebody answers who does not hold the site's key.
    OtherKey { url: String },
    /// The site does not do it.
    Refused(Refused),
    /// It answers what no site answers.
    Strange(String),
    /// The answer cannot be kept here.
    Unkept(Failure),
}

/// A refusal of the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// One word, which stays the same.
    pub(crate) reason: String,
    /// The site's sentence.
    pub(crate) message: String,
    /// What the site's clock and ours said, in seconds since 1970 (UTC).
    pub(crate) clocks: Option<[i64; 2]>,
    /// How long the site wants to be left alone.
    pub(crate) wait: Option<Duration>,
}

impl Refused {
    /// Whether asking again brings another answer only after somebody has done something.
    fn is_final(&self) -> bool {
        const PASSING: [&str; 7] =
            ["too_often", "unavailable", "busy", "broken", "restored", "replayed", "stale"];
        !PASSING.contains(&self.reason.as_str())
    }
}

impl Trouble {
    /// Whether asking again soon is of no use.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.is_final())
    }

    /// Whether whoever started the node for this membership should read about it and do something.
    pub(crate) fn is_for_people(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.is_final() || refused.reason == "stale",
            Self::OtherKey { .. } | Self::Unkept(_) => true,
            Self::Silent(_) | Self::Strange(_) => false,
        }
    }

    /// The word of a refusal.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(refused) => Some(&refused.reason),
            _ => None,
        }
    }

    /// How long the site wants to be left alone.
    pub(crate) fn wait(&self) -> Option<Duration> {
        match self {
            Self::Refused(refused) => refused.wait,
            _ => None,
        }
    }

    /// One sentence.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::Silent(why) => format!("the site does not answer: {why}"),
            Self::OtherKey { url } => format!("{url} shows another key than the file names"),
            Self::Refused(Refused { clocks: Some([theirs, ours]), reason, .. }) if reason == "stale" => {
                format!("the site's clock says {} and this machine's {}", shown(*theirs), shown(*ours))
            }
            Self::Refused(refused) => refused.message.clone(),
            Self::Strange(why) => format!("the site's answer is of no use: {why}"),
            Self::Unkept(failure) => failure.to_string(),
        }
    }

    /// What to try.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Silent(_) => "is the site up, and can this machine reach it? The node asks again by itself",
            Self::OtherKey { .. } => {
                "somebody answers in the site's place, or the site has a new key: then download the file again"
            }
            Self::Refused(refused) => advice(&refused.reason),
            Self::Strange(_) => "is it a site of this version of Atoll? The node asks again by itself",
            Self::Unkept(_) => "is the disk full, or does the folder belong to another user?",
        }
    }

    /// The same for whoever started the node.
    pub(crate) fn failure(self, what: &str) -> Failure {
        match self {
            Self::Unkept(failure) => failure,
            other => Failure::new(what, other.why()).hint(other.hint()),
        }
    }
}

fn shown(seconds: i64) -> String {
    date::shown(u64::try_from(seconds).unwrap_or(0))
}

/// What to try when the site refuses for this reason.
fn advice(reason: &str) -> &'static str {
    match reason {
        "revoked" => "a revoked user or node stays out; ask an administrator of the group",
        "refused" => "an administrator of the group can admit it on the group's page",
        "not_member" => "ask on the group's page to be let in",
        "forged" => "the file is not the newest: download it again from the group's page",
        "ended" => "a link is good for one use within 15 minutes: make another on the group's page",
        "other_node" => "give the node a folder of its own with --data",
        "too_many" => "revoke nodes that are no more on the group's page",
        "stale" => "set the clock that is wrong; more than 5 minutes apart nothing is signed",
        "restored" => {
            "members give their revocation lists back by themselves; the site's operator sees in its log what is to do"
        }
        "authority_ended" => "the group has to be founded anew",
        _ => "the site's operator can find the reason in its log",
    }
}

/// Seconds since 1970 (UTC) as the site counts them.
pub(super) fn count(now: Wall) -> i64 {
    i64::try_from(now.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(reason: &str) -> Trouble {
        let (message, clocks) = ("as the site says".to_owned(), Some([1_000_000_000, 1_000_086_400]));
        Trouble::Refused(Refused { reason: reason.to_owned(), message, clocks, wait: None })
    }

    #[test]
    fn what_a_person_has_to_change_is_told_from_what_passes() {
        for reason in ["revoked", "refused", "forged", "not_member", "other_node", "bad_request"] {
            assert!(refused(reason).is_final() && refused(reason).is_for_people(), "{reason}");
        }
        for reason in ["busy", "unavailable", "too_often", "restored"] {
            assert!(!refused(reason).is_final() && !refused(reason).is_for_people(), "{reason}");
        }
        assert!(!refused("stale").is_final() && refused("stale").is_for_people());
    }

    #[test]
    fn a_wrong_clock_is_said_with_both_times() {
        let shown = refused("stale").failure("the site").to_string();
        assert!(shown.contains("site's clock says 2001-09-09T01:46:40Z"), "{shown}");
        assert!(
            shown.contains("this machine's 2001-09-10T01:46:40Z") && shown.contains("hint: set"),
            "{shown}"
        );
    }
}
