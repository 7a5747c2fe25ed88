//! The scripts of the null protocol: the harness itself, without any replication.

use std::path::Path;

use consensus::Null;

test_each_file::test_each_path! { in "./consensus/tests/scripts" as scripts => run }

fn run(path: &Path) {
    consensus::script::run::<Null>(path);
}
