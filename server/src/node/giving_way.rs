//! Work for which nobody waits, on threads that give way to those for which somebody does.

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long such work goes on without a pause. Linux lets a thread run to the end of its slice, some 3 ms, before
/// one that was woken meanwhile has its turn, whatever their priorities.
const STRETCH_MAX: Duration = Duration::from_micros(300);
/// The pause: long enough that those who wait for the processor have it.
const PAUSE: Duration = Duration::from_micros(50);

thread_local! {
    /// When this thread began to work without a pause.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Makes a short pause if this thread has not made one for a while. For work that must be done in time, so that
/// the lowest priority is none for it, and that computes for milliseconds: to be called every few microseconds.
pub(crate) fn let_others_run() {
    match BEGAN.get() {
        Some(began) if began.elapsed() < STRETCH_MAX => return,
        Some(_) => std::thread::sleep(PAUSE),
        None => {}
    }
    BEGAN.set(Some(Instant::now()));
}

/// Runs work of any length on a thread of its own with the lowest priority: on a machine with few cores
/// a long copy would otherwise take turns with the threads that serve clients. The runtime waits for it
/// when it shuts down.
pub(crate) fn spawn_giving_way(name: &str, work: impl FnOnce() + Send + 'static) {
    let name = name.to_owned();
    let work = Arc::new(Mutex::new(Some(work)));
    tokio::task::spawn_blocking(move || {
        let for_thread = Arc::clone(&work);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            give_way();
            take_and_do(&for_thread);
        });
        match thread {
            Ok(thread) => thread.join().expect("the work does not panic"),
            // Where there are no more threads to be had, it is done here.
            Err(_) => take_and_do(&work),
        }
    });
}

fn take_and_do(work: &Mutex<Option<impl FnOnce()>>) {
    let work = work.lock().expect("nobody panics while holding this lock").take();
    if let Some(work) = work {
        work();
    }
}

/// Linux gives each thread a priority of its own; elsewhere it is the whole process that has one.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, 19) {
        tracing::debug!("the priority of this thread stays as it is: {error}");
    }
}
