//! Output. That nobody reads it any more, as behind `| head`, is no failure.

use std::io::{self, Write as _};

use super::{Complaint, Exit};

/// Writes bytes to stdout.
pub(super) fn bytes(bytes: &[u8]) -> Result<(), Complaint> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // The reader has what it wanted: end quietly, as other programs do.
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(cause) => {
            Err(Complaint::new(Exit::Unavailable, format!("stdout can not be written: {cause}")))
        }
        Ok(()) => Ok(()),
    }
}

/// Writes a line to stdout.
pub(super) fn line(text: &str) -> Result<(), Complaint> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes a complaint to stderr.
pub(super) fn complain(text: &str) {
    // Where even stderr is closed there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "duorum: {text}");
}

/// Columns of equal width, numbers as they come.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| {
            rows.iter()
                .filter_map(|row| row.get(at))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn a_table_is_aligned_and_has_no_trailing_space() {
        let rows = [["node", "role"], ["1", "follower"], ["12", "leader"]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(table(&rows), "node  role\n1     follower\n12    leader\n");
    }
}
