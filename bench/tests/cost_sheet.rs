//! The cost sheet of the documentation is what is counted now.

use bench::exact::{ELECTIONS_DEFAULT, chances, sheet};

#[test]
fn the_cost_sheet_of_the_documentation_is_current() {
    let documented = include_str!("../../docs/cost-sheet.md");
    let counted = chances(ELECTIONS_DEFAULT, &|_| {}).and_then(|chances| sheet(&chances));
    let counted = counted.unwrap_or_else(|violation| panic!("{violation}"));
    for (line, (documented, counted)) in documented.lines().zip(counted.lines()).enumerate() {
        assert_eq!(
            documented,
            counted,
            "line {} of docs/cost-sheet.md. If the change of cost is meant: `cargo run --release -- compare \
             --exact > docs/cost-sheet.md`",
            line + 1
        );
    }
    assert_eq!(documented.lines().count(), counted.lines().count());
}
