//! The cost sheet of the documentation is what is counted now, and what its formulas say.

use std::sync::LazyLock;

use bench::exact::{Counts, Deed, ELECTIONS_DEFAULT, chances, page};
use sim::costs::{Asked, Counted, Request, Shape};

/// The most things that may happen in the simulator for the sheet: a quarter more than do. A bound in seconds
/// would depend on the machine; `docs/performance.md` says how long these take.
const HAPPENINGS_MAX: u64 = 56_000_000;

static COUNTS: LazyLock<Counts> =
    LazyLock::new(|| Counts::of(|_, _| true).unwrap_or_else(|violation| panic!("{violation}")));

#[test]
fn the_cost_sheet_of_the_documentation_is_current() {
    let documented = include_str!("../../docs/cost-sheet.md");
    let chances = chances(ELECTIONS_DEFAULT, &|_| {});
    let chances = chances.unwrap_or_else(|violation| panic!("{violation}"));
    let counted = page(&COUNTS, &chances);
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
    let happenings = chances.happenings() + COUNTS.happenings();
    assert!(
        happenings <= HAPPENINGS_MAX,
        "{happenings} things happened for the sheet, which is to take two minutes of two cores; at most \
         {HAPPENINGS_MAX} may. Find out what became dearer, or measure the time again and raise the bound"
    );
}

/// Messages, bytes and syncs.
type Theory = [u64; 3];

/// What the page says that Raft costs, in formulas.
fn theory_of_raft(deed: Deed, Shape { voters: n, observers: o }: Shape) -> Option<Theory> {
    let others = n - 1 + o;
    Some(match deed {
        Deed::Puts(asked, k) => {
            let (forward, bytes) = handed_on(asked);
            [(2 * k + 1) * others + forward, (334 * k + 105) * others + bytes, n + o]
        }
        Deed::Read(_, Request::Linearizable) => {
            let away = answered(deed);
            [2 * others + away, 68 * others + 15 * away, 0]
        }
        Deed::Read(..) => [answered(deed), 15 * answered(deed), 0],
        Deed::Election => [7 * (n - 2) + 3 * o, 233 * (n - 2) + 134 * o, 2 * (n - 1) + o],
        Deed::Rejoin(k) if k <= 1_000 => [2 * k + 2, 334 * k + 134, 1],
        Deed::Rejoin(_) => return None,
    })
}

/// What the page says that ZAB costs, in formulas.
fn theory_of_zab(deed: Deed, Shape { voters: n, observers: o }: Shape) -> Option<Theory> {
    let followers = n - 1;
    Some(match deed {
        Deed::Puts(asked, k) => {
            let (forward, bytes) = handed_on(asked);
            let messages = 3 * k * followers + (k + 1) * o;
            let of_observers = (334 * k + 40) * o;
            [messages + forward, (334 * k + 90) * followers + of_observers + bytes, n + o]
        }
        Deed::Read(_, Request::Linearizable) => {
            let away = answered(deed);
            [2 * followers + away, 36 * followers + 15 * away, 0]
        }
        Deed::Read(..) => [answered(deed), 15 * answered(deed), 0],
        Deed::Election => {
            let notifications = n * (n - 1) * (n - 2 + o) / 2 + 2 * o * (n - 1);
            let learners = n - 2 + o;
            let bytes = 31 * notifications + 181 * (n - 2) + 177 * o;
            [notifications + 7 * learners, bytes, 2 * (n - 1) + o]
        }
        Deed::Rejoin(k) if k <= 1_000 => {
            [k + 7 + 2 * followers + o, 334 * k + 199 + 62 * followers + 31 * o, 1]
        }
        Deed::Rejoin(_) => return None,
    })
}

/// The message and the bytes that hand a write to the leader.
fn handed_on(asked: Asked) -> (u64, u64) {
    if asked == Asked::Leader { (0, 0) } else { (1, 323) }
}

/// The question and the answer of who has to ask the leader.
fn answered(deed: Deed) -> u64 {
    match deed {
        Deed::Read(Asked::Follower | Asked::Observer, Request::Linearizable | Request::Sync) => 2,
        _ => 0,
    }
}

#[test]
fn every_row_is_what_its_formula_says() {
    let figures = |counted: &Counted| {
        let sent = counted.cost.total();
        [sent.messages, sent.bytes, counted.cost.syncs]
    };
    let mut rows = 0;
    for (deed, shape, [raft, zab]) in COUNTS.iter() {
        if let Some(theory) = theory_of_raft(deed, shape) {
            assert_eq!(figures(raft), theory, "Raft, {deed:?} of {shape:?}");
            rows += 1;
        }
        if let Some(theory) = theory_of_zab(deed, shape) {
            assert_eq!(figures(zab), theory, "ZAB, {deed:?} of {shape:?}");
            rows += 1;
        }
    }
    assert!(rows > 300, "{rows} rows");
}

/// Where one frame does not hold everything there is no formula; but who else is there makes the difference that
/// it makes where one does.
#[test]
fn who_is_there_makes_the_same_difference_to_long_rejoins_as_to_short_ones() {
    let three = Shape { voters: 3, observers: 0 };
    let total = |deed, shape, protocol: usize| {
        let counted = &COUNTS.get(deed, shape).expect("it was counted")[protocol];
        let sent = counted.cost.total();
        [sent.messages, sent.frames, sent.bytes, counted.cost.syncs]
    };
    for shape in bench::exact::SHAPES {
        for protocol in [0, 1] {
            let [short, long] = [10, 100_000].map(|behind| {
                let deed = Deed::Rejoin(behind);
                let [here, there] = [shape, three].map(|shape| total(deed, shape, protocol));
                [0, 1, 2, 3].map(|figure| here[figure] - there[figure])
            });
            assert_eq!(short, long, "{shape:?}");
        }
    }
}
