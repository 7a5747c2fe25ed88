//! What `duorum serve` is started with: flags, environment, a file, and defaults, in this order of
//! precedence. Whatever is unknown or impossible is an error that says what is allowed.

mod flags;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod log;
mod mechanisms;
mod retention;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use consensus::{NodeId, Protocol};
use kvcore::lease::LEASE_TTL_MILLIS_MAX;
use kvcore::{SessionTimeouts, VALUE_BYTES_MAX};
use storage::identity::CLUSTER_NAME_BYTES_MAX;

pub use self::flags::ServeFlags;
pub(crate) use self::log::log_filter;
pub use self::mechanisms::{CommitNotices, Detector, Switch};
use crate::http::{LEASE_TTL_LEAST, Limits};
use crate::node::config::NodeConfig;

/// The most nodes of a cluster: more than anybody gains from.
const NODES_MAX: usize = 64;
/// The longest time that any timer of the protocols may have.
const TIMER_MAX: Duration = Duration::from_secs(60);
/// An election timeout has room for at least so many heartbeats, or one lost frame would depose a
/// leader.
const HEARTBEATS_PER_TIMEOUT_MIN: u32 = 3;
/// The largest handicap: more would be another server.
const HANDICAP_MAX: Duration = Duration::from_millis(1);
/// How often a watch of `/v3` may be told that nothing happened, as in etcd.
const WATCH_PROGRESS_MIN: Duration = Duration::from_millis(100);

/// Everything that a server is started with, checked.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// The node.
    pub node: NodeConfig,
    /// Where to answer HTTP. Port 0 takes any free one.
    pub http_address: SocketAddr,
    /// What clients may ask for.
    pub limits: Limits,
    /// Which events are logged, in the syntax of `tracing`'s `EnvFilter`.
    pub log: String,
}

/// Why a server can not be started with this configuration: what is wrong and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

fn error<T>(message: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError(message.into()))
}

impl ServeConfig {
    /// The defaults for a cluster of this one node on any free ports: for tests and experiments.
    #[must_use]
    pub fn alone(protocol: Protocol, data_directory: PathBuf) -> Self {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let id = NodeId(1);
        let members = BTreeMap::from([(id, "127.0.0.1:0".to_owned())]);
        Self {
            node: NodeConfig::new(id, protocol, members, anywhere, data_directory),
            http_address: anywhere,
            limits: Limits::default(),
            log: "info".to_owned(),
        }
    }

    /// Merges flags and environment with the file that they name, and checks the whole.
    ///
    /// # Errors
    /// What is wrong and what is allowed.
    pub fn from_flags(flags: ServeFlags) -> Result<Self, ConfigError> {
        let flags = flags.with_file()?;
        let protocol = parse_protocol(flags.protocol.as_deref().unwrap_or("raft"))?;
        let id = flags.id.unwrap_or(1);
        if id == 0 {
            return error(
                "--id is 0; allowed: 1 or more, another number for each node of the cluster",
            );
        }
        let id = NodeId(id);
        let listed = flags.cluster.as_deref().map(parse_cluster).transpose()?;
        if let Some(members) = &listed
            && !members.contains_key(&id)
        {
            let ids: Vec<_> = members.keys().map(|id| id.0.to_string()).collect();
            return error(format!(
                "--id is {}, which is not in --cluster; allowed: one of {}",
                id.0,
                ids.join(", ")
            ));
        }
        let own =
            listed.as_ref().and_then(|members| members.get(&id)).map(|own| own.address.clone());
        let peer = flags.peer.clone().or(own).unwrap_or_else(|| "127.0.0.1:2380".to_owned());
        let alone = || BTreeMap::from([(id, Member { address: peer.clone(), observes: false })]);
        let listed = listed.unwrap_or_else(alone);
        let observers = listed.iter().filter(|(_, member)| member.observes).map(|(&id, _)| id);
        let observers: BTreeSet<NodeId> = observers.collect();
        let members: BTreeMap<NodeId, String> =
            listed.into_iter().map(|(id, member)| (id, member.address)).collect();
        if protocol == Protocol::Null && members.len() > 1 {
            return error(format!(
                "the protocol null does not replicate, so a cluster of {} nodes would not be \
                 one; allowed: one node, or --protocol raft or zab",
                members.len()
            ));
        }
        let peer_address = resolve("--peer", &peer)?;
        let http = flags.http.clone().unwrap_or_else(|| "127.0.0.1:2379".to_owned());
        let http_address = resolve("--http", &http)?;
        if http_address == peer_address && http_address.port() != 0 {
            return error(format!(
                "--http and --peer are both {http_address}; allowed: two different addresses"
            ));
        }
        let mut node = NodeConfig::new(
            id,
            protocol,
            members,
            peer_address,
            flags
                .data_dir
                .clone()
                .unwrap_or_else(|| PathBuf::from(format!("duorum-data/{}", id.0))),
        );
        node.observers = observers;
        if let Some(name) = flags.cluster_name.clone() {
            node.cluster_name = check_cluster_name(name)?;
        }
        set_timers(&mut node, flags.heartbeat, flags.election_timeout)?;
        mechanisms::set_mechanisms(&mut node, &flags)?;
        retention::set_retention(&mut node, &flags)?;
        if let Some(bytes) = flags.store_cache_bytes {
            within("--store-cache-bytes", bytes, 1 << 20, 1 << 40)?;
            node.store_cache_bytes = bytes;
        }
        node.faults.enabled = flags.enable_faults.unwrap_or(false);
        let mut limits = Limits::default();
        if let Some(bytes) = flags.max_value_bytes {
            within("--max-value-bytes", bytes, 1, VALUE_BYTES_MAX)?;
            limits.value_bytes_max = bytes;
        }
        if let Some(connections) = flags.max_connections {
            within("--max-connections", connections, 1, 1_000_000)?;
            limits.connections_max = connections;
        }
        if let Some(interval) = flags.watch_progress_interval {
            if interval < WATCH_PROGRESS_MIN {
                return Err(ConfigError(format!(
                    "--watch-progress-interval is {}; allowed: {} and more",
                    humantime::format_duration(interval),
                    humantime::format_duration(WATCH_PROGRESS_MIN)
                )));
            }
            limits.watch_progress_interval = interval;
        }
        if let Some(handicap) = flags.handicap {
            if handicap > HANDICAP_MAX {
                return Err(ConfigError(format!(
                    "--handicap is {}; allowed: 0s to {}",
                    humantime::format_duration(handicap),
                    humantime::format_duration(HANDICAP_MAX)
                )));
            }
            limits.handicap = handicap;
        }
        limits.session_timeouts =
            session_timeouts(flags.session_timeout_min, flags.session_timeout_max)?;
        let log = flags.log.unwrap_or_else(|| "info".to_owned());
        log::check(&log)?;
        Ok(Self { node, http_address, limits, log })
    }

    /// What a user should know before the server starts.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let exposed: BTreeSet<_> = [self.http_address, self.node.peer_address]
            .into_iter()
            .filter(|address| !address.ip().is_loopback())
            .collect();
        let mut warnings = self.node.mechanisms.warnings();
        if self.node.faults.enabled {
            warnings.push(
                "faults are enabled: whoever reaches this node can pause and kill it, and make its \
                 disk fail"
                    .to_owned(),
            );
        }
        if exposed.is_empty() {
            return warnings;
        }
        let addresses: Vec<_> = exposed.iter().map(ToString::to_string).collect();
        warnings.push(format!(
            "{} can be reached from other machines, without encryption or passwords: whoever \
             reaches it can read and write everything",
            addresses.join(" and ")
        ));
        warnings
    }
}

fn parse_protocol(name: &str) -> Result<Protocol, ConfigError> {
    Protocol::from_name(name)
        .ok_or_else(|| ConfigError(format!("--protocol is `{name}`; allowed: raft, zab or null")))
}

/// A node as `--cluster` lists it.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    address: String,
    observes: bool,
}

/// Parses `1=HOST:PORT,2=HOST:PORT,…`, of which some may end with `/observer`.
fn parse_cluster(text: &str) -> Result<BTreeMap<NodeId, Member>, ConfigError> {
    let form = "allowed: ID=HOST:PORT for each node, separated by commas, as \
                1=10.0.0.1:2380,2=10.0.0.2:2380, and /observer behind a node that does not vote";
    let mut members: BTreeMap<NodeId, Member> = BTreeMap::new();
    for part in text.split(',').map(str::trim) {
        let Some((id, address)) = part.split_once('=') else {
            return error(format!("--cluster has `{part}`; {form}"));
        };
        let (id, address) = (id.trim(), address.trim());
        let (address, observes) = match address.split_once('/') {
            None => (address, false),
            Some((address, "observer")) => (address, true),
            Some((_, role)) => {
                return error(format!("--cluster has the role `{role}` in `{part}`; {form}"));
            }
        };
        let Some(id) = id.parse().ok().filter(|id| *id > 0).map(NodeId) else {
            return error(format!("--cluster has the node number `{id}`; allowed: 1 or more"));
        };
        check_address("--cluster", address)?;
        if members.values().any(|other| other.address == address) {
            return error(format!(
                "--cluster has the address {address} twice; allowed: another one for each node"
            ));
        }
        let member = Member { address: address.to_owned(), observes };
        if members.insert(id, member).is_some() {
            return error(format!(
                "--cluster has the node {} twice; allowed: another number for each node",
                id.0
            ));
        }
    }
    if members.values().all(|member| member.observes) {
        return error(
            "--cluster has observers only, which decide nothing; allowed: at least one node \
             without /observer",
        );
    }
    if members.len() > NODES_MAX {
        return error(format!(
            "--cluster has {} nodes; allowed: at most {NODES_MAX}",
            members.len()
        ));
    }
    Ok(members)
}

fn check_address(flag: &str, address: &str) -> Result<(), ConfigError> {
    let valid = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if valid {
        Ok(())
    } else {
        error(format!(
            "{flag} has the address `{address}`; allowed: HOST:PORT with a port from 0 to \
             65535, as 127.0.0.1:2380"
        ))
    }
}

fn resolve(flag: &str, address: &str) -> Result<SocketAddr, ConfigError> {
    check_address(flag, address)?;
    let resolved = address.to_socket_addrs().map(|mut addresses| addresses.next());
    match resolved {
        Ok(Some(resolved)) => Ok(resolved),
        Ok(None) => error(format!(
            "{flag} is `{address}`, which has no address; allowed: HOST:PORT of this machine"
        )),
        Err(cause) => error(format!(
            "{flag} is `{address}`, which can not be resolved: {cause}; allowed: HOST:PORT of \
             this machine"
        )),
    }
}

fn check_cluster_name(name: String) -> Result<String, ConfigError> {
    let valid = (1..=CLUSTER_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if valid {
        Ok(name)
    } else {
        error(format!(
            "--cluster-name is `{name}`; allowed: 1 to {CLUSTER_NAME_BYTES_MAX} letters, \
             digits, dots, dashes and underscores"
        ))
    }
}

/// The bounds of sessions. The longest time that is allowed is that of a lease.
fn session_timeouts(
    min: Option<Duration>,
    max: Option<Duration>,
) -> Result<SessionTimeouts, ConfigError> {
    let defaults = SessionTimeouts::default();
    let (min, max) = (min.unwrap_or(defaults.min()), max.unwrap_or(defaults.max()));
    let shown = humantime::format_duration;
    if min < LEASE_TTL_LEAST {
        return error(format!(
            "--session-timeout-min is {}; allowed: {} and more, as for every lease",
            shown(min),
            shown(LEASE_TTL_LEAST)
        ));
    }
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    SessionTimeouts::new(millis(min), millis(max)).map_err(|_| {
        ConfigError(format!(
            "--session-timeout-max is {}; allowed: --session-timeout-min, here {}, to {}s",
            shown(max),
            shown(min),
            LEASE_TTL_MILLIS_MAX / 1_000
        ))
    })
}

fn set_timers(
    node: &mut NodeConfig,
    heartbeat: Option<Duration>,
    election_timeout: Option<Duration>,
) -> Result<(), ConfigError> {
    node.heartbeat_interval = heartbeat.unwrap_or(node.heartbeat_interval);
    node.election_timeout = election_timeout.unwrap_or(node.election_timeout);
    let (heartbeat, timeout) = (node.heartbeat_interval, node.election_timeout);
    let shown = humantime::format_duration;
    if heartbeat < Duration::from_millis(1) || heartbeat > TIMER_MAX {
        return error(format!(
            "--heartbeat is {}; allowed: 1ms to {}",
            shown(heartbeat),
            shown(TIMER_MAX)
        ));
    }
    let least = heartbeat * HEARTBEATS_PER_TIMEOUT_MIN;
    if timeout < least {
        return error(format!(
            "--election-timeout is {}; allowed: at least {HEARTBEATS_PER_TIMEOUT_MIN} times \
             --heartbeat, here {}",
            shown(timeout),
            shown(least)
        ));
    }
    if timeout > TIMER_MAX {
        return error(format!(
            "--election-timeout is {}; allowed: at most {}",
            shown(timeout),
            shown(TIMER_MAX)
        ));
    }
    Ok(())
}

fn within(flag: &str, value: usize, least: usize, most: usize) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        error(format!("{flag} is {value}; allowed: {least} to {most}"))
    }
}

#[cfg(test)]
mod tests;
