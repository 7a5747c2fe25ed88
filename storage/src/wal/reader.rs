//! Reads entries back from the log, beside the writer.

use std::io;
use std::sync::{Arc, RwLock};

use consensus::{Entry, Index};

use super::batch;
use super::error::WalError;
use super::index::{LogIndex, Piece, RecordPlace};
use super::record::RecordKind;
use super::scan::{Found, SegmentScanner};
use super::segment::{self, SEGMENT_HEADER_BYTES};
use crate::disk::Disk;
use crate::identity::DirectoryId;

/// Reads entries that left memory: for peers that lag behind, and to apply the log at start. Clones
/// are independent and may be used in other threads, while the log is being written. A reader sees
/// what is durable, and nothing else.
#[derive(Debug)]
pub struct WalReader<D: Disk> {
    disk: D,
    directory: DirectoryId,
    index: Arc<RwLock<LogIndex>>,
    /// The segment that was read last: most readers read on where they were.
    open: Option<(u64, Arc<D::File>)>,
    /// The record in which the last call ended: the next call begins there, as a rule. A record can
    /// be many times as long as what is asked for at a time, and every entry read from it keeps the
    /// whole of it in memory; so it is read once.
    reached: Option<Reached>,
}

/// A record that was read.
#[derive(Clone, Debug)]
struct Reached {
    place: RecordPlace,
    entries: Vec<Entry>,
    /// Where the next record begins.
    end: u64,
}

impl<D: Disk> Clone for WalReader<D> {
    fn clone(&self) -> Self {
        Self {
            disk: self.disk.clone(),
            directory: self.directory,
            index: Arc::clone(&self.index),
            open: self.open.as_ref().map(|(number, file)| (*number, Arc::clone(file))),
            reached: self.reached.clone(),
        }
    }
}

impl<D: Disk> WalReader<D> {
    pub(super) fn new(disk: D, directory: DirectoryId, index: Arc<RwLock<LogIndex>>) -> Self {
        Self { disk, directory, index, open: None, reached: None }
    }

    /// The first and the last entry that can be read; `None` when the log is empty.
    #[must_use]
    pub fn range(&self) -> Option<(Index, Index)> {
        let index = self.index.read().expect("no holder of the index panics");
        (index.first() <= index.last()).then(|| (index.first(), index.last()))
    }

    /// The entries from `first` to `last`, without gaps; fewer when the log ends earlier or they
    /// exceed `bytes_max`, but at least the first.
    ///
    /// # Errors
    /// When the first entry is not in the log, the disk fails, or a record is damaged.
    pub fn entries(
        &mut self,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, WalError> {
        // The plan is the log as it is at this moment. Records are never overwritten, so what it
        // leads to stays readable when the writer truncates meanwhile, unless it is forgotten.
        let plan = self.index.read().expect("no holder of the index panics").plan(first, last);
        if plan.first().is_none_or(|piece| piece.first > first) {
            return Err(WalError::Missing(format!("entry {first} is not in the log")));
        }
        let mut collected = Collected { entries: Vec::new(), bytes: 0, bytes_max };
        for piece in &plan {
            if !self.read(piece, &mut collected)? {
                break;
            }
        }
        Ok(collected.entries)
    }

    /// Collects the entries of one piece; false when the limit is reached.
    fn read(&mut self, piece: &Piece, collected: &mut Collected) -> Result<bool, WalError> {
        let mut next = piece.first;
        let RecordPlace { mut segment, mut offset } = piece.from;
        let mut scanner = None;
        while next <= piece.last {
            let place = RecordPlace { segment, offset };
            let Some(reached) = self.record(place, next, &mut scanner)? else {
                (segment, offset) = (segment + 1, SEGMENT_HEADER_BYTES);
                scanner = None;
                continue;
            };
            for entry in &reached.entries {
                if next > piece.last {
                    break;
                }
                if entry.index() < next {
                    continue;
                }
                if entry.index() > next {
                    let what = format!("entry {next} is missing before {}", entry.index());
                    return Err(self.damaged(place, what));
                }
                if !collected.take(entry) {
                    self.reached = Some(reached);
                    return Ok(false);
                }
                next = next.next();
            }
            offset = reached.end;
            self.reached = Some(reached);
        }
        Ok(true)
    }

    /// The record at this place, on the way to entry `next`; `None` when the segment ends there.
    /// `scanner` is the segment's, once one is needed.
    fn record(
        &mut self,
        place: RecordPlace,
        next: Index,
        scanner: &mut Option<SegmentScanner<D::File>>,
    ) -> Result<Option<Reached>, WalError> {
        if let Some(known) = self.reached.take().filter(|reached| reached.place == place) {
            return Ok(Some(known));
        }
        let scanner = match scanner {
            Some(scanner) => scanner,
            None => scanner.insert(self.scanner(place.segment, next)?),
        };
        let (payload, end) = match scanner.record(place.offset)? {
            Found::Record { header, end, .. } if header.kind == RecordKind::State => {
                return Ok(Some(Reached { place, entries: Vec::new(), end }));
            }
            Found::Record { payload, end, .. } => (payload, end),
            Found::Nothing => return Ok(None),
            Found::Bad(what) => return Err(self.damaged(place, what)),
        };
        let batch = batch::decode(payload)
            .map_err(|error| self.damaged(place, format!("the record can not be read: {error}")))?;
        Ok(Some(Reached { place, entries: batch::entries(batch), end }))
    }

    fn scanner(&mut self, number: u64, next: Index) -> Result<SegmentScanner<D::File>, WalError> {
        let file = match &self.open {
            Some((open, file)) if *open == number => Arc::clone(file),
            _ => {
                let file = match self.disk.open(&segment::name(number)) {
                    Ok(file) => Arc::new(file),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(self.absent(number, next));
                    }
                    Err(error) => return Err(error.into()),
                };
                self.open = Some((number, Arc::clone(&file)));
                file
            }
        };
        Ok(SegmentScanner::new(file, self.directory, number)?)
    }

    /// Why a segment is not there that was to lead to entry `next`: the writer forgot it meanwhile,
    /// unless the log as it is now leads through it still.
    fn absent(&self, number: u64, next: Index) -> WalError {
        let plan = self.index.read().expect("no holder of the index panics").plan(next, next);
        if plan.first().is_none_or(|piece| piece.from.segment > number) {
            return WalError::Missing(format!("entry {next} was forgotten meanwhile"));
        }
        let place = RecordPlace { segment: number, offset: 0 };
        self.damaged(
            place,
            format!("the file is not there, and entry {next} was in it or behind it"),
        )
    }

    fn damaged(&self, place: RecordPlace, what: String) -> WalError {
        let RecordPlace { segment, offset } = place;
        WalError::Damaged { location: self.disk.location(&segment::name(segment)), offset, what }
    }
}

/// Entries found so far, up to a limit.
struct Collected {
    entries: Vec<Entry>,
    bytes: usize,
    bytes_max: usize,
}

impl Collected {
    /// Takes an entry, unless there is one already and the limit would be exceeded.
    fn take(&mut self, entry: &Entry) -> bool {
        let bytes = self.bytes.saturating_add(entry.size_bytes());
        if !self.entries.is_empty() && bytes > self.bytes_max {
            return false;
        }
        self.bytes = bytes;
        self.entries.push(entry.clone());
        true
    }
}
