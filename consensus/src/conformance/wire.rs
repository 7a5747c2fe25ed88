//! Messages on the wire.

use bytes::{Bytes, BytesMut};

use super::{elect, put};
use crate::script::{Cluster, Options};
use crate::{Consensus, Message, Random, Wire};

/// Every message that a busy and troubled cluster sends survives encoding, and damaged encodings
/// are errors or other messages, never panics.
///
/// # Panics
/// When one does not.
pub fn messages_survive_the_wire_and_garbage_does_not<C: Consensus>(nodes: u64) {
    let mut random = Random::new(1);
    let mut count = 0;
    for message in sent_messages::<C>(nodes) {
        let bytes = message.to_bytes();
        assert_eq!(C::Message::from_bytes(bytes.clone()), Ok(message.clone()));
        assert!(!message.name().is_empty());
        assert!(message.weight() > 0, "a frame stands for at least one message");
        for length in 0..bytes.len() {
            let cut = C::Message::from_bytes(bytes.slice(..length));
            assert!(cut.is_err(), "{message} cut to {length} bytes reads as {cut:?}");
        }
        let mut longer = BytesMut::from(&bytes[..]);
        longer.extend_from_slice(&[0]);
        assert!(C::Message::from_bytes(longer.freeze()).is_err(), "{message} with a byte more");
        for _ in 0..200 {
            garble::<C>(&mut random, &bytes);
        }
        count += 1;
    }
    assert!(count > 20, "there were messages to look at, not only {count}");
}

/// Whatever damaged bytes read as reads the same again when it is written.
fn garble<C: Consensus>(random: &mut Random, bytes: &Bytes) {
    let mut garbled = BytesMut::from(&bytes[..]);
    for _ in 0..=random.below(4) {
        let place = usize::try_from(random.below(bytes.len() as u64)).expect("within the bytes");
        garbled[place] = u8::try_from(random.below(256)).expect("a byte");
    }
    if let Ok(other) = C::Message::from_bytes(garbled.freeze()) {
        assert_eq!(C::Message::from_bytes(other.to_bytes()), Ok(other));
    }
}

/// Samples of everything that is said in elections, replication, repair and reads.
fn sent_messages<C: Consensus>(nodes: u64) -> Vec<C::Message> {
    let mut options = Options::new(nodes);
    options.samples_max = 40;
    let mut cluster = Cluster::<C>::new(options).expect("a fresh cluster breaks no law");
    let mut story = || -> super::Outcome {
        for round in 0..4 {
            let (leader, _) = elect(&mut cluster)?;
            put(&mut cluster, leader, &format!("round {round}"))?;
            cluster.read(leader)?;
            cluster.sync(leader)?;
            cluster.settle()?;
            let others = cluster.ids().into_iter().filter(|&id| id != leader).collect();
            cluster.partition(&[vec![leader], others])?;
            cluster.propose(leader, [Bytes::from_static(b"stray")])?;
            super::elect_other(&mut cluster, crate::Term(round))?;
            cluster.run(cluster.options().settings.election_timeout * 10)?;
            cluster.heal()?;
            let (leader, _) = elect(&mut cluster)?;
            cluster.transfer(leader, None)?;
            cluster.settle()?;
        }
        Ok(())
    };
    story().expect("a story without broken laws");
    cluster.samples().values().flatten().cloned().collect()
}
