//! Opens the log: finds out what is durable, cuts a torn tail, and refuses any other damage.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, RwLock};

use bytes::{Bytes, BytesMut};
use consensus::codec::Wire as _;
use consensus::{Entry, Index, Recovered};

use super::WalOptions;
use super::batch::{self, Span};
use super::error::WalError;
use super::index::{LogIndex, RecordPlace};
use super::record::{ALIGNMENT, Link, Place, RecordHeader, RecordKind};
use super::scan::{self, Found, SegmentScanner};
use super::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader, SpareRequest};
use super::state::LogState;
use super::writer::{Active, Spare, Wal, WalStatistics, state_record};
use crate::disk::{Disk, DiskFile};
use crate::identity::{self, DirectoryId, IDENTITY_FILE, Identity, IdentityError};

/// What was found when the log was opened. All of it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// What the protocol starts from. Its tail holds recent entries only; the others are read with
    /// [`super::WalReader`].
    pub recovered: Recovered,
    /// The number of the data directory.
    pub directory: DirectoryId,
    /// Whether the directory was new.
    pub created: bool,
    /// What was cut, if a write was torn.
    pub torn_tail: Option<TornTail>,
    /// The handle of the snapshot that was installed last; zero when there was none.
    pub installed: u64,
    /// How many segments there are.
    pub segments: u64,
}

/// A torn write that was cut: it was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The file.
    pub location: String,
    /// Where the torn record began, in bytes.
    pub offset: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// What was wrong with the record.
    pub what: String,
}

impl<D: Disk> Wal<D> {
    /// Opens the log of a directory, or makes one in a directory that has none. `new_directory` is
    /// the random number that a new directory gets.
    ///
    /// # Errors
    /// When the directory belongs to another node, cluster or protocol, when the log is damaged
    /// otherwise than by a torn write, and when the disk fails.
    pub fn open(
        disk: D,
        options: WalOptions,
        identity: &Identity,
        new_directory: DirectoryId,
    ) -> Result<(Self, Recovery), WalError> {
        check_options(&options)?;
        if let Some(objection) = identity::objection(identity) {
            return Err(WalError::Invalid(objection));
        }
        remove_spares(&disk)?;
        let (directory, created) = match known_directory(&disk, identity)? {
            Some(directory) => (directory, false),
            None => {
                create(&disk, &options, identity, new_directory)?;
                (new_directory, true)
            }
        };
        let segments = segments(&disk, directory)?;
        let (_, oldest) = segments.first_key_value().expect("there is a segment");
        Replay::new(disk, options, directory, oldest).run(&segments, created)
    }
}

fn check_options(options: &WalOptions) -> Result<(), WalError> {
    let least = 2 * SEGMENT_HEADER_BYTES;
    if options.segment_bytes < least || options.first_segment_bytes < least {
        return Err(WalError::Invalid(format!("a segment needs {least} bytes or more")));
    }
    Ok(())
}

/// Removes segments that were being prepared when the process ended: how far they came is unknown.
fn remove_spares<D: Disk>(disk: &D) -> Result<(), WalError> {
    for name in disk.list()?.iter().filter(|name| segment::is_spare(name)) {
        disk.remove(name)?;
    }
    Ok(())
}

/// The number of the directory, if it is set up and belongs to this identity.
fn known_directory<D: Disk>(
    disk: &D,
    expected: &Identity,
) -> Result<Option<DirectoryId>, WalError> {
    let location = disk.location(IDENTITY_FILE);
    match identity::read(disk) {
        Ok(None) => Ok(None),
        Ok(Some((found, directory))) if found == *expected => Ok(Some(directory)),
        Ok(Some((found, _))) => Err(WalError::Identity {
            location,
            found: found.to_string(),
            expected: expected.to_string(),
        }),
        Err(IdentityError::Io(error)) => Err(WalError::Io(error)),
        Err(IdentityError::Damaged(what)) => Err(WalError::Damaged { location, offset: 0, what }),
    }
}

/// Sets a directory up. The identity comes last: a directory with an identity has a log, and one
/// without was never used.
fn create<D: Disk>(
    disk: &D,
    options: &WalOptions,
    identity: &Identity,
    directory: DirectoryId,
) -> Result<(), WalError> {
    for name in disk.list()?.iter().filter(|name| segment::number(name).is_some()) {
        remove_unused(disk, name)?;
    }
    let length = options.first_segment_bytes;
    let header = SegmentHeader {
        directory,
        segment: 1,
        length,
        link: Link::default(),
        previous_end: 0,
        last: Index(0),
    };
    let place = Place { directory, segment: 1, offset: SEGMENT_HEADER_BYTES };
    let (state, _) = state_record(&LogState::default(), place, Link::default());
    SpareRequest::new(disk.clone(), 0, length).create(|| ())?.name_it(disk, &header, &state)?;
    identity::write(disk, identity, directory)?;
    Ok(())
}

/// Removes what an interrupted setup left behind: a first segment without a batch. Anything else
/// is a log whose identity was lost.
fn remove_unused<D: Disk>(disk: &D, name: &str) -> Result<(), WalError> {
    let file = Arc::new(disk.open(name)?);
    let header = scan::read_header(&*file)?;
    let unused = match &header {
        Ok(header) => {
            let mut scanner = SegmentScanner::new(file, header.directory, header.segment)?;
            let empty = match scanner.record(SEGMENT_HEADER_BYTES)? {
                Found::Record { header, end, .. } => {
                    header.kind == RecordKind::State && scanner.used_end(end)? == end
                }
                Found::Nothing | Found::Bad(_) => false,
            };
            empty && header.segment == 1 && segment::number(name) == Some(1)
        }
        Err(_) => false,
    };
    if !unused {
        return Err(WalError::Damaged {
            location: disk.location(name),
            offset: 0,
            what: format!("there is a log here, but {IDENTITY_FILE} says not whose: it is missing"),
        });
    }
    disk.remove(name)?;
    Ok(disk.sync_directory()?)
}

/// The headers of all segments, in order and without gaps.
fn segments<D: Disk>(
    disk: &D,
    directory: DirectoryId,
) -> Result<BTreeMap<u64, SegmentHeader>, WalError> {
    let mut headers = BTreeMap::new();
    for name in disk.list()? {
        let Some(number) = segment::number(&name) else { continue };
        let damaged = |what| WalError::Damaged { location: disk.location(&name), offset: 0, what };
        let header = scan::read_header(&disk.open(&name)?)?.map_err(damaged)?;
        if header.directory != directory {
            let found = header.directory;
            return Err(damaged(format!(
                "the segment belongs to data directory {found}, and this one is {directory}"
            )));
        }
        if header.segment != number {
            let found = header.segment;
            return Err(damaged(format!("the file holds segment {found} under another's name")));
        }
        // Segments are removed from the front, so the first may have any number.
        let expected = headers.last_key_value().map_or(number, |(last, _)| last + 1);
        if number != expected {
            let missing = disk.location(&segment::name(expected));
            return Err(damaged(format!("the segment before it, {missing}, is missing")));
        }
        headers.insert(number, header);
    }
    if headers.is_empty() {
        return Err(WalError::Damaged {
            location: disk.location(&segment::name(1)),
            offset: 0,
            what: "every segment is missing".to_string(),
        });
    }
    Ok(headers)
}

/// The log being read from its beginning.
struct Replay<D: Disk> {
    disk: D,
    options: WalOptions,
    directory: DirectoryId,
    link: Link,
    state: LogState,
    index: LogIndex,
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    /// Where the last record of the current segment begins.
    last_record: Option<u64>,
    /// Where the next record would begin.
    offset: u64,
    /// Whether the state is known: the oldest segment says what those before it amounted to.
    known: bool,
}

impl<D: Disk> Replay<D> {
    fn new(disk: D, options: WalOptions, directory: DirectoryId, oldest: &SegmentHeader) -> Self {
        Self {
            disk,
            options,
            directory,
            link: oldest.link,
            state: LogState::default(),
            index: LogIndex::new(options.index_interval_bytes, oldest.last),
            tail: VecDeque::new(),
            tail_bytes: 0,
            last_record: None,
            offset: oldest.previous_end,
            known: false,
        }
    }

    fn run(
        mut self,
        segments: &BTreeMap<u64, SegmentHeader>,
        created: bool,
    ) -> Result<(Wal<D>, Recovery), WalError> {
        let (last, header) = segments.last_key_value().expect("there is a segment");
        let oldest = *segments.keys().next().expect("there is a segment");
        for (number, header) in segments {
            self.check_header(*number, header)?;
            let mut scanner = self.scanner(*number)?;
            self.read_state(&mut scanner, *number, header)?;
            let Some(next) = segments.get(&(number + 1)) else { break };
            self.read_full(&mut scanner, *number, next.previous_end)?;
        }
        let mut scanner = self.scanner(*last)?;
        let torn_tail = self.read_last(&mut scanner, *last)?;
        self.check_whole(oldest)?;
        self.rewrite_last_record(&mut scanner)?;
        drop(scanner);

        let mut recovery = Recovery {
            recovered: Recovered {
                promise: self.state.promise.clone(),
                terms: self.state.terms.clone(),
                last: self.state.last,
                tail: self.tail.into(),
                commit: self.state.commit,
                compacted: self.state.compacted,
            },
            installed: self.state.installed,
            directory: self.directory,
            created,
            torn_tail,
            segments: segments.len() as u64,
        };
        let file = Arc::new(self.disk.open(&segment::name(*last))?);
        let active = Active { segment: *last, file, length: header.length, offset: self.offset };
        let mut wal = Wal {
            disk: self.disk,
            options: self.options,
            directory: self.directory,
            active,
            link: self.link,
            state: self.state,
            index: Arc::new(RwLock::new(self.index)),
            buffer: BytesMut::new(),
            spare: Spare::None,
            spares_requested: 0,
            oldest,
            obsolete: Vec::new(),
            failed: None,
            statistics: WalStatistics::default(),
        };
        // The names of the segments may be no more durable than their last records were.
        wal.disk.sync_directory()?;
        wal.mark()?;
        wal.forget_compacted();
        let recovered = &mut recovery.recovered;
        if recovered.tail.is_empty() && recovered.last > recovered.compacted {
            // A truncation reached below everything that was kept.
            recovered.tail = wal.reader().entries(recovered.last, recovered.last, 0)?;
        }
        Ok((wal, recovery))
    }

    fn scanner(&self, number: u64) -> Result<SegmentScanner<D::File>, WalError> {
        let file = Arc::new(self.disk.open(&segment::name(number))?);
        Ok(SegmentScanner::new(file, self.directory, number)?)
    }

    fn damaged(&self, segment: u64, offset: u64, what: impl Into<String>) -> WalError {
        let location = self.disk.location(&segment::name(segment));
        WalError::Damaged { location, offset, what: what.into() }
    }

    /// A segment must go on where the one before it ended.
    fn check_header(&mut self, number: u64, header: &SegmentHeader) -> Result<(), WalError> {
        let last = if self.known { self.state.last } else { header.last };
        if header.link != self.link || header.last != last || header.previous_end != self.offset {
            return Err(self.damaged(
                number,
                0,
                format!(
                    "the segment follows record {} and entry {} at offset {} of the segment \
                     before it, which ends with record {} and entry {} at offset {}",
                    header.link.sequence,
                    header.last,
                    header.previous_end,
                    self.link.sequence,
                    self.state.last,
                    self.offset
                ),
            ));
        }
        self.offset = SEGMENT_HEADER_BYTES;
        self.last_record = None;
        Ok(())
    }

    /// Reads the state that a segment begins with. It was durable before the segment had a name.
    fn read_state(
        &mut self,
        scanner: &mut SegmentScanner<D::File>,
        number: u64,
        segment: &SegmentHeader,
    ) -> Result<(), WalError> {
        let at = self.offset;
        let (header, payload, end) = match scanner.record(at)? {
            Found::Record { header, payload, end } => (header, payload, end),
            Found::Bad(what) => return Err(self.damaged(number, at, what)),
            Found::Nothing => return Err(self.damaged(number, at, "the first record is missing")),
        };
        if header.kind != RecordKind::State || !header.follows(self.link) {
            return Err(self.damaged(number, at, "the segment does not begin with a state"));
        }
        let state = LogState::from_bytes(payload)
            .map_err(|error| self.damaged(number, at, format!("the state: {error}")))?;
        state.check().map_err(|law| self.damaged(number, at, format!("the state: {law}")))?;
        if (self.known && state != self.state) || state.last != segment.last {
            return Err(self.damaged(
                number,
                at,
                "the state that the segment begins with is not what the records before it amount to",
            ));
        }
        (self.state, self.known) = (state, true);
        self.link = header.link();
        self.last_record = Some(at);
        self.offset = end;
        Ok(())
    }

    /// Every entry that was not forgotten must be there.
    fn check_whole(&self, oldest: u64) -> Result<(), WalError> {
        let (first, compacted) = (self.index.first(), self.state.compacted);
        if self.state.last > compacted && first > compacted.next() {
            return Err(self.damaged(
                oldest,
                0,
                format!(
                    "the segments before it are missing: entries {}..{first}",
                    compacted.next()
                ),
            ));
        }
        Ok(())
    }

    /// Reads a segment that another follows: all of it was durable before the next was begun.
    fn read_full(
        &mut self,
        scanner: &mut SegmentScanner<D::File>,
        number: u64,
        end: u64,
    ) -> Result<(), WalError> {
        while self.offset < end {
            match scanner.record(self.offset)? {
                Found::Record { header, payload, end } => {
                    self.take(number, header, payload, end)?;
                }
                Found::Bad(what) => return Err(self.damaged(number, self.offset, what)),
                Found::Nothing => {
                    let what = format!("there are zeros where records go on up to offset {end}");
                    return Err(self.damaged(number, self.offset, what));
                }
            }
        }
        Ok(())
    }

    /// Reads the segment that was written last, and cuts a torn record at its end.
    fn read_last(
        &mut self,
        scanner: &mut SegmentScanner<D::File>,
        number: u64,
    ) -> Result<Option<TornTail>, WalError> {
        let what = loop {
            match scanner.record(self.offset)? {
                Found::Record { header, payload, end } => {
                    self.take(number, header, payload, end)?;
                }
                Found::Bad(what) => break what,
                Found::Nothing => break "its beginning is missing".to_string(),
            }
        };
        let used_end = scanner.used_end(self.offset)?;
        if used_end == self.offset {
            return Ok(None);
        }
        // A record is begun only after the one before it was synced. So a valid record behind this
        // place proves that what stood here was durable, and was damaged later.
        let from = self.offset + ALIGNMENT;
        if let Some(later) = scanner.find_record(from, used_end, self.link.sequence)? {
            let what = format!("{what}; a valid record follows at offset {later}");
            return Err(self.damaged(number, self.offset, what));
        }
        segment::write_zeros(scanner.file(), self.offset, used_end)?;
        scanner.file().sync_data()?;
        Ok(Some(TornTail {
            location: self.disk.location(&segment::name(number)),
            offset: self.offset,
            bytes: used_end - self.offset,
            what,
        }))
    }

    /// Takes in the valid record at the current offset.
    fn take(
        &mut self,
        number: u64,
        header: RecordHeader,
        payload: Bytes,
        end: u64,
    ) -> Result<(), WalError> {
        if !header.follows(self.link) {
            return Err(self.damaged(
                number,
                self.offset,
                format!(
                    "record {} does not follow record {} before it",
                    header.sequence, self.link.sequence
                ),
            ));
        }
        if header.kind != RecordKind::Batch {
            return Err(self.damaged(number, self.offset, "only a segment begins with a state"));
        }
        let refused =
            |what: String| format!("the record is whole but can not be what was written: {what}");
        let batch = batch::decode(payload)
            .map_err(|error| self.damaged(number, self.offset, refused(error.to_string())))?;
        let last = self.state.last;
        for persist in &batch {
            if let Err(law) = self.state.apply(persist) {
                return Err(self.damaged(number, self.offset, refused(law)));
            }
        }
        if let Some(span) = Span::of(&batch, last) {
            let place = RecordPlace { segment: number, offset: self.offset };
            self.index.add(span, place, end - self.offset);
            self.keep_tail(span, batch::entries(batch));
        }
        self.link = header.link();
        self.last_record = Some(self.offset);
        self.offset = end;
        Ok(())
    }

    /// Keeps the most recent entries.
    fn keep_tail(&mut self, span: Span, entries: Vec<Entry>) {
        if span.installed.is_some() {
            self.tail.clear();
            self.tail_bytes = 0;
        }
        while self.tail.back().is_some_and(|entry| entry.index() >= span.first) {
            self.tail_bytes -= self.tail.pop_back().map_or(0, |entry| entry.size_bytes());
        }
        for entry in entries {
            self.tail_bytes += entry.size_bytes();
            self.tail.push_back(entry);
        }
        while self.tail.len() > 1 && self.tail_bytes > self.options.tail_bytes_max {
            self.tail_bytes -= self.tail.pop_front().map_or(0, |entry| entry.size_bytes());
        }
    }

    /// Writes the last record once more, with the same bytes. If an earlier process died because a
    /// sync failed, its pages may look clean without being on disk; the sync that follows would
    /// then do nothing for them. This sync can not be left to the mark's, which may go into a new
    /// segment.
    fn rewrite_last_record(&self, scanner: &mut SegmentScanner<D::File>) -> Result<(), WalError> {
        if let Some(start) = self.last_record {
            let bytes: Bytes = scanner.bytes(start, self.offset)?;
            scanner.file().write_at(start, &bytes)?;
        }
        Ok(scanner.file().sync_data()?)
    }
}
