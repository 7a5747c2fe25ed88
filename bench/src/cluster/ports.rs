//! Ports that are free.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{SystemTime, UNIX_EPOCH};

use consensus::Random;

use crate::Error;

/// Ports below are used by well-known services.
const LOWEST: u16 = 15_000;
/// How many draws are made before the search is given up.
const DRAWS_MAX: usize = 10_000;

/// Distinct loopback addresses whose ports nobody listens on.
///
/// They lie below the range from which the kernel takes the ports of outgoing connections: a client
/// could otherwise get the port of a node that is down for a moment, and keep it from coming back.
pub(super) fn free(count: usize) -> Result<Vec<SocketAddr>, Error> {
    let above = ephemeral_start().unwrap_or(32_768).max(LOWEST + 1_000);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Not the measurement's seed: two measurements with the same seed must not want the same ports, nor one that
    // tries others within the same second.
    let mut random = Random::new(
        u64::from(std::process::id()) << 32
            ^ since_epoch.as_secs().rotate_left(30)
            ^ u64::from(since_epoch.subsec_nanos()),
    );
    // The listeners are held until all are found, so that no port is found twice.
    let mut held = Vec::with_capacity(count);
    for _ in 0..DRAWS_MAX {
        if held.len() == count {
            break;
        }
        let offset = random.below(u64::from(above - LOWEST));
        let port = LOWEST + u16::try_from(offset).expect("the range is one of ports");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((listener, SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        }
    }
    if held.len() < count {
        return Err(Error::Usage(format!(
            "only {} of {count} free ports found between {LOWEST} and {above}",
            held.len()
        )));
    }
    Ok(held.into_iter().map(|(_, address)| address).collect())
}

/// Where the ports of outgoing connections begin.
fn ephemeral_start() -> Option<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn whoever_asks_again_at_once_gets_others() {
        let (first, second) = (free(20).expect("free"), free(20).expect("free"));
        assert!(
            first.iter().filter(|port| second.contains(port)).count() < 5,
            "{first:?} {second:?}"
        );
    }

    #[test]
    fn free_ports_are_distinct_and_can_be_bound() {
        let ports = free(20).expect("twenty ports are free");
        let distinct: BTreeSet<_> = ports.iter().collect();
        assert_eq!(distinct.len(), 20);
        for port in ports {
            TcpListener::bind(port).expect("the port was free just now");
        }
    }
}
