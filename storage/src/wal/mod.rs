//! The write-ahead log: segmented, append-only, one sync for each batch.
//!
//! The log holds every [`Persist`] of the protocol in the order in which it was asked for: promises,
//! truncations, entries and the known commit position share one stream, because reordering them
//! loses committed data. Nothing is ever overwritten. A truncation is a record like any other, by
//! which recovery and readers know that earlier entries no longer count.
//!
//! # Format
//!
//! All numbers are little-endian and of fixed width, so that a record can be found and checked
//! without decoding what is before it. A segment is a file `log-NNNNNNNNNNNNNNNN.wal`, numbered
//! from 1 without gaps:
//!
//! ```text
//! offset bytes  segment header
//!      0     8  magic "DUORUMWL"
//!      8     4  format, 2
//!     12     4  zero
//!     16    16  number of the data directory: a segment of another directory is refused
//!     32     8  number of the segment: a copy under another name is refused
//!     40     8  length of the file: a shortened one is refused
//!     48     8  sequence of the first record here: a missing segment is noticed
//!     56     8  offset at which the previous segment ends: every byte before it must be valid
//!     64     8  index of the last entry before this segment
//!     72     4  checksum of the last record before this segment: the chain goes on across files
//!     76     4  CRC-32 of the 76 bytes above
//!     80    48  zero
//!    128        records, each at a multiple of 8, the first a state; zeros after the last
//!
//! offset bytes  record
//!      0     4  length of the payload; never zero, so that zeros are no record
//!      4     1  kind: 1 a batch, 2 a state
//!      5     3  zero
//!      8     8  sequence, dense from 1 over the whole log
//!     16     4  checksum of the previous record
//!     20     4  CRC-32 of: number of the directory (16 bytes), number of the segment (8), offset of
//!               the record (8), the 20 bytes above, the payload
//!     24        payload, then zeros up to a multiple of 8
//!
//! bytes  payload: a batch
//!     4  how many persists; zero in a mark
//!        for each persist:
//!     1  flags: 1 truncates, 2 promises, 4 compacts, 8 installs a snapshot
//!    16  position of the snapshot: term 8, index 8         (if it installs one)
//!        how many terms 4, then of each the first index 8 and the term 8
//!     8  handle of the snapshot
//!     8  last index forgotten                              (if it compacts)
//!     8  first index removed                               (if it truncates)
//!     4  how many entries, then the entries: term 8, index 8, wall time 8, kind 1, length 4, command
//!     4  length of the promise, then the promise           (if it promises)
//!     8  the known commit index
//!
//! bytes  payload: a state, what all records before it amount to
//!     1  whether there is a promise
//!     4  its length, then the promise
//!     4  how many terms, then of each the first index 8 and the term 8
//!     8  index of the last entry
//!     8  the known commit index
//!     8  index of the last entry that was forgotten
//!     8  handle of the last snapshot that was installed
//! ```
//!
//! # Why so
//!
//! - **A batch is one record under one checksum**, however many persists were waiting. It is written
//!   in one piece and synced before the next is begun. So at most one record can be torn, always
//!   the last, and a valid record *after* a bad one proves that the bad one was once whole: it was
//!   damaged later. That is the rule by which a torn tail is told from damage in the middle.
//! - **The checksum covers the place** (directory, segment, offset) **and the chain** (sequence,
//!   previous checksum). What a recycled block, a copied file or an earlier life left behind can
//!   not pass for a record, and a record is recognised by itself when recovery looks for one
//!   behind a bad place.
//! - **Segments are filled with zeros ahead of use**, so that a sync writes the data alone: neither
//!   the length of the file nor its map of blocks changes. On the machine where this was chosen a
//!   sync took 186–217 µs so, 258–376 µs in room that was only reserved, 326–410 µs when the
//!   file grew.
//! - **A segment gets its name last**: zeros, then its header, each synced, then the rename, then
//!   the sync of the directory. A file with a segment's name is whole, or was damaged.
//! - **Each segment begins with a state**, so that any number of segments can be removed from the
//!   front: what they amounted to is said again. Recovery compares it with what it found itself.
//! - **A torn tail is overwritten with zeros and synced** before the log goes on, so that no part
//!   of it is ever looked at again.
//! - **At the end of recovery the last record is written once more, then a mark, then synced.** The
//!   earlier process may have died of a failed sync, which leaves pages that look clean and are not
//!   on disk; writing makes them dirty again. The mark puts a valid record behind the last batch.

mod batch;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod index;
mod reader;
mod record;
mod recovery;
mod scan;
mod segment;
mod state;
mod writer;

#[cfg(doc)]
use consensus::Persist;

pub use error::{DAMAGE_ADVICE, WalError};
pub use reader::WalReader;
pub use recovery::{Recovery, TornTail};
pub use segment::{SpareRequest, SpareSegment};
pub use writer::{Retained, Wal, WalStatistics, remove_obsolete};

/// The sizes of a log, and whether it is synced. Each may be another at the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalOptions {
    /// The length of a segment, in bytes. A batch that needs more gets a longer segment.
    pub segment_bytes: u64,
    /// The length of the very first segment, in bytes: short, so that a new node is up at once.
    pub first_segment_bytes: u64,
    /// The most bytes that are written in one batch; a single persist may exceed it.
    pub batch_bytes_max: usize,
    /// The most bytes of recent entries that recovery hands out; one entry may exceed it.
    pub tail_bytes_max: usize,
    /// How far apart the places are that the index of a reader knows, in bytes of the log.
    pub index_interval_bytes: u64,
    /// Whether records are synced. Without it [`Wal::append`] makes nothing durable: a process that is
    /// killed loses nothing, a system that crashes may lose or damage whatever was written.
    pub sync: bool,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 4 << 20,
            first_segment_bytes: 4 << 20,
            batch_bytes_max: 8 << 20,
            tail_bytes_max: 16 << 20,
            index_interval_bytes: 64 << 10,
            sync: true,
        }
    }
}

impl WalOptions {
    /// Small segments, for simulations and tests.
    #[must_use]
    pub fn small() -> Self {
        Self {
            segment_bytes: 64 << 10,
            first_segment_bytes: 16 << 10,
            batch_bytes_max: 32 << 10,
            tail_bytes_max: 1 << 20,
            index_interval_bytes: 1 << 10,
            sync: true,
        }
    }
}
