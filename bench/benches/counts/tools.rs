//! What it takes to count.

use std::env;
use std::process::Command;

/// The version of gungraun in `Cargo.toml`; its runner must be the same.
const GUNGRAUN: &str = "0.20.0";

/// Looks for valgrind and gungraun's runner, and says what counts depend on besides the code.
///
/// # Errors
/// What is missing, and how it is installed.
pub(super) fn find() -> Result<String, String> {
    let valgrind = version("valgrind");
    let runner = version(option_env!("GUNGRAUN_RUNNER").unwrap_or("gungraun-runner"));
    let has_runner = runner.as_ref().is_some_and(|found| found.ends_with(GUNGRAUN));
    if let (Some(valgrind), true) = (&valgrind, has_runner) {
        let rustc = env!("DUORUM_BUILD_RUSTC").split(" (").next().unwrap_or_default();
        return Ok(format!("{valgrind}, {rustc}, {}", env::consts::ARCH));
    }
    let mut problem = "instructions can not be counted on this machine.".to_owned();
    if valgrind.is_none() {
        problem.push_str(
            "\n  valgrind is missing. On Debian and Ubuntu: apt-get install valgrind (of Linux, x86_64 or \
             aarch64)",
        );
    }
    if !has_runner {
        let found =
            runner.map_or("missing".to_owned(), |found| format!("another version, {found}"));
        problem.push_str(&format!(
            "\n  gungraun-runner, which runs programs under valgrind for gungraun {GUNGRAUN}, is {found}. \
             cargo install --locked gungraun-runner --version {GUNGRAUN}"
        ));
    }
    problem.push_str(
        "\nThe other benchmarks need neither: cargo bench -p bench --bench consensus --bench paths --bench \
         protocols",
    );
    Err(problem)
}

/// What a program says of its version, if it is there.
fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}
