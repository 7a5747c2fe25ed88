//! A comparison with made-up figures: a drift over the blocks that both protocols share, and noise.

use std::collections::BTreeMap;

use bench::cluster::{Counters, Fault, ResourceUse};
use bench::compare::{Comparison, Floor, Loads, Mixed, Plan, Run, Settings, Side, Step, Writes};
use bench::exact::{Brief, BriefCost, BriefElections, BriefFigures};
use bench::failover::{Failover, FailoverOptions, Probe, Timeline};
use bench::load::{Kind, LatencyReport, LoadReport, Samples};
use bench::loopback::LoopbackProbe;
use bench::machine::{DiskProbe, FileSystem, Machine};
use bench::watch::Delivery;
use consensus::Random;

const SHARES: [f64; 9] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999];

/// A comparison in which Raft is better by this factor in everything.
pub(crate) fn comparison(blocks: usize, advantage: f64) -> Comparison {
    let mut settings = Settings::new(7, false);
    settings.blocks = blocks;
    let plan = Plan::toss(&settings);
    let mut random = Random::new(3);
    let mut runs = Vec::new();
    for (block, coin) in plan.blocks.iter().enumerate() {
        let drift = 1.0 + 0.04 * (block as f64).sin();
        for (place, side) in coin.order().into_iter().enumerate() {
            let factor = if side == Side::A { advantage } else { 1.0 };
            runs.push(run(block, place, side, drift * factor, &mut random));
        }
    }
    let floors = (0..2).map(|number| floor(number * 4 * blocks, &mut random)).collect();
    let times_ms = vec![0.31, 1.1];
    let disk = DiskProbe { writes: 2, write_bytes: 512, p50_ms: 0.31, p99_ms: 1.1, times_ms };
    let times_ms = vec![0.021, 0.06];
    let loopback =
        LoopbackProbe { round_trips: 2, bytes: 64, p50_ms: 0.021, p99_ms: 0.06, times_ms };
    Comparison {
        format: 3,
        began_at_seconds: 1_795_314_660,
        took_seconds: 161.0,
        command: "duorum compare".to_owned(),
        machine: machine(),
        file_system: FileSystem {
            directory: "/var/tmp/duorum-compare-x".to_owned(),
            kind: "ext4".to_owned(),
            mount_point: "/".to_owned(),
            device: "/dev/vda".to_owned(),
            options: "rw,relatime".to_owned(),
            super_options: "rw".to_owned(),
        },
        disk_before: disk.clone(),
        disk_after: disk,
        loopback_before: loopback.clone(),
        loopback_after: loopback,
        stolen_percent: Some(0.1),
        settings,
        failover_options: FailoverOptions::new(Fault::Kill),
        plan,
        runs,
        floors,
        exclusions: Vec::new(),
    }
}

fn machine() -> Machine {
    Machine {
        cores: 2,
        cpu: "Example CPU".to_owned(),
        frequency_governor: None,
        memory_bytes: 24 << 30,
        kernel: "Linux 6.1.0".to_owned(),
        load_average: Some(0.1),
        rustc: "rustc 1.95.0".to_owned(),
        duorum: "0.1.0".to_owned(),
        commit: None,
        optimized: true,
        features: Vec::new(),
    }
}

/// A number around 1.
fn noise(random: &mut Random) -> f64 {
    0.97 + 0.06 * random.below(1_000) as f64 / 1_000.0
}

fn run(block: usize, place: usize, side: Side, factor: f64, random: &mut Random) -> Run {
    let write = load(12_500.0 * factor * noise(random), 5.0 / factor, 500.0, 1_800.0, random);
    let protocol = if side == Side::A { "raft" } else { "zab" };
    let start_ms = 400.0 * noise(random);
    let fill = load(11_000.0, 5.0, 0.0, 900.0, random);
    let read = load(21_000.0 * factor * noise(random), 3.0 / factor, 200.0, 800.0, random);
    let written = write.operations_with_warmup as f64;
    let used = ResourceUse {
        cpu_seconds: written * 95e-6 / factor * noise(random),
        memory_peak_bytes_max: 92 << 20,
    };
    let counters = counters(written / factor, random);
    Run {
        block,
        place,
        side,
        start_ms,
        commands: vec![format!("duorum serve --protocol {protocol} --id 1"); 3],
        statuses: vec![serde_json::json!({"role": "leader"})],
        loads: Loads {
            fill: Some(fill),
            write: Some(Writes { report: write, used, counters }),
            read: Some(read),
            ..Loads::default()
        },
        failovers: (0..2).map(|_| failover(180.0 / factor * noise(random), random)).collect(),
        beside_faults: Vec::new(),
    }
}

fn counters(writes: f64, random: &mut Random) -> Counters {
    let counters = [
        ("duorum_protocol_messages_sent_total{message=\"A\"}", 4.0),
        ("duorum_protocol_messages_sent_total{message=\"B\"}", 2.0),
        ("duorum_peer_frames_sent_total", 0.6),
        ("etcd_network_peer_sent_bytes_total", 850.0),
        ("duorum_wal_fsyncs_total", 0.14),
        ("etcd_disk_wal_write_bytes_total", 1_100.0),
    ];
    let counters: BTreeMap<&str, f64> = counters
        .into_iter()
        .map(|(name, each)| (name, (each * writes * noise(random)).round()))
        .collect();
    serde_json::from_value(serde_json::json!(counters)).expect("counters are a map")
}

fn load(per_second: f64, p50: f64, warmup: f64, window: f64, random: &mut Random) -> LoadReport {
    let bars = ((warmup + window) / 100.0) as usize;
    let timeline: Vec<u32> = (0..bars)
        .map(|bar| (per_second / 10.0 * noise(random) * if bar < 2 { 0.7 } else { 1.0 }) as u32)
        .collect();
    let curve: Vec<(f64, f64)> = SHARES
        .into_iter()
        .map(|share| (share, p50 * noise(random) * (0.3 + 0.8 * -(1.0 - share).ln())))
        .collect();
    let at = |share: f64| curve.iter().find(|point| point.0 >= share).expect("a point").1;
    LoadReport {
        warmup_ms: warmup,
        window_ms: window,
        operations: (per_second * window / 1e3) as u64,
        operations_with_warmup: (per_second * (window + warmup) / 1e3) as u64,
        per_second,
        latency: LatencyReport {
            mean_ms: p50 * 1.1,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: p50 * 9.0,
            curve: curve.clone(),
            samples: samples(p50, (per_second * window / 1e3) as u64, random),
        },
        latency_by_kind: BTreeMap::new(),
        not_found: 0,
        errors: BTreeMap::new(),
        unknown_outcomes: 0,
        not_sent: 0,
        timeline_step_ms: 100.0,
        timeline,
    }
}

/// So many latencies, with a long tail.
fn samples(p50: f64, count: u64, random: &mut Random) -> Samples {
    let noise = noise(random);
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for number in 0..count {
        let beyond = (number as f64 + 0.5) / count as f64;
        let ms = p50 * noise * (0.3 + 0.8 * -beyond.ln());
        *counts.entry((ms * 20.0).round() as u64 * 50).or_default() += 1;
    }
    let text: Vec<String> = counts.iter().map(|(at, count)| format!("{at}:{count}")).collect();
    serde_json::from_value(text.join(" ").into()).expect("samples are text")
}

fn failover(outage: f64, random: &mut Random) -> Failover {
    let probes: Vec<Probe> = (-50..(outage as i64 / 4 + 25))
        .map(|number| {
            let intended_ms = number as f64 * 4.0;
            let waits = intended_ms > 0.0 && intended_ms < outage;
            let wait = if waits { outage - intended_ms } else { 0.0 };
            Probe {
                intended_ms,
                latency_ms: wait + 0.9 * noise(random),
                error: (number == 0).then(|| "unknown_outcome".to_owned()),
            }
        })
        .collect();
    Failover {
        fault: Fault::Kill,
        node: 1,
        outage_ms: Some(outage),
        refused: None,
        probes,
        errors: BTreeMap::from([("unknown_outcome".to_owned(), 1)]),
        unknown_outcomes: 1,
        not_sent: 0,
        unanswered: 0,
        load: None,
        timeline: timeline(outage),
        healing_gap_ms: Some(2.1),
        turns: Vec::new(),
    }
}

/// The moments of an election that takes so long.
fn timeline(outage: f64) -> Timeline {
    let at = |share: f64| Some(outage * share);
    Timeline {
        fault_us: 1_000_000,
        suspected_ms: at(0.1),
        candidate_ms: at(0.2),
        elected_ms: at(0.6),
        synchronized_ms: at(0.9),
        first_commit_ms: at(0.9),
        first_write_committed_ms: at(0.95),
        first_write_ms: at(1.0),
        followers_caught_up_ms: at(0.92),
        healed_ms: at(1.5),
        all_caught_up_ms: at(1.9),
        elections: 1,
        ..Timeline::default()
    }
}

fn floor(after_runs: usize, random: &mut Random) -> Floor {
    let write = load(38_000.0 * noise(random), 1.6, 500.0, 1_800.0, random);
    let echo = load(82_000.0 * noise(random), 0.7, 300.0, 1_000.0, random);
    let written = write.operations_with_warmup as f64;
    let used = ResourceUse { cpu_seconds: written * 22e-6, memory_peak_bytes_max: 60 << 20 };
    let counters = counters(written * 0.3, random);
    let read = load(70_000.0 * noise(random), 0.9, 200.0, 800.0, random);
    let null = Loads {
        fill: None,
        write: Some(Writes { report: write, used, counters }),
        read: Some(read),
        ..Loads::default()
    };
    Floor { after_runs, echo, null }
}

/// A mixed load with watchers, and what they were told.
pub(crate) fn mixed(factor: f64, random: &mut Random) -> Mixed {
    let mut report = load(30_000.0 * factor * noise(random), 2.0 / factor, 500.0, 1_800.0, random);
    for (kind, p50) in Kind::ALL.into_iter().zip([3.0, 1.5, 2.5]) {
        let of_kind = load(10_000.0, p50 / factor, 500.0, 1_800.0, random).latency;
        report.latency_by_kind.insert(kind, of_kind);
    }
    let latency = load(1_000.0, 3.0 / factor, 500.0, 1_800.0, random).latency;
    let delivery =
        Delivery { streams: 2, events: 9_000, missed: 0, repeated: 0, cancelled: 0, latency };
    Mixed { report, delivery: Some(delivery) }
}

/// Exact figures.
pub(crate) fn brief(random: &mut Random) -> Brief {
    let figures = |messages| BriefFigures { messages, frames: 6, bytes: 140 * messages, syncs: 3 };
    let cost = |what: &str, times, raft, zab| BriefCost {
        what: what.to_owned(),
        times,
        raft: figures(raft),
        zab: figures(zab),
    };
    let costs = vec![cost("a put", 1, 6, 6), cost("64 puts at once", 64, 258, 384)];
    let mut elections = |place: &str, protocol: &str, micros: u64| {
        let established: Vec<u64> = (0..200).map(|_| micros + random.below(micros)).collect();
        BriefElections {
            place: place.to_owned(),
            protocol: protocol.to_owned(),
            acknowledged_micros: established.iter().map(|micros| micros + 500).collect(),
            established_micros: established,
        }
    };
    let elections = vec![
        elections("LAN", "raft", 9_000),
        elections("LAN", "zab", 4_000),
        elections("WAN", "raft", 150_000),
        elections("WAN", "zab", 250_000),
    ];
    Brief { costs, elections }
}

/// The steps of both curves: throughput that grows, and latencies that grow beyond a rate.
pub(crate) fn steps(factor: f64, random: &mut Random) -> [Vec<Step>; 2] {
    let sweep = [1.0, 8.0, 64.0].map(|at| {
        let per_second = 20_000.0 * factor * at / (at + 16.0) * noise(random);
        Step { at, report: load(per_second, 1.0, 300.0, 1_000.0, random) }
    });
    let paced = [1_000.0, 8_000.0, 16_000.0, 32_000.0].map(|at| {
        let p50 = if at > 10_000.0 { 40.0 } else { 1.0 } / factor * noise(random);
        let mut report = load(at, p50, 300.0, 1_000.0, random);
        report.not_sent = if at > 20_000.0 { 5_000 } else { 0 };
        Step { at, report }
    });
    [sweep.to_vec(), paced.to_vec()]
}
