//! What the shared parts of the protocols cost on one core: the way of a proposal through a protocol
//! core without replication, and the codec of entries. No clock, disk or socket is involved, so a
//! change here is a change of the code.

#![allow(missing_docs, reason = "criterion's macros make public items without docs")]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use consensus::codec::{get_list, put_list};
use consensus::{
    Consensus, Effects, Entry, Index, Input, NodeId, Now, Null, NullMessage, Payload,
    PersistSequence, Position, Recovered, Settings, Term, Timer, Token, WallTime,
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// The value size of every measurement of this project.
const VALUE_BYTES: usize = 256;
/// How many proposals share one write and one flush.
const BATCHES: [u64; 3] = [1, 16, 256];

/// A node of the null protocol that takes proposals, and the driver's part of it.
#[derive(Clone)]
struct Node {
    core: Null,
    effects: Effects<NullMessage>,
    persisted: PersistSequence,
}

impl Node {
    fn established() -> Self {
        let settings = Settings::new(NodeId(1), [NodeId(1)]);
        let now = Now::from_millis(1);
        let core = Null::start(now, settings, Recovered::default()).expect("an empty log starts");
        let mut node =
            Self { core, effects: Effects::default(), persisted: PersistSequence::default() };
        node.core.step(now, Input::Timer(Timer::Election), &mut node.effects);
        node.make_durable(now);
        node
    }

    /// What a driver does after a series of inputs: flush, write, tell, apply.
    fn make_durable(&mut self, now: Now) {
        self.core.step(now, Input::Flush, &mut self.effects);
        if let Some(last) = self.effects.persists.last() {
            self.persisted = last.sequence;
        }
        self.core.step(now, Input::Persisted(self.persisted), &mut self.effects);
        if let Some(last) = self.effects.deliveries.last().map(Entry::index) {
            self.core.step(now, Input::Applied(last), &mut self.effects);
        }
    }

    /// Commits and delivers a batch of proposals; returns how many came out.
    fn commit(&mut self, batch: u64, command: &Bytes) -> usize {
        self.effects.clear();
        let now = Now::from_millis(2);
        for token in 0..batch {
            let input = Input::Propose { token: Token(token), command: command.clone() };
            self.core.step(now, input, &mut self.effects);
        }
        self.make_durable(now);
        self.effects.deliveries.len()
    }
}

fn proposals(criterion: &mut Criterion) {
    let command = Bytes::from(vec![0x5a; VALUE_BYTES]);
    let mut group = criterion.benchmark_group("null_propose_to_deliver");
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch));
        group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            let mut node = Node::established();
            bencher.iter(|| {
                let delivered = node.commit(batch, &command);
                assert_eq!(delivered as u64, batch, "everything durable is delivered");
                delivered
            });
        });
    }
    group.finish();
}

fn barriers(criterion: &mut Criterion) {
    criterion.bench_function("null_read_barrier", |bencher| {
        let mut node = Node::established();
        let now = Now::from_millis(2);
        bencher.iter(|| {
            node.effects.clear();
            node.core.step(now, Input::ReadBarrier { token: Token(1) }, &mut node.effects);
            assert_eq!(node.effects.answers.len(), 1, "a barrier is answered at once");
        });
    });
}

fn entries(count: u64) -> Vec<Entry> {
    (1..=count)
        .map(|index| Entry {
            position: Position { term: Term(3), index: Index(index) },
            wall: WallTime(1_795_314_660_000),
            payload: Payload::Command(Bytes::from(vec![0x5a; VALUE_BYTES])),
        })
        .collect()
}

fn codec(criterion: &mut Criterion) {
    let mut encode = criterion.benchmark_group("entries_encode");
    for count in BATCHES {
        let list = entries(count);
        encode.throughput(Throughput::Elements(count));
        encode.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            let mut out = BytesMut::with_capacity(1 << 20);
            bencher.iter(|| {
                out.clear();
                put_list(&mut out, black_box(&list));
                out.len()
            });
        });
    }
    encode.finish();
    let mut decode = criterion.benchmark_group("entries_decode");
    for count in BATCHES {
        let mut out = BytesMut::new();
        put_list(&mut out, &entries(count));
        let encoded = out.freeze();
        decode.throughput(Throughput::Elements(count));
        decode.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter_batched(
                || encoded.clone(),
                |mut input| get_list::<Entry>(&mut input).expect("what was encoded").len(),
                BatchSize::SmallInput,
            );
        });
    }
    decode.finish();
}

criterion_group!(benches, proposals, barriers, codec);
criterion_main!(benches);
