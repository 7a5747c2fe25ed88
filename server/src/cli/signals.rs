//! The signals that ask the process to end.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// How many signals may wait to be heard.
const SIGNALS_MAX: usize = 4;

/// Ends when the process is asked to end.
pub(super) fn shutdown() -> io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Does work that takes a while, and tells when the process is asked to end meanwhile.
pub(super) fn on_shutdown(asked: impl FnOnce() + Send, work: impl FnOnce()) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked_to_end = {
        let _entered = runtime.enter();
        shutdown()?
    };
    std::thread::scope(|scope| {
        let (working, done) = tokio::sync::oneshot::channel::<()>();
        scope.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = asked_to_end => asked(),
                    _ = done => {}
                }
            });
        });
        work();
        drop(working);
    });
    Ok(())
}

/// Each time that the process is asked to end, also because its terminal is gone, unless `nohup` says
/// that this is no reason.
pub(super) fn all() -> io::Result<mpsc::Receiver<&'static str>> {
    let (sender, receiver) = mpsc::channel(SIGNALS_MAX);
    let mut kinds = vec![(SignalKind::terminate(), "SIGTERM"), (SignalKind::interrupt(), "SIGINT")];
    if !hangup_is_ignored() {
        kinds.push((SignalKind::hangup(), "SIGHUP"));
    }
    for (kind, name) in kinds {
        let (mut signals, sender) = (signal(kind)?, sender.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                // Beyond so many the wish is clear.
                let _ = sender.try_send(name);
            }
        });
    }
    Ok(receiver)
}

/// Whether the process was started with SIGHUP ignored; where the system does not tell, it was not.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = 1 << (SignalKind::hangup().as_raw_value() - 1);
    mask.is_some_and(|mask| mask & bit != 0)
}
