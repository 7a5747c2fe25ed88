//! Inputs like others, drawn by a seed: the same ones on every machine.

use consensus::Random;

/// No input is longer.
pub const INPUT_BYTES_MAX: usize = 4 << 10;

/// Numbers that are wrong in interesting ways, as lengths, counts and indexes.
const NUMBERS: [u64; 12] = [
    0,
    1,
    2,
    127,
    255,
    256,
    1 << 16,
    1 << 20,
    (1 << 31) - 1,
    u32::MAX as u64,
    u64::MAX >> 1,
    u64::MAX,
];

/// Changes an input in one place or a few. `other` is another input of the same target, to take parts of.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(3) {
        change(input, other, random);
    }
    input.truncate(INPUT_BYTES_MAX);
}

fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let length = input.len();
    let place = below(random, length + 1);
    let end = (place + 1 + below(random, 16)).min(length);
    match random.below(9) {
        0 if place < length => input[place] ^= 1 << random.below(8),
        1 if place < length => input[place] = random.next_u64().to_le_bytes()[0],
        2 => input.truncate(place),
        3 if place < end => drop(input.drain(place..end)),
        4 => {
            let count = below(random, 8);
            let bytes = random.next_u64().to_le_bytes();
            drop(input.splice(place..place, bytes.into_iter().take(count)));
        }
        // A number of 1, 2, 4 or 8 bytes, over what stands there.
        5 | 6 => {
            let number = NUMBERS[below(random, NUMBERS.len())].to_le_bytes();
            let width = (1 << random.below(4)).min(length - place);
            input[place..place + width].copy_from_slice(&number[..width]);
        }
        // A part twice.
        7 if place < end => {
            let part = input[place..end].to_vec();
            drop(input.splice(end..end, part));
        }
        // A part of another input.
        8 if !other.is_empty() => {
            let from = below(random, other.len());
            let to = from + 1 + below(random, other.len() - from);
            drop(input.splice(place..end.max(place), other[from..to].iter().copied()));
        }
        _ => input.push(random.next_u64().to_le_bytes()[0]),
    }
}

fn below(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).expect("below a length")
}
