//! Rows and the state, as the tables have them: see the module above for the format.

use bytes::{Buf, BufMut, Bytes};
use consensus::{Index, Position, Term, WallTime};
use kvcore::LeaseId;
use kvcore::store::{Revision, Row, RowId, StoreError, StoreState};

use super::unusable;
use crate::identity::DirectoryId;

/// Bytes of a row besides key and value.
const ROW_OVERHEAD_BYTES: usize = 8 + 8 + 1 + 4;

const FORMAT: u32 = 4;
const STATE_BYTES: usize = 4 + 16 + 5 * 8 + 16 + 16 + 8 + 16;
/// The format without times and families; its state is as now.
const FORMAT_WITHOUT_TIMES: u32 = 3;
/// The format without records and leases, too.
const FORMAT_WITHOUT_RECORDS: u32 = 2;
const STATE_BYTES_WITHOUT_RECORDS: usize = STATE_BYTES - 16;

/// What the flags of a row say.
const HAS_VALUE: u8 = 1;
const HAS_LEASE: u8 = 2;
/// Rows of the formats before this have no times.
const HAS_TIMES: u8 = 4;

pub(super) fn encode_row(row: &Row, out: &mut Vec<u8>) {
    out.clear();
    out.put_u64_le(row.create_revision.0);
    out.put_u64_le(row.version);
    let has_times = row.create_time.max(row.mod_time) > WallTime(0);
    let flags = [
        (row.value.is_some(), HAS_VALUE),
        (row.lease.is_some(), HAS_LEASE),
        (has_times, HAS_TIMES),
    ];
    out.put_u8(flags.iter().filter(|(is_so, _)| *is_so).map(|(_, flag)| flag).sum());
    out.put_u32_le(u32::try_from(row.key.len()).expect("a key is shorter than 4 GiB"));
    if let Some(lease) = row.lease {
        out.put_i64_le(lease.get());
    }
    if has_times {
        out.put_u64_le(row.create_time.0);
        out.put_u64_le(row.mod_time.0);
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
    let (mut create_time, mut mod_time) = (WallTime(0), WallTime(0));
    if flags & HAS_TIMES != 0 {
        create_time = WallTime(input.try_get_u64_le().map_err(|_| wrong())?);
        mod_time = WallTime(input.try_get_u64_le().map_err(|_| wrong())?);
        if create_time.max(mod_time) == WallTime(0) {
            return Err(wrong());
        }
    }
    let (key, value) = input.split_at_checked(key_bytes).ok_or_else(wrong)?;
    let value = match flags & !HAS_LEASE & !HAS_TIMES {
        HAS_VALUE => Some(Bytes::copy_from_slice(value)),
        0 if value.is_empty() && lease.is_none() => None,
        _ => return Err(wrong()),
    };
    let key = Bytes::copy_from_slice(key);
    Ok(Row { key, value, create_revision, version, lease, create_time, mod_time })
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
        Some(FORMAT | FORMAT_WITHOUT_TIMES) | None => STATE_BYTES,
        Some(FORMAT_WITHOUT_RECORDS) => STATE_BYTES_WITHOUT_RECORDS,
        Some(format) => {
            return Err(format!(
                "it has format {format}; this version reads formats {FORMAT_WITHOUT_RECORDS} to {FORMAT}"
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

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: DirectoryId = DirectoryId(77);

    fn id() -> RowId {
        RowId { revision: Revision(3), place: 1 }
    }

    fn row(lease: Option<i64>, times: (u64, u64)) -> Row {
        Row {
            key: Bytes::from_static(b"key"),
            value: Some(Bytes::from_static(b"value")),
            create_revision: Revision(2),
            version: 4,
            lease: lease.and_then(LeaseId::new),
            create_time: WallTime(times.0),
            mod_time: WallTime(times.1),
        }
    }

    /// As the versions of formats 2 and 3 wrote rows: 3 with leases, neither with times.
    const OF_FORMAT_2: &[u8] = b"\x02\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x01\x03\0\0\0keyvalue";
    const OF_FORMAT_3: &[u8] =
        b"\x02\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x03\x03\0\0\0\x05\0\0\0\0\0\0\0keyvalue";

    #[test]
    fn rows_of_the_formats_before_have_no_times_and_stay_as_they_are() {
        for (bytes, row) in [(OF_FORMAT_2, row(None, (0, 0))), (OF_FORMAT_3, row(Some(5), (0, 0)))]
        {
            assert_eq!(decode_row(id(), bytes, "here"), Ok(row.clone()));
            let mut encoded = Vec::new();
            encode_row(&row, &mut encoded);
            assert_eq!(encoded, bytes, "a row without times has the form of before");
        }
    }

    #[test]
    fn rows_with_times_survive_and_every_cut_before_the_value_is_refused() {
        for times in [(6, 7), (0, 7)] {
            let row = row(Some(-5), times);
            let mut encoded = Vec::new();
            encode_row(&row, &mut encoded);
            assert_eq!(decode_row(id(), &encoded, "here"), Ok(row));
            for length in 0..encoded.len() - b"value".len() {
                assert!(decode_row(id(), &encoded[..length], "here").is_err(), "{length}");
            }
        }
        let mut without = OF_FORMAT_2.to_vec();
        without[16] |= HAS_TIMES;
        without.splice(21..21, [0; 16]);
        assert!(decode_row(id(), &without, "here").is_err(), "a row has one form");
    }

    #[test]
    fn states_of_the_formats_before_are_read() {
        let state = StoreState {
            applied: Position { term: Term(1), index: Index(2) },
            wall: WallTime(3),
            revision: Revision(4),
            compacted: Revision(3),
            digest: 5,
            idempotency_digest: 6,
            idempotency_forgotten: Index(1),
            records_digest: 7,
        };
        let now = encode_state(&state, DIRECTORY);
        assert_eq!(decode_state(&now, DIRECTORY), Ok(state));
        let with_format = |format: u32, length: usize| {
            let mut bytes = now[..length].to_vec();
            bytes[..4].copy_from_slice(&format.to_le_bytes());
            decode_state(&bytes, DIRECTORY)
        };
        assert_eq!(with_format(3, STATE_BYTES), Ok(state));
        let without_records = StoreState { records_digest: 0, ..state };
        assert_eq!(with_format(2, STATE_BYTES - 16), Ok(without_records));
        assert!(with_format(3, STATE_BYTES - 16).is_err() && with_format(2, STATE_BYTES).is_err());
        let unknown = with_format(5, STATE_BYTES).expect_err("that is to come");
        assert!(unknown.contains("formats 2 to 4"), "{unknown}");
    }
}
