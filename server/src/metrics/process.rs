//! What the operating system knows of this process.

use rustix::time::{ClockId, clock_gettime};

/// The process's use of the machine, as of now. What can not be read is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Resident memory.
    pub(crate) resident_bytes: u64,
    /// Open file descriptors.
    pub(crate) open_descriptors: u64,
    /// Processor time used since the start, all threads together.
    pub(crate) cpu_seconds: f64,
}

/// Reads the usage.
pub(crate) fn usage() -> Usage {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    // A process has far fewer seconds than a double has integers.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let cpu_seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    Usage {
        resident_bytes: resident_bytes().unwrap_or(0),
        open_descriptors: open_descriptors(),
        cpu_seconds,
    }
}

/// The second field of `/proc/self/statm`, in pages.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The directory lists the descriptor by which it is read, too: it is not counted.
fn open_descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |list| list.count().saturating_sub(1) as u64)
}

#[cfg(test)]
mod tests {
    use super::usage;

    #[test]
    fn a_running_process_uses_something_of_everything() {
        let usage = usage();
        assert!(usage.resident_bytes > 100_000, "{usage:?}");
        assert!(usage.open_descriptors >= 3, "{usage:?}");
        assert!(usage.cpu_seconds > 0.0, "{usage:?}");
    }
}
