//! How many instructions the hot paths of a node take, counted by valgrind: the same number on a busy machine
//! as on an idle one, so that a regression shows where times only scatter.
//!
//! The kernel's work is not in it, nor what the processor makes of an instruction: `paths` measures the same
//! runs by the clock. The counts are compared with those of `docs/instruction-counts.md`, which also says what
//! they depend on.
//!
//! ```text
//! cargo bench -p bench --bench instructions                              counts and compares
//! UPDATE_GOLDENFILES=1 cargo bench -p bench --bench instructions         writes the page anew
//! cargo bench -p bench --bench instructions -- --save-baseline=before    and whatever else gungraun takes
//! ```

#![allow(missing_docs, reason = "gungraun's macros make public items without docs")]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that counts, and prints what it counted"
)]

mod counts;
mod hot;

use std::env;
use std::process::ExitCode;

use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group};
use hot::Path;

/// A path with what its first run takes.
struct Ready<P: Path> {
    path: P,
    work: P::Work,
}

/// A path with what a run left.
struct Finished<P: Path> {
    path: P,
    done: P::Done,
}

/// A path that is ready for its second run: buffers are there, and everything was used once.
fn ready<P: Path>() -> Ready<P> {
    let mut path = P::prepare();
    let work = path.next();
    let done = path.run(work);
    path.check(done);
    let work = path.next();
    Ready { path, work }
}

impl<P: Path> Ready<P> {
    /// One run.
    fn run(self) -> Finished<P> {
        let Self { mut path, work } = self;
        let done = path.run(work);
        Finished { path, done }
    }
}

impl<P: Path> Finished<P> {
    /// See [`Path::check`].
    fn check(self) {
        let Self { mut path, done } = self;
        path.check(done);
    }
}

macro_rules! count_each {
    ($($name:ident: $path:ident, $what:literal;)*) => {
        $(
            #[library_benchmark]
            #[bench::run(args = (), setup = ready::<hot::$path>, teardown = Finished::<hot::$path>::check)]
            fn $name(ready: Ready<hot::$path>) -> Finished<hot::$path> {
                ready.run()
            }
        )*

        library_benchmark_group!(name = paths; benchmarks = $($name),*);

        /// Every path: its name, what it does, and how many elements that is for.
        const PATHS: &[counts::Row] = &[
            $(counts::Row { name: stringify!($name), what: $what, elements: hot::$path::ELEMENTS },)*
        ];

        /// Runs every path without counting.
        fn run_each() {
            $(ready::<hot::$path>().run().check();)*
        }
    };
}
hot::for_each_path!(count_each);

/// What gungraun makes of the above: a program that has itself run under valgrind.
fn harness() {
    gungraun::main!(
        // Caches are not simulated: what is counted is not what they do.
        config = LibraryBenchmarkConfig::default()
            .tool(Callgrind::with_args(["--cache-sim=no"]));
        library_benchmark_groups = paths
    );
    main();
}

fn main() -> ExitCode {
    if counts::is_counted() {
        harness();
        return ExitCode::SUCCESS;
    }
    // Of `cargo test --benches`, as other benchmarks have it: it takes no valgrind.
    if env::args().all(|argument| argument != "--bench") {
        run_each();
        println!("every path ran; `cargo bench -p bench --bench instructions` counts");
        return ExitCode::SUCCESS;
    }
    match counts::compare(PATHS) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("\n{problem}");
            ExitCode::FAILURE
        }
    }
}
