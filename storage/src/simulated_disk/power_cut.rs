//! What a power cut leaves of what was not synced.

use consensus::Random;

use super::{Change, write_into};

/// What a device writes in one piece.
const SECTOR_BYTES: usize = 512;

/// How a power cut treats what was not synced.
#[derive(Clone, Copy)]
pub(super) enum Policy {
    Nothing,
    Everything,
    Some,
}

impl Policy {
    pub(super) fn draw(random: &mut Random) -> Self {
        match random.below(5) {
            0 => Self::Nothing,
            1 => Self::Everything,
            _ => Self::Some,
        }
    }

    pub(super) fn keeps(self, random: &mut Random) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Some => random.one_in(2),
        }
    }

    /// Adds what is kept of one change to the durable content.
    pub(super) fn keep_content(self, random: &mut Random, durable: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Length(length) => {
                if self.keeps(random) {
                    durable.resize(*length, 0);
                }
            }
            Change::Write { offset, bytes } => match self {
                Self::Nothing => {}
                Self::Everything => write_into(durable, *offset, bytes),
                Self::Some => keep_some(random, durable, *offset, bytes),
            },
        }
    }
}

/// Keeps nothing, all, the first bytes, the last bytes, or some sectors of a write.
fn keep_some(random: &mut Random, durable: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let somewhere = usize::try_from(random.below(bytes.len() as u64 + 1)).expect("within memory");
    match random.below(5) {
        0 => {}
        1 => write_into(durable, offset, bytes),
        2 => write_into(durable, offset, &bytes[..somewhere]),
        3 => {
            // What was kept begins with a whole sector: no device writes the end of one alone.
            let start = (offset + somewhere).next_multiple_of(SECTOR_BYTES);
            if let Some(rest) = start.checked_sub(offset).and_then(|skip| bytes.get(skip..)) {
                write_into(durable, start, rest);
            }
        }
        _ => {
            let mut position = 0;
            while position < bytes.len() {
                let sector_rest = SECTOR_BYTES - (offset + position) % SECTOR_BYTES;
                let end = (position + sector_rest).min(bytes.len());
                if random.one_in(2) {
                    write_into(durable, offset + position, &bytes[position..end]);
                }
                position = end;
            }
        }
    }
}
