//! What is said on a snapshot's connection, over blocking sockets.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{Index, NodeId, Term};
use kvcore::Revision;
use kvcore::snapshot::{RememberedRows, Rows};
use kvcore::store::{RecordRows, RowId, StoreState};

use crate::node::shared::Shared;
use crate::node::transport::{FRAME_BYTES_MAX, FrameKind, put_frame, take_frame};

/// How long the other side may send or take nothing.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);
/// What is read at a time.
const READ_BYTES: usize = 256 << 10;
/// The most terms that a log can have gone through. A billion elections would take decades.
const TERMS_MAX: u32 = 1 << 20;

/// One thing said on the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What follows, and the word of the sender's protocol with it.
    Begin { message: Bytes, state: StoreState, terms: BTreeMap<Index, Term> },
    /// The last revision that the receiver has already, and the last entry of whose idempotency key it
    /// has something.
    After { revision: Revision, remembered: Index },
    /// The rows of the sender up to that revision, in order; an empty list ends them.
    Ids(Vec<RowId>),
    /// The rows behind it, in order. A revision ends where `is_whole` says so.
    Rows { rows: Rows, is_whole: bool, is_last: bool },
    /// What is remembered of idempotency keys, in order; an empty list ends it.
    Remembered(RememberedRows),
    /// Leases, counters and families, in any order; an empty list ends the snapshot.
    Records(RecordRows),
    /// The receiver has dealt with it.
    Done { installed: bool },
}

impl Wire for Part {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Begin { message, state, terms } => {
                out.put_u8(1);
                codec::put_bytes(out, message);
                state.encode(out);
                out.put_u32_le(u32::try_from(terms.len()).expect("bounded by elections"));
                for (first, term) in terms {
                    first.encode(out);
                    term.encode(out);
                }
            }
            Self::After { revision, remembered } => {
                out.put_u8(2);
                out.put_u64_le(revision.0);
                remembered.encode(out);
            }
            Self::Ids(ids) => {
                out.put_u8(3);
                out.put_u32_le(u32::try_from(ids.len()).expect("asked for in portions"));
                for id in ids {
                    out.put_u64_le(id.revision.0);
                    out.put_u32_le(id.place);
                }
            }
            Self::Rows { rows, is_whole, is_last } => {
                out.put_u8(4);
                is_whole.encode(out);
                is_last.encode(out);
                rows.encode(out);
            }
            Self::Remembered(rows) => {
                out.put_u8(6);
                rows.encode(out);
            }
            Self::Records(records) => {
                out.put_u8(7);
                records.encode(out);
            }
            Self::Done { installed } => {
                out.put_u8(5);
                installed.encode(out);
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(match codec::get_u8(input)? {
            1 => {
                let message = codec::get_bytes(input)?;
                let state = StoreState::decode(input)?;
                let count = codec::get_u32(input)?;
                if count > TERMS_MAX {
                    return Err(CodecError::Invalid("number of terms"));
                }
                let mut terms = BTreeMap::new();
                for _ in 0..count {
                    terms.insert(Index::decode(input)?, Term::decode(input)?);
                }
                Self::Begin { message, state, terms }
            }
            2 => Self::After {
                revision: Revision(codec::get_u64(input)?),
                remembered: Index::decode(input)?,
            },
            3 => {
                let count = codec::get_u32(input)? as usize;
                let mut ids = codec::list_with_room(count, input);
                for _ in 0..count {
                    let revision = Revision(codec::get_u64(input)?);
                    ids.push(RowId { revision, place: codec::get_u32(input)? });
                }
                Self::Ids(ids)
            }
            4 => {
                let (is_whole, is_last) = (bool::decode(input)?, bool::decode(input)?);
                Self::Rows { rows: Rows::decode(input)?, is_whole, is_last }
            }
            6 => Self::Remembered(RememberedRows::decode(input)?),
            7 => Self::Records(RecordRows::decode(input)?),
            5 => Self::Done { installed: bool::decode(input)? },
            _ => return Err(CodecError::Invalid("part of a snapshot")),
        })
    }
}

/// A greeted connection, from either side.
pub(super) struct Channel {
    shared: Arc<Shared>,
    peer: NodeId,
    stream: TcpStream,
    received: BytesMut,
    /// Bytes sent and received so far.
    pub(super) bytes: u64,
}

impl Channel {
    /// Takes over a connection, with what came behind the greeting.
    pub(super) fn new(
        shared: &Arc<Shared>,
        peer: NodeId,
        stream: TcpStream,
        received: BytesMut,
    ) -> Result<Self, String> {
        let set_up = || {
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(SILENCE_MAX))?;
            stream.set_write_timeout(Some(SILENCE_MAX))
        };
        set_up().map_err(|error: std::io::Error| error.to_string())?;
        Ok(Self { shared: Arc::clone(shared), peer, stream, received, bytes: 0 })
    }

    /// Lets the other side be silent for so long from now on.
    pub(super) fn set_patience(&mut self, patience: Duration) -> Result<(), String> {
        self.stream.set_read_timeout(Some(patience)).map_err(|error| error.to_string())
    }

    /// Whether a fault lets nothing through between the two nodes. Then a stream breaks off.
    fn is_open(&self) -> Result<(), String> {
        match self.shared.faults.separates(self.shared.facts.id, self.peer) {
            Some(fault) => Err(format!("{fault} lets nothing through")),
            None => Ok(()),
        }
    }

    pub(super) fn say(&mut self, part: &Part) -> Result<(), String> {
        self.is_open()?;
        let mut out = BytesMut::new();
        put_frame(&mut out, FrameKind::Snapshot, |out| part.encode(out));
        self.bytes += out.len() as u64;
        self.stream.write_all(&out).map_err(|error| error.to_string())
    }

    pub(super) fn hear(&mut self) -> Result<Part, String> {
        loop {
            self.is_open()?;
            if let Some((kind, content)) = take_frame(&mut self.received, FRAME_BYTES_MAX)? {
                if kind != FrameKind::Snapshot {
                    return Err("it says something that does not belong here".to_owned());
                }
                return Part::from_bytes(content).map_err(|error| error.to_string());
            }
            let before = self.received.len();
            self.received.resize(before + READ_BYTES, 0);
            let read = self.stream.read(&mut self.received[before..]);
            self.received.truncate(before + read.as_ref().map_or(0, |&read| read));
            match read {
                Ok(0) => return Err("the connection ended".to_owned()),
                Ok(read) => self.bytes += read as u64,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use consensus::Position;
    use kvcore::store::{Record, RecordKey, RecordValue, Remembered, Row};

    use super::*;

    #[test]
    fn every_part_survives_the_wire_and_no_cut_does() {
        let id = |revision, place| RowId { revision: Revision(revision), place };
        let row = Row {
            key: Bytes::from_static(b"k"),
            value: Some(Bytes::from_static(b"v")),
            create_revision: Revision(3),
            version: 2,
            lease: kvcore::LeaseId::new(9),
            create_time: consensus::WallTime(10),
            mod_time: consensus::WallTime(11),
        };
        let remembered = Remembered {
            index: Index(80),
            key: kvcore::IdempotencyKey::new(b"name").expect("a key"),
            wall: consensus::WallTime(6),
            request: 7,
            revision: Revision(5),
            fate: kvcore::store::Fate::Put { created: true },
        };
        let record = Record {
            key: RecordKey::Sequence(Bytes::from_static(b"k")),
            value: RecordValue::Sequence(4),
        };
        let deleted = Row { value: None, ..row.clone() };
        let position = Position { term: Term(4), index: Index(90) };
        let state = StoreState { applied: position, digest: u128::MAX - 3, ..Default::default() };
        let terms = BTreeMap::from([(Index(1), Term(2)), (Index(80), Term(4))]);
        for part in [
            Part::Begin { message: Bytes::from_static(b"word"), state, terms },
            Part::After { revision: Revision(7), remembered: Index(8) },
            Part::Remembered(RememberedRows(vec![])),
            Part::Remembered(RememberedRows(vec![remembered])),
            Part::Records(RecordRows(vec![])),
            Part::Records(RecordRows(vec![record])),
            Part::Ids(vec![]),
            Part::Ids(vec![id(3, 0), id(3, 1)]),
            Part::Rows {
                rows: Rows(vec![(id(5, 0), row), (id(5, 1), deleted)]),
                is_whole: true,
                is_last: false,
            },
            Part::Done { installed: true },
        ] {
            let bytes = part.to_bytes();
            for cut in 0..bytes.len() {
                assert!(Part::from_bytes(bytes.slice(..cut)).is_err(), "{part:?} cut at {cut}");
            }
            assert_eq!(Part::from_bytes(bytes), Ok(part));
        }
    }
}
