//! Tests in a program that is also something else: with a verb it acts, otherwise it runs its tests.

use std::io::Write as _;
use std::process::ExitCode;

/// A test and its name.
pub(crate) type Test = (&'static str, fn());

/// Whether the program was started with one of these verbs, and something behind it: a verb alone is what tests are
/// chosen by.
pub(crate) fn has_verb(verbs: &[&str]) -> bool {
    let mut arguments = std::env::args().skip(1);
    arguments.next().is_some_and(|first| verbs.contains(&&first[..])) && arguments.next().is_some()
}

/// Runs the tests one after another: those whose names contain the first word of the command line, if
/// there is one. A failed assertion ends the program and so fails the test target.
pub(crate) fn run(tests: &[Test]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let lists = arguments.iter().any(|argument| argument == "--list");
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let mut output = std::io::stdout();
    for (name, test) in tests {
        if filter.is_some_and(|part| !name.contains(&part[..])) {
            continue;
        }
        if lists {
            let _ = writeln!(output, "{name}: test");
            continue;
        }
        let _ = write!(output, "test {name} ... ").and_then(|()| output.flush());
        test();
        let _ = writeln!(output, "ok");
    }
    ExitCode::SUCCESS
}
