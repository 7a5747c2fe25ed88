//! Months of writes squeezed into minutes: does a cluster stay as small and as fast as it was?
//!
//! Many writes to few keys, so that almost everything that is written is soon history, which
//! compaction must take out of the store, and retention out of the log. Every few seconds it is noted
//! how fast writes are, what each process occupies of memory and what its files occupy of the disk.
//!
//! The beginning, in which caches fill and files are made, does not count. What follows is divided
//! into ten equal numbers of writes, and the last tenth is held against the first.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus::NodeId;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::cluster::{Agreement, Cluster, Disk, Memory};
use crate::load::{Background, BackgroundOptions, Ledger, Verdict, Window};

/// How often it is noted how far the writers are.
const NOTE_INTERVAL: Duration = Duration::from_millis(100);
/// What a key of the load is long.
const KEY_BYTES: u64 = "bench/000000".len() as u64;
const LOG_BYTES: &str = "etcd_disk_wal_write_bytes_total";
/// What the servers keep of the log unless told otherwise: so many entries, but no more bytes.
pub const RETAIN_LOG_ENTRIES: u64 = 200_000;
/// See [`RETAIN_LOG_ENTRIES`].
pub const RETAIN_LOG_BYTES: u64 = 256 << 20;

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SoakOptions {
    /// How many writes are to be acknowledged.
    pub count: u64,
    /// How many keys there are.
    pub keys: u64,
    /// How many writers there are.
    pub connections: usize,
    /// The size of a value in bytes.
    pub value_bytes: usize,
    /// How often the nodes are looked at.
    pub interval: Duration,
    /// How long the beginning is that does not count.
    pub warmup: Duration,
    /// Where keys and values come from.
    pub seed: u64,
}

impl SoakOptions {
    /// Refuses what can not be run.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is allowed.
    pub fn check(&self) -> Result<(), Error> {
        if self.interval < NOTE_INTERVAL {
            return Err(Error::Usage(format!(
                "a look every {} ms: allowed are {} or more",
                self.interval.as_millis(),
                NOTE_INTERVAL.as_millis()
            )));
        }
        self.writers(Vec::new()).check(self.keys)
    }

    fn writers(&self, endpoints: Vec<SocketAddr>) -> BackgroundOptions {
        BackgroundOptions {
            endpoints,
            connections: self.connections,
            value_bytes: self.value_bytes,
            per_second: None,
            enough: Some(self.count),
            seed: self.seed,
        }
    }
}

/// What was seen at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// How long after the start.
    pub seconds: f64,
    /// Writes acknowledged since the start.
    pub acknowledged: u64,
    /// What the writers saw since the last look.
    pub window: Window,
    /// Each node, in the order of their numbers.
    pub nodes: Vec<NodeLook>,
}

/// What was seen of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLook {
    /// Its number.
    pub node: u64,
    /// What the process occupies of memory.
    pub memory: Memory,
    /// What its files occupy.
    pub disk: Disk,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Soak {
    /// How long the writing took.
    pub seconds: f64,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Writes a second over all.
    pub per_second: f64,
    /// Writes a second in the first tenth after the warm-up, if it was long enough to tell.
    pub first_tenth_per_second: Option<f64>,
    /// Writes a second in the last tenth.
    pub last_tenth_per_second: Option<f64>,
    /// The most memory that any process ever occupied, in bytes (`VmHWM`).
    pub memory_peak_bytes: u64,
    /// The most that was seen of any process during the first tenth, in bytes.
    pub memory_first_tenth_bytes: Option<u64>,
    /// The most that was seen of any process during the last tenth, in bytes.
    pub memory_last_tenth_bytes: Option<u64>,
    /// Keys and their latest values, in bytes.
    pub live_bytes: u64,
    /// What a node's log has to keep, in bytes: what the servers retain by default of entries as
    /// long as they were.
    pub retained_log_bytes: u64,
    /// The most that the files of any node ever occupied.
    pub disk_max: Disk,
    /// What the files of the fullest node occupy at the end.
    pub disk_end: Disk,
    /// Every look.
    pub looks: Vec<Look>,
    /// Whether all replicas have the same at the end.
    pub agreement: Agreement,
    /// Whether everything acknowledged is there.
    pub verdict: Verdict,
}

impl Soak {
    /// How fast the end was compared with the beginning.
    #[must_use]
    pub fn throughput_ratio(&self) -> Option<f64> {
        Some(self.last_tenth_per_second? / self.first_tenth_per_second?)
    }

    /// The most that a node's files occupied, beside three times the live data and the log that is to
    /// be retained.
    #[must_use]
    pub fn disk_ratio(&self) -> f64 {
        let allowed = (3 * self.live_bytes + self.retained_log_bytes).max(1);
        self.disk_max.total_bytes() as f64 / allowed as f64
    }

    /// Failed writes by the name of the error.
    #[must_use]
    pub fn errors(&self) -> BTreeMap<String, u64> {
        let mut errors = BTreeMap::new();
        for (name, count) in self.looks.iter().flat_map(|look| look.window.errors()) {
            *errors.entry(name).or_default() += count;
        }
        errors
    }

    /// The promises that were broken.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        self.verdict.broken_promises(&self.agreement)
    }
}

/// Writes until enough is acknowledged. Each look is shown as soon as it is there.
///
/// # Errors
/// [`Error::Usage`] for impossible options, [`Error::Node`] when a node fails.
pub async fn measure(
    cluster: &mut Cluster,
    options: &SoakOptions,
    bar: &ProgressBar,
    mut show: impl FnMut(&Look),
) -> Result<Soak, Error> {
    options.check()?;
    let writers = options.writers(cluster.endpoints());
    bar.set_length(options.count);
    let ledger = Arc::new(Ledger::new(options.keys));
    let load = Background::start(writers, &ledger)?;
    let began = Instant::now();
    let (mut notes, mut looks) = (vec![(0.0, 0)], Vec::new());
    let mut next_look = began + options.interval;
    while !load.has_enough() {
        tokio::time::sleep(NOTE_INTERVAL).await;
        for id in cluster.ids() {
            cluster.check_running(id)?;
        }
        let (seconds, acknowledged) = (began.elapsed().as_secs_f64(), load.acknowledged());
        notes.push((seconds, acknowledged));
        bar.set_position(acknowledged.min(options.count));
        if Instant::now() >= next_look {
            next_look += options.interval;
            let look = Look { seconds, acknowledged, window: load.window(), nodes: look(cluster) };
            show(&look);
            looks.push(look);
        }
    }
    // The answers that the writers still wait for count as well.
    let window = load.stop().await;
    let seconds = began.elapsed().as_secs_f64();
    let before: u64 = looks.iter().map(|look: &Look| look.window.acknowledged).sum();
    let acknowledged = before + window.acknowledged;
    let last = Look { seconds, acknowledged, window, nodes: look(cluster) };
    show(&last);
    looks.push(last);
    // Every node writes every entry.
    let logged = cluster.counters().await?.sum(LOG_BYTES).unwrap_or(0.0);
    let logged = logged / cluster.ids().len() as f64;
    bar.set_message("do all replicas have the same?");
    let agreement = cluster.agreement().await?;
    bar.set_message("is everything there that was acknowledged?");
    let verdict = ledger.verify(&cluster.endpoints(), bar).await?;
    let entry_bytes = logged / acknowledged.max(1) as f64;
    let retained_log_bytes = RETAIN_LOG_ENTRIES.min(acknowledged) as f64 * entry_bytes;
    let nodes = || looks.iter().flat_map(|look| &look.nodes);
    let tenths = tenths(&notes, options.warmup.as_secs_f64());
    let memory_in = |from: f64, to: f64| {
        let within = looks.iter().filter(|look| (from..=to).contains(&look.seconds));
        let nodes = within.flat_map(|look| &look.nodes);
        nodes.map(|node| node.memory.resident_bytes).max()
    };
    let last = looks.last().into_iter().flat_map(|look| &look.nodes);
    Ok(Soak {
        seconds,
        acknowledged,
        per_second: acknowledged as f64 / seconds,
        first_tenth_per_second: tenths.map(|(first, _)| first.per_second),
        last_tenth_per_second: tenths.map(|(_, last)| last.per_second),
        memory_peak_bytes: nodes().map(|node| node.memory.peak_bytes).max().unwrap_or(0),
        memory_first_tenth_bytes: tenths.and_then(|(first, _)| memory_in(first.from, first.to)),
        memory_last_tenth_bytes: tenths.and_then(|(_, last)| memory_in(last.from, last.to)),
        live_bytes: verdict.keys * (KEY_BYTES + options.value_bytes as u64),
        retained_log_bytes: (retained_log_bytes as u64).min(RETAIN_LOG_BYTES),
        disk_max: nodes().map(|node| node.disk).max_by_key(|d| d.total_bytes()).unwrap_or_default(),
        disk_end: last.map(|node| node.disk).max_by_key(|d| d.total_bytes()).unwrap_or_default(),
        looks,
        agreement,
        verdict,
    })
}

fn look(cluster: &Cluster) -> Vec<NodeLook> {
    let look = |id: NodeId| NodeLook {
        node: id.0,
        memory: cluster.memory(id).unwrap_or_default(),
        disk: cluster.disk(id),
    };
    cluster.ids().into_iter().map(look).collect()
}

/// A part of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tenth {
    from: f64,
    to: f64,
    per_second: f64,
}

/// The first and the last tenth of the writes after the warm-up, from notes of how many there were
/// after how many seconds. `None` when the notes are too few to tell.
fn tenths(notes: &[(f64, u64)], warmup_seconds: f64) -> Option<(Tenth, Tenth)> {
    let notes = &notes[notes.partition_point(|&(seconds, _)| seconds < warmup_seconds)..];
    let (&first, &last) = (notes.first()?, notes.last()?);
    let tenth = (last.1 - first.1) / 10;
    let first_end = notes.iter().find(|note| note.1 >= first.1 + tenth)?;
    let last_begin = notes.iter().rfind(|note| note.1 <= last.1 - tenth)?;
    let part = |from: (f64, u64), to: (f64, u64)| {
        let per_second = (to.1 - from.1) as f64 / (to.0 - from.0);
        (to.0 > from.0).then_some(Tenth { from: from.0, to: to.0, per_second })
    };
    Some((part(first, *first_end)?, part(*last_begin, last)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tenth_is_held_against_the_first_after_the_warm_up() {
        // Slow for 5 s, then 100 a second for 50 s, then 50 a second for 50 s.
        let mut notes = vec![(0.0, 0)];
        for second in 1..=105u64 {
            let per_second = match second {
                1..=5 => 1,
                6..=55 => 100,
                _ => 50,
            };
            let (_, before) = notes[notes.len() - 1];
            notes.push((second as f64, before + per_second));
        }
        let (first, last) = tenths(&notes, 5.0).expect("enough");
        assert_eq!((first.per_second, last.per_second), (100.0, 50.0));
        assert_eq!((first.from, first.to), (5.0, 13.0));
        assert_eq!((last.from, last.to), (90.0, 105.0));
    }

    #[test]
    fn too_few_notes_tell_nothing() {
        assert_eq!(tenths(&[], 0.0), None);
        assert_eq!(tenths(&[(0.0, 0)], 0.0), None);
        assert_eq!(tenths(&[(0.0, 0), (1.0, 1_000)], 2.0), None);
        let (first, last) = tenths(&[(0.0, 0), (1.0, 1_000)], 0.0).expect("enough");
        assert_eq!(first, last);
    }
}
