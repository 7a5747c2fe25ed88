//! What a node keeps on disk: the write-ahead log and the store, over a disk that is real or
//! simulated.
//!
//! # The data directory
//!
//! | file | what it is | durable |
//! |---|---|---|
//! | `lock` | locked for as long as a process has the directory | – |
//! | `duorum.identity` | cluster, node, protocol and the directory's random number: [`identity`] | once, when the directory is new |
//! | `duorum.formation` | whose data directories the cluster formed with: [`formation`] | whenever it changes, before anybody hears of it |
//! | `log-NNNNNNNNNNNNNNNN.wal` | a segment of the log: [`wal`] | before each acknowledgement |
//! | `spare-N.tmp` | a segment being prepared; removed at start | – |
//! | `store-N.redb` | the rows of the state machine: [`redb_store`]; N grows with each snapshot that takes its place | now and then |
//!
//! The log alone decides. The store is a copy of what the log says, up to the position that is
//! written with it, and it is written beside the path of acknowledgements, not on it. The log forgets
//! only what the store holds durably.
//!
//! # Laws
//!
//! - What [`Wal::append`] acknowledged is there after any crash, in order, and of what it did not
//!   acknowledge a whole number of its batches is there or nothing.
//! - A torn tail is cut. Any other damage is refused with file, position and remedy.
//! - After an error of a write or a sync nothing more is written: [`Wal::append`] fails for good.
//! - The same code runs over [`RealDisk`] and [`SimulatedDisk`].
//!
//! # What it is not
//!
//! Bit rot in the very last batch can not be told from a torn write: both are a bad record with
//! nothing after it, and both are cut. The log therefore writes a mark after each recovery and at
//! each clean stop, which leaves only the last batch before a kill open to that doubt.

pub mod disk;
pub mod formation;
pub mod identity;
mod real_disk;
pub mod redb_store;
mod simulated_disk;
pub mod wal;

pub use disk::{Disk, DiskFile};
pub use formation::{Formation, Forming};
pub use identity::{DirectoryId, Identity};
pub use real_disk::{RealDisk, RealFile, SyncFaults};
pub use redb_store::{RedbStore, RedbStoreOptions, remove_other_stores, remove_store, store_file};
pub use simulated_disk::{DiskStatistics, SimulatedDisk, SimulatedFile};
pub use wal::{
    DAMAGE_ADVICE, Recovery, Retained, SpareRequest, SpareSegment, TornTail, Wal, WalError,
    WalOptions, WalReader, WalStatistics, remove_obsolete,
};
