//! What the log keeps for peers that were sent a snapshot.
//!
//! Whoever gets a snapshot goes on behind it, by the log. If the log forgot that meanwhile, the peer would
//! need another snapshot, and so on for ever. So from the moment a snapshot is offered the log is held
//! where the snapshot can only be later, until the peer holds what the log is about to forget: not just
//! until the last byte was sent. That can take long, and a peer may never come so far; then the bound
//! that the log's own size sets prevails.

use std::collections::BTreeMap;

use consensus::{Index, Leadership, Log, NodeId, PeerStatus};

/// The last snapshot to each peer, for as long as the log is held for it. `T` is whatever shall end with it.
#[derive(Debug)]
pub struct Holds<T> {
    peers: BTreeMap<NodeId, Hold<T>>,
}

#[derive(Debug)]
struct Hold<T> {
    number: u64,
    /// The log is kept behind this entry.
    after: Index,
    has_ended: bool,
    _what: T,
}

impl<T> Default for Holds<T> {
    fn default() -> Self {
        Self { peers: BTreeMap::new() }
    }
}

impl<T> Holds<T> {
    /// A snapshot is offered to a peer, of the store as it is now or later: all entries up to `stored` are
    /// in it. An earlier one to the same peer is over.
    pub fn offered(&mut self, peer: NodeId, number: u64, stored: Index, what: T) {
        let hold = Hold { number, after: stored, has_ended: false, _what: what };
        self.peers.insert(peer, hold);
    }

    /// The snapshot of a number to a peer was sent, or broke off. Returns whether it is the last one to it.
    pub fn ended(&mut self, peer: NodeId, number: u64) -> bool {
        let Some(hold) = self.peers.get_mut(&peer) else { return false };
        let is_present = hold.number == number;
        hold.has_ended |= is_present;
        is_present
    }

    /// Whether the log is held for a peer. If not, a snapshot that is still under way to it serves nobody.
    #[must_use]
    pub fn is_for(&self, peer: NodeId) -> bool {
        self.peers.contains_key(&peer)
    }

    /// The connection to a peer broke, and the snapshot with it.
    pub fn lost(&mut self, peer: NodeId) {
        self.peers.remove(&peer);
    }

    /// How far the log may forget, when everything up to `index` could go as far as the store and the
    /// retained tail are concerned, and everything up to `at_least` shall go whoever needs it. `None` if
    /// there is nothing to forget.
    ///
    /// `leadership` and `peers` are what the protocol says now. A node that follows another has nobody to
    /// serve. One without a leader may be about to lead: ZAB's leader is established only when a quorum is
    /// synchronized, by snapshots if need be.
    pub fn target(
        &mut self,
        log: &Log,
        (leadership, peers): (Leadership, &[PeerStatus]),
        (index, at_least): (Index, Index),
    ) -> Option<Index> {
        let mut target = index;
        if let Leadership::Following { .. } = leadership {
            self.peers.clear();
        }
        self.peers.retain(|peer, hold| {
            let status = peers.iter().find(|status| status.id == *peer);
            let matched = status.and_then(|status| status.matched).unwrap_or_default();
            target = target.min(hold.after.max(matched));
            !hold.has_ended || matched < index
        });
        let target = target.max(at_least).min(log.applied()).min(log.durable());
        (target >= log.first()).then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use consensus::{
        Effects, Entry, Payload, Persist, Position, Recovered, Settings, Standing, Term, WallTime,
    };

    use super::*;

    const PEER: NodeId = NodeId(2);
    const LEADS: Leadership = Leadership::Established { term: Term(1) };
    const FOLLOWS: Leadership = Leadership::Following { leader: NodeId(3), term: Term(2) };

    /// A log of a hundred entries, all durable and applied.
    fn log() -> Log {
        let settings = Settings::new(NodeId(1), [1, 2, 3].map(NodeId));
        let mut log = Log::new(&settings, Recovered::default());
        for index in 1..=100 {
            let position = Position::new(1, index);
            log.append(Entry { position, wall: WallTime(0), payload: Payload::Empty });
        }
        let mut effects = Effects::<()>::default();
        let sequence = log.persist(&mut effects);
        assert_eq!(
            effects.persists.last().map(|persist: &Persist| persist.sequence),
            Some(sequence)
        );
        log.persisted(sequence);
        log.commit_to(Index(100));
        log.deliver(&mut effects);
        log.applied_to(Index(100), &mut effects);
        log
    }

    fn matched(index: Option<u64>) -> Vec<PeerStatus> {
        vec![PeerStatus {
            id: PEER,
            standing: Standing::Voter,
            connected: true,
            matched: index.map(Index),
            replication: None,
            heard: None,
            round_trip: None,
        }]
    }

    fn target(
        holds: &mut Holds<()>,
        leadership: Leadership,
        peer: Option<u64>,
        (index, at_least): (u64, u64),
    ) -> Option<u64> {
        let now = (leadership, &matched(peer)[..]);
        holds.target(&log(), now, (Index(index), Index(at_least))).map(|index| index.0)
    }

    #[test]
    fn without_a_snapshot_everything_may_go_that_is_applied() {
        let mut holds = Holds::default();
        assert_eq!(target(&mut holds, LEADS, None, (90, 0)), Some(90));
        assert_eq!(target(&mut holds, LEADS, None, (200, 0)), Some(100));
        assert_eq!(target(&mut holds, LEADS, None, (0, 0)), None);
    }

    #[test]
    fn the_log_is_held_until_the_peer_has_caught_up_and_not_only_while_it_is_sent() {
        let mut holds = Holds::default();
        holds.offered(PEER, 7, Index(40), ());
        assert_eq!(target(&mut holds, LEADS, Some(0), (90, 0)), Some(40));
        assert!(!holds.ended(PEER, 6), "that was another one");
        assert!(holds.ended(PEER, 7));
        assert_eq!(target(&mut holds, LEADS, Some(0), (90, 0)), Some(40), "it is being installed");
        assert_eq!(target(&mut holds, LEADS, Some(60), (90, 0)), Some(60));
        assert_eq!(target(&mut holds, LEADS, Some(90), (90, 0)), Some(90));
        assert_eq!(target(&mut holds, LEADS, Some(0), (90, 0)), Some(90), "it had caught up");
    }

    #[test]
    fn there_is_an_end_to_what_is_held() {
        let mut holds = Holds::default();
        holds.offered(PEER, 1, Index(40), ());
        assert_eq!(target(&mut holds, LEADS, Some(0), (90, 55)), Some(55));
        holds.lost(PEER);
        assert_eq!(target(&mut holds, LEADS, Some(0), (90, 55)), Some(90));
    }

    #[test]
    fn who_is_not_established_yet_goes_on_with_what_it_sends() {
        let mut holds = Holds::default();
        holds.offered(PEER, 1, Index(40), ());
        assert_eq!(target(&mut holds, Leadership::None, None, (90, 0)), Some(40));
        assert!(holds.ended(PEER, 1), "the snapshot is still known, so its end is told");
        assert_eq!(target(&mut holds, Leadership::None, None, (90, 0)), Some(40));
        assert_eq!(target(&mut holds, LEADS, Some(95), (90, 0)), Some(90));
    }

    #[test]
    fn who_follows_has_nobody_to_serve() {
        let mut holds = Holds::default();
        holds.offered(PEER, 1, Index(40), ());
        assert_eq!(target(&mut holds, FOLLOWS, None, (90, 0)), Some(90));
        assert!(!holds.ended(PEER, 1));
    }
}
