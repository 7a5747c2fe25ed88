//! From SIGKILL of a leader to the next acknowledged write, in the way of [`crate::failover`] and with any
//! client: paced writes to the nodes that survive, each begun at a moment fixed in advance, whatever becomes of
//! those before it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use consensus::Random;

use super::Subject;
use super::client::Connection;
use super::ensemble::Ensemble;
use crate::Error;
use crate::cluster::Fault;
use crate::failover::{Failover, FailoverOptions, Pacing, ProbeError, Prober};
use crate::load::{KeyDraw, Outcome};

/// How long a probe waits for its answer. etcd gives up after 7 s.
const PROBE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long it is tried to open a connection.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);

/// Kills the leader under paced writes and watches the cluster come back. The dead node stays dead.
pub(super) async fn measure(
    ensemble: &mut Ensemble,
    subject: Subject,
    options: &FailoverOptions,
    random: &mut Random,
) -> Result<Failover, Error> {
    let (leader, survivors) = ensemble.leader().await?;
    let mut doors = Vec::new();
    for address in survivors {
        doors.push(Arc::new(Door::open(subject, address, options.value_bytes, random).await));
    }
    let keys = KeyDraw::new(options.key_distribution, options.keys);
    let doors = Doors { doors, keys, random: Random::new(random.next_u64()) };
    let mut pacing = Pacing::start(doors, options.period, options.under_way_max());
    tokio::time::sleep(options.before + random.duration_up_to(options.before_jitter)).await;

    let (struck, dead) = ensemble.kill(leader).await?;
    let limit = tokio::time::Instant::from_std(struck + options.limit);
    let (mut end, mut back, mut samples) = (limit, None, Vec::new());
    while let Ok(Some(sample)) = tokio::time::timeout_at(end, pacing.incoming.recv()).await {
        if back.is_none() {
            back = sample.ends_outage(dead);
            if back.is_some() {
                end = limit.min(tokio::time::Instant::now() + options.after);
            }
        }
        samples.push(sample);
    }
    let (_, counts) = pacing.stop().await;
    let outage = back.map(|back| back - struck);
    // Others do not tell when they elected.
    Ok(Failover::of_probes(Fault::Kill, leader.0, struck, outage, samples, counts))
}

/// The nodes that survive.
struct Doors {
    doors: Vec<Arc<Door>>,
    keys: KeyDraw,
    random: Random,
}

impl Prober for Doors {
    fn probe(
        &mut self,
        turn: usize,
    ) -> impl Future<Output = Result<(), ProbeError>> + Send + use<> {
        let count = self.doors.len();
        let doors: Vec<Arc<Door>> =
            (0..count).map(|next| Arc::clone(&self.doors[(turn + next) % count])).collect();
        let key = self.keys.draw(&mut self.random);
        let (stamp, seed) = (self.random.next_u64(), self.random.next_u64());
        async move { probe(&doors, key, stamp, Random::new(seed)).await }
    }
}

/// Sends one probe through the first door that opens. The error is its name and whether the outcome is
/// unknown.
async fn probe(
    doors: &[Arc<Door>],
    key: u64,
    stamp: u64,
    mut random: Random,
) -> Result<(), ProbeError> {
    for door in doors {
        let Some((mut connection, opened)) = door.take(&mut random).await else { continue };
        let answered = tokio::time::timeout(PROBE_TIMEOUT, connection.write(key, stamp)).await;
        let error = match answered {
            Err(_) => return Err(("client_timeout".to_owned(), true)),
            Ok(Outcome::Success) => None,
            Ok(Outcome::NotFound) => Some(("not_found".to_owned(), false)),
            Ok(Outcome::Failed { name, outcome_unknown }) => Some((name, outcome_unknown)),
        };
        door.give_back(connection, opened, error.is_some());
        return error.map_or(Ok(()), Err);
    }
    Err(("connection_failed".to_owned(), false))
}

/// One node that survives, and the connections to it that wait for the next probe.
struct Door {
    subject: Subject,
    address: SocketAddr,
    value_bytes: usize,
    waiting: Mutex<Waiting>,
    /// Held by who opens a connection that all will share, so that nobody opens another meanwhile.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    /// Of a protocol that carries several requests at once there is at most one, which is copied.
    connections: Vec<Connection>,
    /// How many were opened to be shared.
    opened: u64,
}

impl Door {
    async fn open(
        subject: Subject,
        address: SocketAddr,
        value_bytes: usize,
        random: &mut Random,
    ) -> Self {
        let door = Self {
            subject,
            address,
            value_bytes,
            waiting: Mutex::default(),
            opening: tokio::sync::Mutex::new(()),
        };
        // The first connection is there before the first probe.
        if let Some((connection, opened)) = door.take(random).await {
            door.give_back(connection, opened, false);
        }
        door
    }

    /// A connection for one probe, and which of the shared ones it is; none when the node takes none, or
    /// while somebody else opens the one that all share.
    async fn take(&self, random: &mut Random) -> Option<(Connection, u64)> {
        if let Some(waiting) = self.waiting() {
            return Some(waiting);
        }
        if !matches!(self.subject, Subject::EtcdGrpc | Subject::ZooKeeper) {
            return Some((self.connect(random).await?, 0));
        }
        let _opening = self.opening.try_lock().ok()?;
        let connection = self.connect(random).await?;
        let shared = connection.shared()?;
        let mut waiting = self.waiting.lock().expect("no holder panics");
        waiting.opened += 1;
        waiting.connections = vec![connection];
        Some((shared, waiting.opened))
    }

    /// A connection that is there already. No await while the lock is held, so a mutex of the
    /// standard library will do.
    fn waiting(&self) -> Option<(Connection, u64)> {
        let mut waiting = self.waiting.lock().expect("no holder panics");
        let opened = waiting.opened;
        if let Some(shared) = waiting.connections.last()?.shared() {
            return Some((shared, opened));
        }
        Some((waiting.connections.pop()?, opened))
    }

    async fn connect(&self, random: &mut Random) -> Option<Connection> {
        let opening = Connection::open(self.subject, self.address, self.value_bytes, random);
        tokio::time::timeout(OPEN_TIMEOUT, opening).await.ok()?.ok()
    }

    /// A probe is done with its connection.
    fn give_back(&self, connection: Connection, opened: u64, failed: bool) {
        let mut waiting = self.waiting.lock().expect("no holder panics");
        if connection.shared().is_none() {
            waiting.connections.push(connection);
        } else if failed && self.subject == Subject::ZooKeeper && waiting.opened == opened {
            // A session that lost its server would wait before it tries again; a new one does not. The
            // others connect anew by themselves.
            waiting.connections.clear();
        }
    }
}
