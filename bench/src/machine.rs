//! The machine that a measurement ran on, written down by the measurement itself: a figure without
//! its machine can not be compared with any other.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use consensus::mutant;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::stats::quantile;

/// How many writes the probe of the disk makes at most, and for how long.
const PROBE_WRITES_MAX: usize = 400;
const PROBE_TIME_MAX: Duration = Duration::from_secs(1);
/// The size of one write and of the file that the writes go round in.
const PROBE_WRITE_BYTES: usize = 512;
const PROBE_FILE_BYTES: usize = 1 << 20;
/// How often the probe in the background writes: seldom enough not to be a load of its own.
const BACKGROUND_PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// The machine, as far as it can matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The processor's name.
    pub cpu: String,
    /// How the kernel chooses the cores' clock, where it says.
    pub frequency_governor: Option<String>,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The kernel's name and release.
    pub kernel: String,
    /// What else was running: the load average of the last minute before the measurement.
    pub load_average: Option<f64>,
    /// The compiler that built this binary.
    pub rustc: String,
    /// The version of Duorum.
    pub duorum: String,
    /// The commit that it was built from, where that is known.
    pub commit: Option<String>,
    /// Whether it was built with optimisation.
    pub optimized: bool,
    /// The Cargo features that change what runs; the others only lay parts open for tests.
    pub features: Vec<String>,
}

/// The file system under a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystem {
    /// The directory.
    pub directory: String,
    /// The kind: `ext4`, `xfs`, `tmpfs`, …
    pub kind: String,
    /// Where it is mounted.
    pub mount_point: String,
    /// What is mounted.
    pub device: String,
    /// With which options of the mount.
    pub options: String,
    /// With which options of the file system itself, which decide what fdatasync does: `data=`, `nobarrier`, …
    pub super_options: String,
}

/// How long making a small write durable takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiskProbe {
    /// How many writes were made.
    pub writes: usize,
    /// The size of each in bytes.
    pub write_bytes: usize,
    /// The median of write and fdatasync together, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 were no slower.
    pub p99_ms: f64,
    /// Each of them, in the order in which they were made.
    #[serde(default)]
    pub times_ms: Vec<f64>,
}

impl Machine {
    /// Looks at the machine.
    #[must_use]
    pub fn inspect() -> Self {
        let line = |path: &str, name: &str| {
            let text = fs::read_to_string(path).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start_matches([':', ' ', '\t']).trim().to_owned())
        };
        let word = |path: &str| Some(fs::read_to_string(path).ok()?.trim().to_owned());
        let memory_kib = line("/proc/meminfo", "MemTotal")
            .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            cpu: line("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            frequency_governor: word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            memory_bytes: memory_kib.unwrap_or(0) * 1024,
            kernel: format!(
                "{} {}",
                word("/proc/sys/kernel/ostype").unwrap_or_else(|| std::env::consts::OS.to_owned()),
                word("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
            ),
            load_average: word("/proc/loadavg")
                .and_then(|text| text.split_whitespace().next()?.parse().ok()),
            rustc: env!("DUORUM_BUILD_RUSTC").to_owned(),
            duorum: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("DUORUM_BUILD_COMMIT").map(str::to_owned),
            optimized: !cfg!(debug_assertions),
            features: mutant::AVAILABLE.then(|| "mutants".to_owned()).into_iter().collect(),
        }
    }
}

impl FileSystem {
    /// Looks up the file system under an existing directory.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory is not there or the kernel does not list its mounts.
    pub fn of(directory: &Path) -> Result<Self, Error> {
        let real = directory
            .canonicalize()
            .map_err(|source| Error::path("look up the directory", directory, source))?;
        let mounts = Path::new("/proc/self/mountinfo");
        let mounts = fs::read_to_string(mounts)
            .map_err(|source| Error::path("read the mounts from", mounts, source))?;
        Ok(Self::find(&mounts, &real).unwrap_or_else(|| Self {
            directory: real.display().to_string(),
            kind: "unknown".to_owned(),
            mount_point: "unknown".to_owned(),
            device: "unknown".to_owned(),
            options: String::new(),
            super_options: String::new(),
        }))
    }

    /// Finds the mount that holds a path: the longest that is a prefix of it, and of those mounted
    /// over one another the last.
    fn find(mounts: &str, path: &Path) -> Option<Self> {
        let mount = |line: &str| {
            let (left, right) = line.split_once(" - ")?;
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let mount_point = unescape(left.get(4)?);
            path.starts_with(&mount_point).then(|| Self {
                directory: path.display().to_string(),
                kind: right.first().copied().unwrap_or("unknown").to_owned(),
                device: right.get(1).copied().unwrap_or("unknown").to_owned(),
                options: left.get(5).copied().unwrap_or_default().to_owned(),
                super_options: right.get(2).copied().unwrap_or_default().to_owned(),
                mount_point,
            })
        };
        mounts.lines().filter_map(mount).max_by_key(|found| found.mount_point.len())
    }

    /// Whether nothing written here ever reaches a disk, so that fdatasync says nothing.
    #[must_use]
    pub fn is_memory(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs")
    }
}

/// Blanks in mount points are written as octal numbers.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

impl DiskProbe {
    /// Makes small writes durable one after the other in a file of its own in this directory, which
    /// takes up to a second.
    ///
    /// # Errors
    /// [`Error::Io`] when the file can not be written.
    pub fn run(directory: &Path) -> Result<Self, Error> {
        let mut file = ProbeFile::create(directory)?;
        let begin = Instant::now();
        let mut times = vec![file.write()?];
        while times.len() < PROBE_WRITES_MAX && begin.elapsed() < PROBE_TIME_MAX {
            times.push(file.write()?);
        }
        Ok(Self::of(times))
    }

    fn of(times_ms: Vec<f64>) -> Self {
        let at = |share| quantile(&times_ms, share).expect("at least one write was made");
        Self {
            writes: times_ms.len(),
            write_bytes: PROBE_WRITE_BYTES,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            times_ms,
        }
    }
}

/// A file that is written in full first, so that writing in it, as in a preallocated log, changes no
/// metadata. Removed when dropped.
#[derive(Debug)]
struct ProbeFile {
    path: PathBuf,
    file: File,
    at: usize,
}

impl ProbeFile {
    fn create(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("disk-probe");
        let create = || {
            let mut file = OpenOptions::new().create_new(true).write(true).open(&path)?;
            file.write_all(&vec![0xa5; PROBE_FILE_BYTES])?;
            file.sync_all()?;
            Ok(file)
        };
        let file = create().map_err(|source| Error::path("create", &path, source))?;
        Ok(Self { path, file, at: PROBE_FILE_BYTES })
    }

    /// Makes one small write durable and returns how long that took, in milliseconds.
    fn write(&mut self) -> Result<f64, Error> {
        let mut write = || {
            if self.at + PROBE_WRITE_BYTES > PROBE_FILE_BYTES {
                self.file.seek(SeekFrom::Start(0))?;
                self.at = 0;
            }
            let start = Instant::now();
            self.file.write_all(&[0x5a; PROBE_WRITE_BYTES])?;
            self.file.sync_data()?;
            self.at += PROBE_WRITE_BYTES;
            Ok(start.elapsed().as_nanos() as f64 / 1e6)
        };
        write().map_err(|source| Error::path("make durable", &self.path, source))
    }
}

impl Drop for ProbeFile {
    fn drop(&mut self) {
        // A file that is left behind is a blemish and no reason to fail.
        let _ = fs::remove_file(&self.path);
    }
}

/// A probe of the disk beside a load, on a thread of its own.
#[derive(Debug)]
pub struct BackgroundDiskProbe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<f64>, Error>>,
}

impl BackgroundDiskProbe {
    /// Begins to probe in this directory.
    ///
    /// # Errors
    /// [`Error::Io`] when the file can not be made.
    pub fn start(directory: &Path) -> Result<Self, Error> {
        let mut file = ProbeFile::create(directory)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut times = vec![file.write()?];
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(BACKGROUND_PROBE_INTERVAL);
                times.push(file.write()?);
            }
            Ok(times)
        });
        Ok(Self { stop, thread })
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`Error::Io`] when a write failed.
    pub fn finish(self) -> Result<DiskProbe, Error> {
        self.stop.store(true, Ordering::Relaxed);
        let times = self.thread.join().expect("the probe does not panic")?;
        Ok(DiskProbe::of(times))
    }
}

/// How the cores spent their time since the machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTimes {
    stolen: u64,
    all: u64,
}

impl CpuTimes {
    /// Reads the kernel's counters; `None` where there are none.
    #[must_use]
    pub fn now() -> Option<Self> {
        let text = fs::read_to_string("/proc/stat").ok()?;
        let numbers: Vec<u64> = text
            .lines()
            .next()?
            .split_whitespace()
            .skip(1)
            .take(8)
            .map_while(|number| number.parse().ok())
            .collect();
        Some(Self { stolen: *numbers.get(7)?, all: numbers.iter().sum() })
    }

    /// The share of the time since then that a hypervisor gave to other machines, in percent.
    #[must_use]
    pub fn stolen_percent_since(self, earlier: Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all);
        if all == 0 {
            return 0.0;
        }
        100.0 * self.stolen.saturating_sub(earlier.stolen) as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,nobarrier,data=writeback\n\
30 22 0:25 / /dev/shm rw,nosuid shared:5 - tmpfs tmpfs rw,size=100k\n\
31 22 8:1 / /mnt/my\\040disk rw,noatime - xfs /dev/sda1 rw\n";

    #[test]
    fn the_innermost_mount_holds_a_path() {
        let kind = |path: &str| {
            let found = FileSystem::find(MOUNTS, Path::new(path)).expect("the root holds all");
            (found.kind, found.mount_point)
        };
        assert_eq!(kind("/home/x"), ("ext4".to_owned(), "/".to_owned()));
        assert_eq!(kind("/dev/shm/x"), ("tmpfs".to_owned(), "/dev/shm".to_owned()));
        assert_eq!(kind("/dev/shmoo"), ("ext4".to_owned(), "/".to_owned()));
        assert_eq!(kind("/mnt/my disk/x"), ("xfs".to_owned(), "/mnt/my disk".to_owned()));
        let root = FileSystem::find(MOUNTS, Path::new("/home")).expect("the root holds all");
        let options = (root.options.as_str(), root.super_options.as_str());
        assert_eq!(options, ("rw,relatime", "rw,nobarrier,data=writeback"));
    }

    #[test]
    fn this_machine_can_be_described() {
        let machine = Machine::inspect();
        assert!(machine.cores >= 1 && machine.rustc.starts_with("rustc "), "{machine:?}");
        let directory = tempfile::tempdir().expect("a directory");
        let file_system = FileSystem::of(directory.path()).expect("mounted somewhere");
        assert!(!file_system.kind.is_empty());
        let probe = DiskProbe::run(directory.path()).expect("writable");
        assert_eq!(probe.times_ms.len(), probe.writes);
        assert!(probe.writes > 0 && probe.p50_ms > 0.0 && probe.p50_ms <= probe.p99_ms);
        let background = BackgroundDiskProbe::start(directory.path()).expect("writable");
        thread::sleep(Duration::from_millis(60));
        assert!(background.finish().expect("writable").writes > 1);
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 0);
    }

    #[test]
    fn stolen_time_is_a_share_of_what_passed() {
        let earlier = CpuTimes { stolen: 10, all: 1_000 };
        let later = CpuTimes { stolen: 15, all: 1_100 };
        assert_eq!(later.stolen_percent_since(earlier), 5.0);
        assert_eq!(earlier.stolen_percent_since(earlier), 0.0);
    }
}
