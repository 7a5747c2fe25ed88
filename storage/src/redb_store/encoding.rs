//! Rows and the state, as the tables have them: see the module above for the format.

use bytes::{Buf, BufMut, Bytes};
use consensus::{Index, Position, Term, WallTime};
use kvcore::LeaseId;
use kvcore::store::{Revision, Row, RowId, StoreError, StoreState};

use super::unusable;
use crate::identity::DirectoryId;

/// Bytes of a row besides key and value.
const ROW_OVERHEAD_BYTES: usize = 8 + 8 + 1 + 4;

const FORMAT: u32 = 3;
const STATE_BYTES: usize = 4 + 16 + 5 * 8 + 16 + 16 + 8 + 16;
/// The format without records and leases.
const FORMAT_BEFORE: u32 = 2;
const STATE_BYTES_BEFORE: usize = STATE_BYTES - 16;

/// What the flags of a row say.
const HAS_VALUE: u8 = 1;
const HAS_LEASE: u8 = 2;

pub(super) fn encode_row(row: &Row, out: &mut Vec<u8>) {
    out.clear();
    out.put_u64_le(row.create_revision.0);
    out.put_u64_le(row.version);
    let flags = [(row.value.is_some(), HAS_VALUE), (row.lease.is_some(), HAS_LEASE)];
    out.put_u8(flags.iter().filter(|(is_so, _)| *is_so).map(|(_, flag)| flag).sum());
    out.put_u32_le(u32::try_from(row.key.len()).expect("a key is shorter than 4 GiB"));
    if let Some(lease) = row.lease {
        out.put_i64_le(lease.get());
    }
    out.put_slice(&row.key);
    out.put_slice(row.value.as_deref().unwrap_or_default());
}

pub(super) fn decode_row(id: RowId, bytes: &[u8], location: &str) -> Result<Row, StoreError> {
    let wrong = || {
        let RowId { revision, place } = id;
        unusable(location, format!("what is stored as row {revision}/{place} is no row"))
    };
    if bytes.len() < ROW_OVERHEAD_BYTES {
        return Err(wrong());
    }
    let mut input = bytes;
    let create_revision = Revision(input.get_u64_le());
    let version = input.get_u64_le();
    let flags = input.get_u8();
    let key_bytes = input.get_u32_le() as usize;
    let mut lease = None;
    if flags & HAS_LEASE != 0 {
        let number = input.try_get_i64_le().map_err(|_| wrong())?;
        lease = Some(LeaseId::new(number).ok_or_else(wrong)?);
    }
    let (key, value) = input.split_at_checked(key_bytes).ok_or_else(wrong)?;
    let value = match flags & !HAS_LEASE {
        HAS_VALUE => Some(Bytes::copy_from_slice(value)),
        0 if value.is_empty() && lease.is_none() => None,
        _ => return Err(wrong()),
    };
    Ok(Row { key: Bytes::copy_from_slice(key), value, create_revision, version, lease })
}

pub(super) fn encode_state(state: &StoreState, directory: DirectoryId) -> Vec<u8> {
    let mut out = Vec::with_capacity(STATE_BYTES);
    out.put_u32_le(FORMAT);
    out.put_u128_le(directory.0);
    out.put_u64_le(state.applied.term.0);
    out.put_u64_le(state.applied.index.0);
    out.put_u64_le(state.wall.0);
    out.put_u64_le(state.revision.0);
    out.put_u64_le(state.compacted.0);
    out.put_u128_le(state.digest);
    out.put_u128_le(state.idempotency_digest);
    out.put_u64_le(state.idempotency_forgotten.0);
    out.put_u128_le(state.records_digest);
    out
}

pub(super) fn decode_state(mut input: &[u8], directory: DirectoryId) -> Result<StoreState, String> {
    let format = input.first_chunk().map(|format| u32::from_le_bytes(*format));
    let bytes = match format {
        Some(FORMAT) | None => STATE_BYTES,
        Some(FORMAT_BEFORE) => STATE_BYTES_BEFORE,
        Some(format) => {
            return Err(format!(
                "it has format {format}; this version reads formats {FORMAT_BEFORE} and {FORMAT}"
            ));
        }
    };
    if input.len() != bytes {
        return Err(format!("its state has {} bytes, not {bytes}", input.len()));
    }
    input.advance(4);
    let found = DirectoryId(input.get_u128_le());
    if found != directory {
        return Err(format!("it belongs to data directory {found}, and this one is {directory}"));
    }
    let term = Term(input.get_u64_le());
    let index = Index(input.get_u64_le());
    Ok(StoreState {
        applied: Position { term, index },
        wall: WallTime(input.get_u64_le()),
        revision: Revision(input.get_u64_le()),
        compacted: Revision(input.get_u64_le()),
        digest: input.get_u128_le(),
        idempotency_digest: input.get_u128_le(),
        idempotency_forgotten: Index(input.get_u64_le()),
        records_digest: input.try_get_u128_le().unwrap_or(0),
    })
}
