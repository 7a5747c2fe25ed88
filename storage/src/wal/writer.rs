//! The writing end of the log.

use std::io;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::BytesMut;
use consensus::codec::Wire as _;
use consensus::{Index, Persist};

use super::WalOptions;
use super::batch::{self, BATCH_OVERHEAD_BYTES, Span};
use super::error::WalError;
use super::index::{LogIndex, RecordPlace};
use super::reader::WalReader;
use super::record::{self, Link, Place, RecordKind};
use super::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader, SpareRequest, SpareSegment};
use super::state::LogState;
use crate::disk::{Disk, DiskFile};
use crate::identity::DirectoryId;

/// The encoding buffer is given back when a batch made it larger than this.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// Room for a segment is reserved in whole blocks.
const BLOCK_BYTES: u64 = 4096;

/// The write-ahead log, open for writing. There is one for each directory, and one thread uses it.
#[derive(Debug)]
pub struct Wal<D: Disk> {
    pub(super) disk: D,
    pub(super) options: WalOptions,
    pub(super) directory: DirectoryId,
    pub(super) active: Active<D::File>,
    pub(super) link: Link,
    pub(super) state: LogState,
    pub(super) index: Arc<RwLock<LogIndex>>,
    pub(super) buffer: BytesMut,
    pub(super) spare: Spare<D>,
    pub(super) spares_requested: u64,
    /// The first segment whose file is not to be removed.
    pub(super) oldest: u64,
    /// Segments that nothing needs any more.
    pub(super) obsolete: Vec<String>,
    /// The first failure, after which nothing more is written.
    pub(super) failed: Option<String>,
    pub(super) statistics: WalStatistics,
}

/// What of the log is kept although its effects are durable elsewhere, for peers that lag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retained {
    /// So many of the last entries,
    pub entries: u64,
    /// but no more than about so many bytes of the log, counted in whole segments.
    pub bytes_max: u64,
}

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct Active<F> {
    pub(super) segment: u64,
    pub(super) file: Arc<F>,
    pub(super) length: u64,
    /// Where the next record begins.
    pub(super) offset: u64,
}

/// The segment to be used next.
#[derive(Debug)]
pub(super) enum Spare<D: Disk> {
    None,
    /// Somebody was asked to prepare one.
    Requested,
    /// Preparing one failed. It is not tried again before the next segment, because what failed is
    /// usually a full disk.
    Failed,
    Ready(SpareSegment<D>),
}

/// What the log wrote since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStatistics {
    /// Records: batches, and the marks at start and stop.
    pub records: u64,
    /// Persists in them.
    pub persists: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of them, as written.
    pub bytes: u64,
    /// Syncs of a segment for a record: one each.
    pub syncs: u64,
    /// How long these syncs took together, without encoding, writing and changing the segment.
    pub sync_time: Duration,
    /// Segments put to use.
    pub segments: u64,
    /// Segments that were not prepared when they were needed, so that the writer waited.
    pub segments_unprepared: u64,
}

impl<D: Disk> Wal<D> {
    /// Makes these writes durable, in order. When it returns they are, if the log is synced. Each is there after a crash
    /// as a whole or not at all, and none without those before it; those of one call usually share
    /// one write and one sync.
    ///
    /// # Errors
    /// When the disk fails. What is durable is then unknown, and every later call fails as well:
    /// the node must stop.
    ///
    /// # Panics
    /// When a write breaks a law of the log: a gap, a smaller term, the removal of a committed
    /// entry. Going on would risk what clients were promised.
    pub fn append(&mut self, persists: &[Persist]) -> Result<(), WalError> {
        let mut rest = persists;
        while !rest.is_empty() {
            let (batch, payload_bytes) = self.next_batch(rest);
            self.append_batch(&rest[..batch], payload_bytes)?;
            rest = &rest[batch..];
        }
        Ok(())
    }

    /// A reader of this log.
    #[must_use]
    pub fn reader(&self) -> WalReader<D> {
        WalReader::new(self.disk.clone(), self.directory, Arc::clone(&self.index))
    }

    /// The last durable entry.
    #[must_use]
    pub fn last(&self) -> Index {
        self.state.last
    }

    /// What was written since the log was opened.
    #[must_use]
    pub fn statistics(&self) -> WalStatistics {
        self.statistics
    }

    /// Whether it is time to prepare the next segment: the active one is half full, and none is
    /// ready or being prepared.
    #[must_use]
    pub fn needs_spare(&self) -> bool {
        let half = self.active.length / 2;
        self.failed.is_none() && matches!(self.spare, Spare::None) && self.active.offset >= half
    }

    /// The next segment, to be created by whoever has the time: with [`SpareRequest::create`], then
    /// [`Wal::offer_spare`] or [`Wal::spare_failed`]. Until it comes the log goes on by itself, and
    /// creates its next segment itself when it needs it.
    pub fn request_spare(&mut self) -> SpareRequest<D> {
        if !matches!(self.spare, Spare::Ready(_)) {
            self.spare = Spare::Requested;
        }
        self.spare_request(self.options.segment_bytes)
    }

    /// Takes note that the segment that was requested will not come.
    pub fn spare_failed(&mut self) {
        if matches!(self.spare, Spare::Requested) {
            self.spare = Spare::Failed;
        }
    }

    /// Takes a segment that was prepared.
    ///
    /// # Errors
    /// When one is ready already and this one can not be removed.
    pub fn offer_spare(&mut self, spare: SpareSegment<D>) -> Result<(), WalError> {
        if matches!(self.spare, Spare::Ready(_)) {
            return Ok(spare.discard(&self.disk)?);
        }
        self.spare = Spare::Ready(spare);
        Ok(())
    }

    /// Ends the log cleanly: behind the last batch goes a mark, so that damage to that batch can
    /// not be taken for a torn write later.
    ///
    /// # Errors
    /// As [`Wal::append`].
    pub fn close(mut self) -> Result<(), WalError> {
        self.mark()
    }

    /// Appends a record that says nothing.
    pub(super) fn mark(&mut self) -> Result<(), WalError> {
        self.append_batch(&[], BATCH_OVERHEAD_BYTES)
    }

    /// How many of these persists go into one batch, and the length of its payload.
    fn next_batch(&self, persists: &[Persist]) -> (usize, usize) {
        let mut bytes = BATCH_OVERHEAD_BYTES;
        for (count, persist) in persists.iter().enumerate() {
            let longer = bytes + batch::persist_bytes(persist);
            if count > 0 && longer > self.options.batch_bytes_max {
                return (count, bytes);
            }
            bytes = longer;
        }
        (persists.len(), bytes)
    }

    fn append_batch(&mut self, batch: &[Persist], payload_bytes: usize) -> Result<(), WalError> {
        if let Some(first) = &self.failed {
            return Err(WalError::Failed(first.clone()));
        }
        let span = Span::of(batch, self.state.last);
        let place = match self.write(batch, payload_bytes) {
            Ok(place) => place,
            Err(error) => {
                self.failed = Some(error.to_string());
                return Err(WalError::Io(error));
            }
        };
        self.statistics.persists += batch.len() as u64;
        self.statistics.entries += batch.iter().map(|p| p.entries.len() as u64).sum::<u64>();
        if let Some(span) = span {
            let bytes = record::record_bytes(payload_bytes);
            self.index.write().expect("no reader panics").add(span, place, bytes);
        }
        if batch.iter().any(|persist| persist.install.is_some() || persist.compact_to.is_some()) {
            self.forget_compacted();
        }
        Ok(())
    }

    /// The last entry that may be forgotten now, if that frees the file of a segment: what is held
    /// durably elsewhere up to `elsewhere`, but for the entries that are to be retained.
    #[must_use]
    pub fn forgettable(&self, retained: Retained, elsewhere: Index) -> Option<Index> {
        let segments = retained.bytes_max / self.options.segment_bytes;
        let index = self.index.read().expect("no writer panics");
        let by_bytes = index.last_before(self.active.segment.saturating_sub(segments));
        let by_entries = Index(self.state.last.0.saturating_sub(retained.entries));
        let target = by_bytes.max(by_entries).min(elsewhere);
        let needed = index.needed_after(target).unwrap_or(self.active.segment);
        (target > self.state.compacted && needed > self.oldest).then_some(target)
    }

    /// Finds the segments that nothing needs any more.
    pub(super) fn forget_compacted(&mut self) {
        let mut index = self.index.write().expect("no reader panics");
        let needed = index.forget_to(self.state.compacted).unwrap_or(self.active.segment);
        drop(index);
        self.obsolete.extend((self.oldest..needed).map(segment::name));
        self.oldest = self.oldest.max(needed);
    }

    /// The files that nothing needs any more since this was asked last. They are to be removed in
    /// order with [`remove_obsolete`], by whoever has the time.
    #[must_use]
    pub fn take_obsolete(&mut self) -> Vec<String> {
        std::mem::take(&mut self.obsolete)
    }

    /// Writes one record, and syncs it if the log is synced.
    fn write(&mut self, batch: &[Persist], payload_bytes: usize) -> io::Result<RecordPlace> {
        let bytes = record::record_bytes(payload_bytes);
        if self.active.offset + bytes > self.active.length {
            self.next_segment(bytes)?;
        }
        // After the change of segments: the next one begins with the state before this batch.
        for persist in batch {
            if let Err(law) = self.state.apply(persist) {
                panic!("a write to the log breaks a law: {law}");
            }
        }
        let Active { segment, offset, .. } = self.active;
        record::begin(&mut self.buffer);
        batch::encode(batch, &mut self.buffer);
        let place = Place { directory: self.directory, segment, offset };
        let link = record::finish(&mut self.buffer, RecordKind::Batch, place, self.link);
        assert_eq!(self.buffer.len() as u64, bytes, "a batch has the length that was computed");
        self.active.file.write_at(offset, &self.buffer)?;
        if self.options.sync {
            self.statistics.sync_time += self.active.file.sync_data_timed()?;
            self.statistics.syncs += 1;
        }
        self.link = link;
        self.active.offset += bytes;
        self.statistics.records += 1;
        self.statistics.bytes += bytes;
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = BytesMut::new();
        }
        Ok(RecordPlace { segment, offset })
    }

    /// Goes on in a new segment that has room for a record of that many bytes.
    fn next_segment(&mut self, bytes: u64) -> io::Result<()> {
        let place = Place {
            directory: self.directory,
            segment: self.active.segment + 1,
            offset: SEGMENT_HEADER_BYTES,
        };
        let (state, link) = state_record(&self.state, place, self.link);
        let first = SEGMENT_HEADER_BYTES + state.len() as u64;
        let needed = first + bytes;
        let length = if needed <= self.options.segment_bytes {
            self.options.segment_bytes
        } else {
            needed.next_multiple_of(BLOCK_BYTES)
        };
        let spare = match std::mem::replace(&mut self.spare, Spare::None) {
            Spare::Ready(spare) if spare.length() >= needed => spare,
            other => {
                // What is not large enough now, or not here yet, serves for a later segment.
                self.spare = match other {
                    Spare::Failed => Spare::None,
                    other => other,
                };
                self.statistics.segments_unprepared += 1;
                self.spare_request(length).create(|| ())?
            }
        };
        let header = SegmentHeader {
            directory: self.directory,
            segment: self.active.segment + 1,
            length: spare.length(),
            link: self.link,
            previous_end: self.active.offset,
            last: self.state.last,
        };
        let file = spare.name_it(&self.disk, &header, &state)?;
        self.link = link;
        self.active = Active {
            segment: header.segment,
            file: Arc::new(file),
            length: header.length,
            offset: first,
        };
        self.statistics.segments += 1;
        Ok(())
    }

    fn spare_request(&mut self, length: u64) -> SpareRequest<D> {
        self.spares_requested += 1;
        SpareRequest::new(self.disk.clone(), self.spares_requested, length)
    }
}

/// The record that a segment begins with, and the link for the one after it.
pub(super) fn state_record(state: &LogState, place: Place, previous: Link) -> (BytesMut, Link) {
    let mut buffer = BytesMut::new();
    record::begin(&mut buffer);
    state.encode(&mut buffer);
    let link = record::finish(&mut buffer, RecordKind::State, place, previous);
    (buffer, link)
}

/// Removes the files of [`Wal::take_obsolete`], each durably before the next: a crash leaves no gap
/// among the segments.
///
/// # Errors
/// When the disk fails. Recovery finds what is left.
pub fn remove_obsolete<D: Disk>(disk: &D, names: &[String]) -> io::Result<()> {
    for name in names {
        disk.remove(name)?;
        disk.sync_directory()?;
    }
    Ok(())
}
