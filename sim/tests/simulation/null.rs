//! Clusters of one node without a protocol: the stack below and above, under every fault.

use crate::support::all_hold;
use consensus::Null;
use sim::Profile;

#[test]
fn laws_hold_whatever_breaks() {
    for profile in Profile::ALL {
        all_hold::<Null>(9, 1, profile);
    }
}
