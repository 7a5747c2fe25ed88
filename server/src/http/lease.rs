//! Leases: `POST /v1/leases`, `GET /v1/leases`, `GET` and `DELETE /v1/leases/{lease}`,
//! `POST /v1/leases/{lease}/keepalive`.
//!
//! ```text
//! $ curl localhost:2379/v1/leases -d '{"ttl": "10s"}'
//! {"lease":7,"ttl_ms":10000,"revision":2}
//! $ curl -X PUT localhost:2379/v1/kv/alive/node-1?lease=7 -d yes
//! {"created":true,"revision":3}
//! $ curl localhost:2379/v1/leases/7
//! {"lease":7,"ttl_ms":10000,"remaining_ms":9350,"keys":[{"key":"alive/node-1"}],"revision":3}
//! $ curl -X POST localhost:2379/v1/leases/7/keepalive
//! {"lease":7,"ttl_ms":10000,"revision":3}
//! $ curl -X DELETE localhost:2379/v1/leases/7
//! {"deleted":1,"revision":4}
//! ```
//!
//! A session is a lease whose time the server has a say in:
//!
//! ```text
//! $ curl localhost:2379/v1/leases -d '{"ttl": "1h", "session": true}'
//! {"lease":5,"ttl_ms":40000,"revision":3}
//! ```
//!
//! A time of less than 2 s is raised to that: a lease shall outlive a change of leader.

mod ended;
mod granted;
mod read;

use std::time::Duration;

use hyper::Uri;
use kvcore::LeaseId;
use kvcore::lease::LEASE_TTL_MILLIS_MAX;

use super::call::Kind;
use super::call::kind;
use super::error::{ApiError, ErrorName};
use super::parameters::{decode, excerpt};

pub(super) use ended::{REVOKE, revoke};
#[cfg(feature = "fuzzing")]
pub(super) use granted::parse;
pub(super) use granted::{GRANT, KEEP_ALIVE, grant, keep_alive};
pub(super) use read::{LIST, SHOW, list, show};

/// The least that a lease lives.
pub(crate) const LEASE_TTL_LEAST: Duration = Duration::from_millis(TTL_MILLIS_LEAST);
const TTL_MILLIS_LEAST: u64 = 2_000;
/// The longest that a lease lives.
const TTL_MAX: Duration = Duration::from_millis(LEASE_TTL_MILLIS_MAX);

/// What the time of a lease may be.
pub(super) const TTL: Kind = Kind::Duration { least: Duration::from_millis(1), most: TTL_MAX };

/// How long a lease lives for which this was asked, in milliseconds.
pub(super) fn ttl_millis(asked: Duration) -> u64 {
    u64::try_from(asked.as_millis()).unwrap_or(u64::MAX).max(TTL_MILLIS_LEAST)
}

/// The time of a lease as a body has it; the error says what is allowed.
pub(super) fn parse_ttl(name: &str, text: &str) -> Result<u64, ApiError> {
    let body = |error: ApiError| ApiError::new(ErrorName::InvalidBody, error.message);
    TTL.check(name, text.as_bytes()).map_err(body)?;
    Ok(ttl_millis(kind::duration(text.as_bytes()).expect("it was checked to be a time")))
}

/// The lease of a path.
pub(super) fn from_path(uri: &Uri) -> Result<LeaseId, ApiError> {
    let rest = uri.path().strip_prefix("/v1/leases/").unwrap_or_default();
    let given = decode(rest.split('/').next().unwrap_or_default())?;
    kind::lease(&given).ok_or_else(|| {
        ApiError::new(
            ErrorName::LeaseNotFound,
            format!(
                "`{}` is no lease; a lease is {}. GET /v1/leases lists those that there are",
                excerpt(&given),
                kind::LEASE_ALLOWED
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lives_two_seconds_at_least_and_as_etcds_at_most() {
        assert_eq!(parse_ttl("ttl", "10s"), Ok(10_000));
        assert_eq!(parse_ttl("ttl", "1ms"), Ok(2_000));
        assert_eq!(parse_ttl("ttl", "2001ms"), Ok(2_001));
        assert_eq!(parse_ttl("ttl", "9000000000s"), Ok(9_000_000_000_000));
        for wrong in ["", "0s", "10", "soon", "9000000000s1ms", "-1s"] {
            let error = parse_ttl("ttl", wrong).expect_err(wrong);
            assert_eq!(error.name, ErrorName::InvalidBody);
            assert!(error.message.contains("from 1ms to 9000000000s"), "{}", error.message);
        }
    }

    #[test]
    fn a_path_names_a_lease() {
        let lease = |path: &str| from_path(&path.parse().expect("a URI")).map_err(|e| e.name);
        assert_eq!(lease("/v1/leases/7"), Ok(LeaseId::new(7).expect("not 0")));
        assert_eq!(lease("/v1/leases/-7/keepalive"), Ok(LeaseId::new(-7).expect("not 0")));
        for wrong in ["0", "x", "", "9223372036854775808", "7%00"] {
            assert_eq!(lease(&format!("/v1/leases/{wrong}")), Err(ErrorName::LeaseNotFound));
        }
    }
}
