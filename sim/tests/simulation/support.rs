//! What all simulations in tests share: which seeds run, and what is shown when one fails.

use consensus::{Consensus, Protocol};
use sim::{Profile, SimOptions, run};

/// The seeds: as many as the test says, or as many as `DUORUM_SIM_SEEDS` says, for a long soak; from
/// `DUORUM_SIM_FIRST` on, to look at one again.
#[expect(clippy::disallowed_methods, reason = "how long a soak lasts is not part of any run")]
fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let first: u64 = number("DUORUM_SIM_FIRST").unwrap_or(0);
    first..first + number("DUORUM_SIM_SEEDS").unwrap_or(count)
}

/// Runs so many seeds, and shows the first that breaks a law.
pub(crate) fn all_hold<C: Consensus>(count: u64, nodes: u64, profile: Profile) {
    for seed in seeds(count) {
        let mut options = SimOptions::of_seed(seed, nodes, profile);
        if C::PROTOCOL == Protocol::Null {
            options.observers = 0;
        }
        if let Err(failure) = run::<C>(&options) {
            panic!("{failure}");
        }
    }
}
