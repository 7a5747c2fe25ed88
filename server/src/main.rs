//! The program `duorum`.

use std::process::ExitCode;

/// Steadier under many threads than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    server::cli::main()
}
