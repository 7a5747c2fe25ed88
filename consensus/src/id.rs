//! The identities and positions that both protocols share, each its own type.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one.
            ///
            /// # Panics
            /// At the end of the 64-bit range, which no cluster reaches.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect(concat!(stringify!($name), " exceeds 64 bits")))
            }

            /// The number before this one, or zero.
            #[must_use]
            pub fn previous(self) -> Self {
                Self(self.0.saturating_sub(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

number!(
    /// A server's number within its cluster; 1 or more, unique, never reused.
    NodeId, "n"
);
number!(
    /// The number of a leader's reign: Raft's term, or ZAB's epoch. At most one leader is
    /// established in each. Zero is before the first leader.
    Term, ""
);
number!(
    /// A position in the log, dense from 1 and equal on all replicas. Zero is before the first entry.
    Index, ""
);
number!(
    /// The number of a [`crate::Persist`], dense from 1. Zero asks for nothing to be durable.
    PersistSequence, "p"
);
number!(
    /// The number of a connection to one peer, given by this node and growing with each new
    /// connection. Nothing of an older connection is ever acted upon.
    Generation, "g"
);
number!(
    /// The caller's name for something it asked of the protocol; the answer carries it back.
    Token, "t"
);

/// Where an entry stands: the term (or epoch) of the leader that created it, and its index.
///
/// Two entries with equal positions are the same entry. The order is by term, then by index, which
/// is Raft's "at least as up-to-date" (§5.4.1) and ZAB's order of zxids.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The creating leader's term or epoch.
    pub term: Term,
    /// The dense log index.
    pub index: Index,
}

impl Position {
    /// The position before the first entry.
    pub const ZERO: Self = Self { term: Term(0), index: Index(0) };

    /// A position from its two parts.
    #[must_use]
    pub fn new(term: u64, index: u64) -> Self {
        Self { term: Term(term), index: Index(index) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
