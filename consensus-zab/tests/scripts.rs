//! Scripts with golden transcripts: one behaviour a file, the file's name is the sentence that it
//! proves.

use std::path::Path;

use consensus_zab::Zab;

test_each_file::test_each_path! { in "./consensus-zab/scripts" as scripts => run }

fn run(path: &Path) {
    consensus::script::run::<Zab>(path);
}
