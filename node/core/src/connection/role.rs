//! Why a connection is kept.

use crate::wire::RoleBits;

/// One reason to keep a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// The peer is among the nearest on the ring.
    Near = 1,
    /// The peer is far away, at a harmonic distance.
    Shortcut = 2,
    /// The peer is a bootstrap.
    Leaf = 4,
    /// Traffic earned a direct connection.
    OnDemand = 8,
    /// The peer relays for us, or we for it.
    Overlap = 16,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [Self::Near, Self::Shortcut, Self::Leaf, Self::OnDemand, Self::Overlap];

    /// As people and metrics see it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Shortcut => "shortcut",
            Self::Leaf => "leaf",
            Self::OnDemand => "on_demand",
            Self::Overlap => "overlap",
        }
    }
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(RoleBits);

impl Roles {
    /// No reason at all.
    pub const NONE: Self = Self(0);

    /// From the wire; bits without a meaning are ignored.
    #[must_use]
    pub fn from_bits(bits: RoleBits) -> Self {
        Self(bits & 0x1f)
    }

    /// To the wire.
    #[must_use]
    pub fn bits(self) -> RoleBits {
        self.0
    }

    /// With one more role.
    #[must_use]
    pub fn with(self, role: Role) -> Self {
        Self(self.0 | role as u8)
    }

    /// Without one role.
    #[must_use]
    pub fn without(self, role: Role) -> Self {
        Self(self.0 & !(role as u8))
    }

    /// With the roles of both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a role is in the set.
    #[must_use]
    pub fn has(self, role: Role) -> bool {
        self.0 & role as u8 != 0
    }

    /// The roles in the set.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

impl From<Role> for Roles {
    fn from(role: Role) -> Self {
        Self::NONE.with(role)
    }
}
