//! Leases: a time that a client keeps from running out, and keys that go when it does.
//!
//! # Intuition
//!
//! A lease is a promise of the cluster to hold something for a client until so and so long after it was
//! last heard of. The promise is in the log, its renewals mostly are not: a client may renew its lease
//! ten times a minute, and all that would have to be agreed on is that it is still there. So only the
//! leader counts the time, in memory, and what the log holds of it is the least that a next leader needs.
//!
//! # What is in the log
//!
//! - Granting and revoking, as any write.
//! - Renewing, only where a next leader would otherwise count less than was promised: see below.
//! - Checkpoints: how much time a lease has left, when that is a good deal less than the log says. Without
//!   them each change of leader would renew all leases in full.
//! - Expiry: the leader's word that the time is over, in its own term (or epoch).
//!
//! # Why a lease never ends early
//!
//! A next leader begins to count when it has applied everything that it inherited, with the time that the
//! log says is left. A keepalive is answered, by the leader, only after a read barrier, so that a leader of
//! a later term begins to count after it; and only if the log says that all of the time is left, and no
//! checkpoint is under way that will say otherwise. Where it does not, the keepalive goes through the log
//! and says so again. Expiry and checkpoints name the entry that last renewed the lease: if another one
//! came between the decision and its place in the log, they are void.

mod session;
mod table;
pub(crate) mod wire;

use std::fmt;
use std::num::NonZeroI64;

use consensus::{Index, Term};

pub use session::{InvalidSessionTimeouts, SessionTimeouts};
pub(crate) use table::{Lease, Leases};

/// The longest time of a lease, in milliseconds: etcd's 9,000,000,000 seconds.
pub const LEASE_TTL_MILLIS_MAX: u64 = 9_000_000_000_000;
/// The most keys of one lease: they go all at once, as those of one deletion.
pub const LEASE_KEYS_MAX: usize = crate::outcome::DELETED_KEYS_MAX;
/// The most bytes of the keys of one lease.
pub const LEASE_KEY_BYTES_MAX: usize = crate::outcome::DELETED_BYTES_MAX;
/// The most leases.
pub const LEASES_MAX: usize = 1 << 20;
/// The most leases of one checkpoint.
pub const CHECKPOINT_LEASES_MAX: usize = 256;

/// The number of a lease: any but 0, as in etcd, whose clients choose some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(NonZeroI64);

impl LeaseId {
    /// The lease of a number; `None` for 0.
    #[must_use]
    pub fn new(number: i64) -> Option<Self> {
        NonZeroI64::new(number).map(Self)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0.get()
    }

    /// The number of a lease that may be none; 0 is none.
    #[must_use]
    pub fn number(lease: Option<Self>) -> i64 {
        lease.map_or(0, Self::get)
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the log says of a lease's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseTime {
    /// For how long it lives after it was granted or renewed, in milliseconds.
    pub ttl_millis: u64,
    /// How much of that is left at least, for a leader that begins to count now.
    pub remaining_millis: u64,
    /// The entry that granted it or renewed it last.
    pub renewed: Index,
}

/// What happened to leases, for the replica that counts their time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LeaseNews {
    /// These are all leases that there are: a snapshot was installed.
    All(Vec<(LeaseId, LeaseTime)>),
    /// The lease is there, and this is its time now.
    Is(LeaseId, LeaseTime),
    /// The lease is gone.
    Gone(LeaseId),
}

/// A change of a lease, as it travels through the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeaseCommand {
    /// Grants a lease.
    Grant {
        /// Its number; `None` leaves the choice to the store.
        lease: Option<LeaseId>,
        /// How long it lives, in milliseconds.
        ttl_millis: u64,
    },
    /// Ends a lease, and deletes its keys in one revision.
    Revoke {
        /// Which.
        lease: LeaseId,
    },
    /// Says that all of a lease's time is left.
    Renew {
        /// Which.
        lease: LeaseId,
    },
    /// The leader says how much time some leases have left.
    Checkpoint {
        /// Those leases.
        leases: Vec<Checkpoint>,
    },
    /// The leader says that a lease's time is over: it ends as if it were revoked.
    Expire {
        /// Which.
        lease: LeaseId,
        /// The entry that renewed it last as far as that leader knew. The expiry is void if another did.
        renewed: Index,
        /// The term or epoch of that leader. The expiry is void in another one.
        term: Term,
    },
}

/// How much time a lease has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// Which.
    pub lease: LeaseId,
    /// The entry that renewed it last as far as its leader knew. The checkpoint is void if another did.
    pub renewed: Index,
    /// The time left, in milliseconds.
    pub remaining_millis: u64,
}
