//! Damage to the log: a torn tail is cut, everything else is refused with file and position.

mod common;

use bytes::Bytes;
use common::{Model, entry, open, tiny};
use consensus::{
    Index, NodeId, Payload, Persist, Position, Protocol, Random, Recovered, Snapshot, Term,
};
use storage::{DirectoryId, Disk, Identity, SimulatedDisk, Wal, WalError, WalOptions};

const RECORD_HEADER_BYTES: usize = 24;
const SEGMENT_HEADER_BYTES: usize = 128;

fn segment(number: u64) -> String {
    format!("log-{number:016}.wal")
}

/// Where the records of a segment are, and the lengths of their payloads.
fn records(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut records = Vec::new();
    let mut offset = SEGMENT_HEADER_BYTES;
    while offset + RECORD_HEADER_BYTES <= bytes.len() {
        let length = u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("4 bytes"));
        if length == 0 {
            break;
        }
        records.push((offset, length as usize));
        offset = (offset + RECORD_HEADER_BYTES + length as usize).next_multiple_of(8);
    }
    records
}

/// A copy of a disk, as durable as it is visible.
fn copy(disk: &SimulatedDisk) -> SimulatedDisk {
    let copy = SimulatedDisk::new();
    for name in disk.list().expect("the disk is alive") {
        copy.put(&name, &disk.content(&name).expect("it was listed"));
    }
    copy
}

/// A log of some segments that ends with an ordinary record, and the states after each write.
fn sample(options: WalOptions, writes: u64) -> (SimulatedDisk, Vec<Model>) {
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk, options).expect("a new disk");
    let mut random = Random::new(11);
    let mut states = vec![Model::default()];
    for _ in 0..writes {
        let mut state = states[states.len() - 1].clone();
        // All segments are needed, so that the loss of any is damage.
        let persist = state.random_persist(&mut random);
        let persist = Persist { install: None, compact_to: None, ..persist };
        state.apply(&persist);
        wal.append(&[persist]).expect("the disk works");
        states.push(state);
    }
    (disk, states)
}

fn refusal(disk: &SimulatedDisk) -> (String, u64, String) {
    match open(disk, tiny()) {
        Err(error @ WalError::Damaged { .. }) => {
            let text = error.to_string();
            let WalError::Damaged { location, offset, .. } = error else { unreachable!() };
            for advice in ["keep the directory as it is", "Never start the node with an older copy"]
            {
                assert!(text.contains(advice), "what loses nothing more is named: {text}");
            }
            (location, offset, text)
        }
        Err(other) => panic!("refused for another reason: {other}"),
        Ok((_, recovery)) => panic!("a damaged log was opened: {recovery:?}"),
    }
}

#[test]
fn every_damaged_bit_before_the_last_record_is_refused_where_it_is() {
    let (disk, states) = sample(tiny(), 60);
    let segments: Vec<_> =
        (1..).map(segment).take_while(|name| disk.exists(name).unwrap()).collect();
    assert!(segments.len() >= 3, "the sample has several segments");
    for (number, name) in segments.iter().enumerate() {
        let bytes = disk.content(name).expect("it exists");
        let places = records(&bytes);
        for (place, (offset, length)) in places.iter().enumerate() {
            let last = number + 1 == segments.len() && place + 1 == places.len();
            for position in *offset..offset + RECORD_HEADER_BYTES + length {
                let damaged = copy(&disk);
                damaged.flip(name, position, 1 << (position % 8));
                if last {
                    // Not to be told from a torn write, as nothing follows.
                    let (wal, recovery) = open(&damaged, tiny()).expect("a torn tail is cut");
                    assert!(states[states.len() - 2].is(&recovery, &mut wal.reader()));
                    let torn = recovery.torn_tail.expect("it is reported");
                    assert_eq!((&torn.location, torn.offset), (name, *offset as u64));
                } else {
                    let (location, at, text) = refusal(&damaged);
                    assert_eq!((&location, at), (name, *offset as u64), "{position}: {text}");
                }
            }
        }
    }
}

#[test]
fn damage_to_the_last_batch_is_refused_after_a_clean_stop() {
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk, tiny()).expect("a new disk");
    wal.append(&[Persist { entries: vec![entry(1, 1, 50)], ..Persist::default() }]).expect("works");
    wal.close().expect("works");
    let places = records(&disk.content(&segment(1)).expect("it exists"));
    assert_eq!(places.len(), 4, "the state, a mark, the batch, a mark");
    disk.flip(&segment(1), places[2].0 + 30, 4);
    assert_eq!(refusal(&disk).1, places[2].0 as u64);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_the_log_goes_on() {
    let (disk, states) = sample(tiny(), 9);
    let before = &states[states.len() - 2];
    let name = (1..).map(segment).take_while(|name| disk.exists(name).unwrap()).last().unwrap();
    let whole = disk.content(&name).expect("it exists");
    let (offset, length) = *records(&whole).last().expect("there is a record");
    let end = offset + RECORD_HEADER_BYTES + length;
    for cut in offset..end {
        let mut first_part = whole.clone();
        first_part[cut..].fill(0);
        let mut last_part = whole.clone();
        last_part[offset..=cut].fill(0);
        for part in [first_part, last_part] {
            let unchanged = part == whole;
            let torn = copy(&disk);
            torn.put(&name, &part);
            let (mut wal, recovery) = open(&torn, tiny()).expect("a torn tail is cut");
            if unchanged {
                // The bytes lost were zeros anyway.
                assert_eq!(recovery.torn_tail, None);
                continue;
            }
            let nothing_left = part[offset..].iter().all(|byte| *byte == 0);
            assert_eq!(recovery.torn_tail.is_none(), nothing_left, "cut at {cut}");
            assert!(before.is(&recovery, &mut wal.reader()), "cut at {cut}");
            let mut after = before.clone();
            let index = after.last() + 1;
            let persist = Persist { entries: vec![entry(9, index, 5)], ..Persist::default() };
            after.apply(&persist);
            wal.append(&[persist]).expect("the log goes on");
            drop(wal);
            let (wal, recovery) = open(&torn, tiny()).expect("nothing of the torn record is left");
            assert_eq!(recovery.torn_tail, None);
            assert!(after.is(&recovery, &mut wal.reader()), "cut at {cut}");
        }
    }
}

#[test]
fn a_record_inside_a_torn_value_is_not_taken_for_one() {
    let (disk, _) = sample(tiny(), 5);
    let bytes = disk.content(&segment(1)).expect("it exists");
    let places = records(&bytes);
    let (offset, length) = places[2];
    let record = &bytes[offset..offset + RECORD_HEADER_BYTES + length];
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk, WalOptions::small()).expect("a new disk");
    let mut item = entry(1, 1, 0);
    item.payload = Payload::Command(Bytes::from(record.repeat(20)));
    wal.append(&[Persist { entries: vec![item], ..Persist::default() }]).expect("works");
    drop(wal);
    let places = records(&disk.content(&segment(1)).expect("it exists"));
    disk.flip(&segment(1), places[2].0, 1);
    let (_, recovery) = open(&disk, WalOptions::small()).expect("a torn tail is cut");
    assert_eq!(recovery.recovered.last, Index(0));
}

#[test]
fn a_garbage_length_is_bounded() {
    let (disk, _) = sample(tiny(), 9);
    let places = records(&disk.content(&segment(1)).expect("it exists"));
    for length in [1_u32, 3, 5, 0x7fff_ffff, u32::MAX] {
        let damaged = copy(&disk);
        let mut bytes = disk.content(&segment(1)).expect("it exists");
        bytes[places[1].0..places[1].0 + 4].copy_from_slice(&length.to_le_bytes());
        damaged.put(&segment(1), &bytes);
        assert_eq!(refusal(&damaged).1, places[1].0 as u64, "length {length}");
    }
}

#[test]
fn a_lost_block_in_the_middle_is_refused() {
    let (disk, _) = sample(tiny(), 60);
    for number in 1..=2 {
        let mut bytes = disk.content(&segment(number)).expect("it exists");
        let places = records(&bytes);
        let (offset, end) = (places[0].0, places[1].0);
        bytes[offset..end].fill(0);
        let damaged = copy(&disk);
        damaged.put(&segment(number), &bytes);
        let (location, at, _) = refusal(&damaged);
        assert_eq!((location, at), (segment(number), offset as u64));
    }
    // The end of a segment that another follows is not a torn tail either.
    let mut bytes = disk.content(&segment(1)).expect("it exists");
    let (offset, _) = *records(&bytes).last().expect("there is a record");
    bytes[offset..].fill(0);
    disk.put(&segment(1), &bytes);
    let (location, at, text) = refusal(&disk);
    assert_eq!((location, at), (segment(1), offset as u64), "{text}");
}

#[test]
fn segments_that_are_missing_or_not_what_they_were_are_refused() {
    let (disk, _) = sample(tiny(), 60);
    let content = |number| disk.content(&segment(number)).expect("it exists");
    type Damage<'a> = Box<dyn Fn(&SimulatedDisk) + 'a>;
    let cases: Vec<(&str, Damage<'_>, u64)> = vec![
        ("the first is missing", Box::new(|disk| disk.take(&segment(1))), 2),
        ("the second is missing", Box::new(|disk| disk.take(&segment(2))), 3),
        ("one is empty", Box::new(|disk| disk.put(&segment(2), b"")), 2),
        ("one is cut", Box::new(|disk| disk.put(&segment(2), &content(2)[..1500])), 2),
        (
            "one is longer",
            Box::new(|disk| disk.put(&segment(2), &[content(2), vec![0]].concat())),
            2,
        ),
        ("one is another's copy", Box::new(|disk| disk.put(&segment(3), &content(2))), 3),
        ("its header is damaged", Box::new(|disk| disk.flip(&segment(3), 40, 1)), 3),
        ("it begins with something else", Box::new(|disk| disk.flip(&segment(2), 0, 1)), 2),
    ];
    for (name, damage, expected) in cases {
        let damaged = copy(&disk);
        damage(&damaged);
        let (location, offset, text) = refusal(&damaged);
        assert_eq!((location, offset), (segment(expected), 0), "{name}: {text}");
    }
    let emptied = copy(&disk);
    for number in (1..).take_while(|number| disk.exists(&segment(*number)).unwrap()) {
        emptied.take(&segment(number));
    }
    assert!(refusal(&emptied).2.contains("every segment is missing"));
}

#[test]
fn the_state_that_a_segment_begins_with_must_be_what_the_records_amount_to() {
    let (disk, _) = sample(tiny(), 60);
    for number in 1..=3 {
        let damaged = copy(&disk);
        damaged.flip(&segment(number), SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + 3, 1);
        let (location, offset, text) = refusal(&damaged);
        assert_eq!((location, offset), (segment(number), SEGMENT_HEADER_BYTES as u64), "{text}");
    }
}

#[test]
fn what_was_forgotten_may_be_gone_and_nothing_else() {
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk, tiny()).expect("a new disk");
    for index in 1..=100 {
        let entries = vec![entry(1, index, 50)];
        wal.append(&[Persist { entries, commit: Index(index), ..Persist::default() }])
            .expect("works");
    }
    wal.append(&[Persist { compact_to: Some(Index(60)), ..Persist::default() }]).expect("works");
    let obsolete = wal.take_obsolete();
    assert_eq!(obsolete[0], segment(1));
    drop(wal);
    // Removed at once, or by a later start, or not at all: it makes no difference.
    for removed in 0..=obsolete.len() {
        let copy = copy(&disk);
        storage::remove_obsolete(&copy, &obsolete[..removed]).expect("works");
        let (mut wal, recovery) = open(&copy, tiny()).expect("what is needed is there");
        let Recovered { compacted, last, commit, .. } = recovery.recovered;
        assert_eq!((compacted, last, commit), (Index(60), Index(100), Index(100)));
        assert_eq!(wal.take_obsolete(), obsolete[removed..]);
        let entries = wal.reader().entries(Index(61), Index(100), usize::MAX).expect("all there");
        assert_eq!(entries.len(), 40);
    }
    let next = copy(&disk);
    storage::remove_obsolete(&next, &obsolete).expect("works");
    next.take(&segment(obsolete.len() as u64 + 1));
    let (location, _, text) = refusal(&next);
    assert_eq!(location, segment(obsolete.len() as u64 + 2), "{text}");
    assert!(text.contains("the segments before it are missing"), "{text}");
}

#[test]
fn a_snapshot_replaces_the_whole_log() {
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk, tiny()).expect("a new disk");
    for index in 1..=100 {
        wal.append(&[Persist { entries: vec![entry(1, index, 50)], ..Persist::default() }])
            .expect("works");
    }
    let terms = [(Index(1), Term(1)), (Index(7), Term(4))].into();
    let snapshot = Snapshot { position: Position::new(4, 50), terms, handle: 3 };
    wal.append(&[
        Persist { install: Some(snapshot.clone()), ..Persist::default() },
        Persist { entries: vec![entry(4, 51, 9)], ..Persist::default() },
    ])
    .expect("works");
    assert!(wal.reader().entries(Index(50), Index(51), 9).is_err(), "the log that was is gone");
    storage::remove_obsolete(&disk, &wal.take_obsolete()).expect("works");
    drop(wal);
    let (mut wal, recovery) = open(&disk, tiny()).expect("the log is whole");
    assert_eq!(recovery.installed, 3);
    assert_eq!(recovery.recovered.terms, snapshot.terms);
    let Recovered { compacted, last, commit, .. } = recovery.recovered;
    assert_eq!((compacted, last, commit), (Index(50), Index(51), Index(50)));
    let entries = wal.reader().entries(Index(51), Index(51), 9).expect("it is there");
    assert_eq!(entries, [entry(4, 51, 9)]);
    wal.append(&[Persist { entries: vec![entry(4, 52, 9)], ..Persist::default() }]).expect("works");
}

#[test]
fn a_segment_that_does_not_go_on_where_the_last_one_ended_is_refused() {
    let (disk, _) = sample(tiny(), 60);
    let whole = disk.content(&segment(2)).expect("it exists");
    let (second, _) = records(&disk.content(&segment(1)).expect("it exists"))[1];
    // The sequence of its first record, where the segment before it ends, the last entry before it,
    // and the checksum of the last record before it: each as if records before it were gone.
    for (field, value) in [(48, 2), (56, second as u64), (64, 1), (72, 5)] {
        let mut bytes = whole.clone();
        if field == 72 {
            bytes[72..76].copy_from_slice(&u32::try_from(value).expect("small").to_le_bytes());
        } else {
            bytes[field..field + 8].copy_from_slice(&value.to_le_bytes());
        }
        let checksum = crc32fast::hash(&bytes[..76]);
        bytes[76..80].copy_from_slice(&checksum.to_le_bytes());
        let damaged = copy(&disk);
        damaged.put(&segment(2), &bytes);
        let (location, offset, text) = refusal(&damaged);
        assert_eq!((location, offset), (segment(2), 0), "{text}");
    }
}

#[test]
fn a_segment_of_another_directory_is_refused() {
    let (disk, _) = sample(tiny(), 60);
    let other = SimulatedDisk::new();
    let (wal, _) = Wal::open(other.clone(), tiny(), &common::identity(), DirectoryId(99)).unwrap();
    drop(wal);
    disk.put(&segment(1), &other.content(&segment(1)).expect("it exists"));
    let (location, _, text) = refusal(&disk);
    assert_eq!(location, segment(1));
    assert!(text.contains("belongs to data directory 00000000000000000000000000000063"), "{text}");
}

#[test]
fn files_that_are_not_the_logs_are_left_alone_and_half_made_segments_removed() {
    let (disk, states) = sample(tiny(), 20);
    disk.put("notes.txt", b"mine");
    disk.put("log-1.wal.bak", b"also mine");
    disk.put("spare-77.tmp", &[0; 700]);
    let (wal, recovery) = open(&disk, tiny()).expect("the log is whole");
    assert!(states[states.len() - 1].is(&recovery, &mut wal.reader()));
    assert_eq!(disk.content("notes.txt").as_deref(), Some(&b"mine"[..]));
    assert!(disk.content("log-1.wal.bak").is_some());
    assert_eq!(disk.content("spare-77.tmp"), None);
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    let (disk, _) = sample(tiny(), 3);
    let mine = common::identity();
    let others = [
        Identity { cluster: "production".to_string(), ..mine.clone() },
        Identity { node: NodeId(2), ..mine.clone() },
        Identity { protocol: Protocol::Zab, ..mine.clone() },
    ];
    for other in others {
        let Err(error) = Wal::open(disk.clone(), tiny(), &other, DirectoryId(5)) else {
            panic!("{other} opened the directory of {mine}");
        };
        let text = error.to_string();
        assert!(matches!(error, WalError::Identity { .. }), "{text}");
        for part in [
            "duorum.identity",
            &mine.to_string(),
            &other.to_string(),
            "the directory that is its own",
        ] {
            assert!(text.contains(part), "{part:?} in: {text}");
        }
    }
    let (_, recovery) = open(&disk, tiny()).expect("its owner opens it");
    assert_eq!(recovery.directory, common::DIRECTORY);
}

#[test]
fn an_identity_that_was_lost_or_damaged_is_not_replaced() {
    let (disk, _) = sample(tiny(), 3);
    let lost = copy(&disk);
    lost.take("duorum.identity");
    assert!(refusal(&lost).2.contains("it is missing"));
    let damaged = copy(&disk);
    damaged.flip("duorum.identity", 50, 1);
    let (location, _, text) = refusal(&damaged);
    assert_eq!(location, "duorum.identity", "{text}");
}

#[test]
fn impossible_identities_and_sizes_are_refused() {
    for cluster in ["", "two\nlines", &"x".repeat(300)] {
        let identity = Identity { cluster: cluster.to_string(), ..common::identity() };
        let result = Wal::open(SimulatedDisk::new(), tiny(), &identity, DirectoryId(1));
        assert!(matches!(result, Err(WalError::Invalid(_))), "{cluster:?}");
    }
    let options = WalOptions { segment_bytes: 100, ..tiny() };
    assert!(matches!(open(&SimulatedDisk::new(), options), Err(WalError::Invalid(_))));
}

#[test]
#[should_panic(expected = "entry 3 does not follow 1 without a gap")]
fn a_gap_breaks_a_law() {
    let (mut wal, _) = open(&SimulatedDisk::new(), tiny()).expect("a new disk");
    let persist = |index| Persist { entries: vec![entry(1, index, 5)], ..Persist::default() };
    wal.append(&[persist(1)]).expect("works");
    let _ = wal.append(&[persist(3)]);
}

#[test]
#[should_panic(expected = "entry 1 is committed (up to 1) and never removed")]
fn removing_what_is_committed_breaks_a_law() {
    let (mut wal, _) = open(&SimulatedDisk::new(), tiny()).expect("a new disk");
    let entries = vec![entry(1, 1, 5), entry(1, 2, 5)];
    wal.append(&[Persist { entries, commit: Index(1), ..Persist::default() }]).expect("works");
    let _ = wal.append(&[Persist { truncate_from: Some(Index(1)), ..Persist::default() }]);
}
