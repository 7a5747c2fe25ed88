//! The laws that hold between nodes, checked after every event of a script or simulation.
//!
//! [`Invariants`] is told what it may see and remembers what it saw:
//!
//! | law | where it comes from |
//! |---|---|
//! | at most one leader is established in a term or epoch, ever | Raft Fig. 3 Election Safety; ZAB Leadership1, Leadership2, primary uniqueness |
//! | at most one node is accepted as leader by a quorum in a term or epoch, ever, also before it is established | ZAB's discovery: a server accepts an epoch once |
//! | a leader only appends to its log | Raft Leader Append-Only |
//! | equal positions are equal entries with equal entries before them | Raft Log Matching; ZAB TotalOrder, history consistency |
//! | what is committed is the same everywhere and never changes | Raft State Machine Safety; ZAB Agreement, PrefixConsistency |
//! | nobody removes what leaders of its term or of earlier ones committed | ZAB CommittedLogDurability |
//! | an established leader holds all that earlier terms committed; in ZAB it has committed that itself | Raft Leader Completeness; ZAB PrimaryIntegrity, LeaderLogCompleteness, CommittedLogMonotonicity |
//! | an established leader begins with the initial histories of all before it | ZAB initial history integrity, commit consistency, GlobalPrimaryOrder |
//! | whoever joins an epoch holds the initial history of its leader, and behind it only what was proposed in the epoch | ZAB ProcessConsistency, history consistency: history, then currentEpoch |
//! | promises, commit positions and what was forgotten never go back while a node lives | Raft §5.1 |
//! | promises never go back, not even across a restart | Raft §5.1; ZAB acceptedEpoch, currentEpoch |
//! | what a node knew durable is there after its restart | both papers' stable storage |
//! | `applied ≤ delivered ≤ commit ≤ last`, `durable ≤ last`, `first ≤ delivered + 1` | [`crate::Log`] |
//! | deliveries are the committed entries, each once, in order | ZAB Integrity, LocalPrimaryOrder |
//! | a snapshot holds what was committed up to its position, and never goes back | Raft §7; ZAB's SNAP |
//! | the terms of what was forgotten are kept | what follows is judged by them, as in ZAB's discovery |
//! | what comes late on a connection that was given up changes nothing | both are built on connections |
//! | nothing leaves before what it promises is durable | [`crate::Outbound`], [`crate::Pledge`] |
//!
//! The flags of the Zab specification for what must not happen within an action (ShouldNotBeTriggered: bad
//! states, proposals, commits, acknowledgements, messages) are assertions in the protocol's own code.
//!
//! # Cost
//! A node that did not change costs a few comparisons; one that did costs what it changed. Per entry
//! that is not yet committed on every known node some 60 bytes are kept, and 16 bytes for every
//! committed entry for as long as the checker lives: that is how it would notice that history
//! changed. A simulation of ten million entries needs 160 MB. Logs that have forgotten their beginning
//! are compared by their terms, which they keep, and by what is remembered here.

mod durability;
mod history;
mod late;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

pub use durability::{Durability, read_promise};
use history::History;
pub use late::{LATE, changes_nothing};

use crate::{Entry, Index, Log, NodeId, Position, Snapshot, Term};

/// What the laws look at in one node.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The node.
    pub id: NodeId,
    /// The largest term promised, or ZAB's acceptedEpoch.
    pub promised: Term,
    /// ZAB's currentEpoch, whose initial history this node holds; `None` where there is no such
    /// promise apart from the term.
    pub joined: Option<Term>,
    /// The term or epoch in which a quorum has accepted this node as its leader, if one has. In ZAB
    /// that is before synchronization.
    pub leading: Option<Term>,
    /// The term or epoch in which this node is an established leader, if it is one.
    pub established: Option<Term>,
    /// Its log.
    pub log: &'a Log,
}

/// A broken law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The law, as a sentence.
    pub law: &'static str,
    /// What broke it: nodes, positions.
    pub details: String,
}

impl Violation {
    /// A broken law with what broke it.
    #[must_use]
    pub fn new(law: &'static str, details: String) -> Self {
        Self { law, details }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken law: {}: {}", self.law, self.details)
    }
}

impl std::error::Error for Violation {}

/// Checks the laws over the life of one cluster. See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Invariants {
    nodes: BTreeMap<NodeId, Known>,
    /// Who was established in each term.
    leaders: BTreeMap<Term, NodeId>,
    /// Who was accepted as leader in each term, and the end of its log then.
    accepted: BTreeMap<Term, (NodeId, Position)>,
    history: History,
}

/// What was seen of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Known {
    /// False after a crash, until the node is seen again.
    alive: bool,
    promised: Term,
    joined: Option<Term>,
    leading: Option<Term>,
    established: Option<Term>,
    first: Index,
    last: Position,
    commit: Index,
    delivered: Index,
    applied: Index,
    durable: Position,
    /// The first index of every run of equal terms in its log.
    terms: BTreeMap<Index, Term>,
    /// The last entry that [`Invariants::delivered`] saw.
    handed_over: Index,
}

impl Known {
    fn unchanged(&self, view: &View<'_>) -> bool {
        self.alive
            && self.first == view.log.first()
            && self.last == view.log.last()
            && self.commit == view.log.commit()
            && self.delivered == view.log.delivered()
            && self.applied == view.log.applied()
            && self.durable.index == view.log.durable()
            && self.promised == view.promised
            && self.joined == view.joined
            && self.leading == view.leading
            && self.established == view.established
    }

    /// The last index up to which the node's log has the terms that it had when last seen.
    fn common(&self, log: &Log) -> Index {
        if log.contains(self.last) {
            return self.last.index;
        }
        // Walking back over the runs: below an index with equal terms all terms are equal, because
        // otherwise that index would have been written anew and have a newer term.
        let mut end = self.last.index.min(log.last().index);
        while end > Index(0) {
            let (&first, &term) = self.terms.range(..=end).next_back().expect("dense from 1");
            let first_now = log.first_of_term_at(end);
            if log.term(end) == Some(term) {
                return end;
            }
            end = first.max(first_now).previous();
        }
        Index(0)
    }
}

impl Invariants {
    /// A checker that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A checker of a cluster whose nodes begin with a history that ends at `position`, committed and
    /// forgotten, all of it of that term.
    #[must_use]
    pub fn begin_after(position: Position) -> Self {
        Self { history: History::begin_after(position), ..Self::default() }
    }

    /// How many entries are committed, as far as any node knows or ever knew.
    #[must_use]
    pub fn committed(&self) -> Index {
        self.history.committed()
    }

    /// Who was ever established, by term or epoch.
    #[must_use]
    pub fn leaders(&self) -> &BTreeMap<Term, NodeId> {
        &self.leaders
    }

    /// Checks every living node after an event. A node that starts is checked before its first step.
    ///
    /// # Errors
    /// The first broken law.
    pub fn check(&mut self, views: &[View<'_>]) -> Result<(), Violation> {
        let committed = self.committed();
        for view in views {
            self.check_node(view)?;
        }
        if self.committed() > committed {
            for view in views {
                self.check_completeness(view)?;
            }
        }
        Ok(())
    }

    /// A node stopped, and forgot whatever was not durable.
    pub fn crashed(&mut self, id: NodeId) {
        if let Some(known) = self.nodes.get_mut(&id) {
            known.alive = false;
        }
    }

    /// A node that stopped lost its disk: it begins anew, and what it knew is not expected of it. What
    /// others know stays.
    pub fn wiped(&mut self, id: NodeId) {
        self.nodes.remove(&id);
    }

    /// Entries are being written to a node's log. Seeing every write, not only the log after it,
    /// notices an entry that was replaced by another one at the same position.
    ///
    /// # Errors
    /// When an entry at the same position was seen before and was another one.
    pub fn written(&mut self, id: NodeId, entries: &[Entry]) -> Result<(), Violation> {
        entries.iter().try_for_each(|entry| self.history.same_entry(id, entry))
    }

    /// An entry was handed to the layer above. The node was checked after the event that did so.
    ///
    /// # Errors
    /// When it is not the next committed entry.
    pub fn delivered(&mut self, id: NodeId, entry: &Entry) -> Result<(), Violation> {
        let known = self.nodes.entry(id).or_default();
        if entry.index() != known.handed_over.next() {
            return Err(Violation::new(
                "deliveries are the committed entries, each once, in order",
                format!("{id} delivers {} after index {}", entry.position, known.handed_over),
            ));
        }
        known.handed_over = entry.index();
        self.history.is_committed(id, entry)
    }

    /// A snapshot took the place of what the layer above had. The node was checked after the event
    /// that did so.
    ///
    /// # Errors
    /// When its history is not the committed one, or it goes back.
    pub fn installed(&mut self, id: NodeId, snapshot: &Snapshot) -> Result<(), Violation> {
        let known = self.nodes.entry(id).or_default();
        let index = snapshot.position.index;
        if !snapshot.is_consistent() || index <= known.handed_over {
            return Err(Violation::new(
                "a snapshot replaces only what is older",
                format!("{id} installs {snapshot:?} after index {}", known.handed_over),
            ));
        }
        known.handed_over = index;
        self.history.is_committed_up_to(id, snapshot)
    }

    /// Checks one node by itself and against all that was seen before.
    fn check_node(&mut self, view: &View<'_>) -> Result<(), Violation> {
        if self.nodes.get(&view.id).is_some_and(|known| known.unchanged(view)) {
            return Ok(());
        }
        check_order(view)?;
        let known = self.nodes.entry(view.id).or_default();
        if !known.alive {
            check_restart(known, view)?;
            // Everything up to its commit position was applied before the start.
            known.handed_over = view.log.delivered();
            known.first = Index(0);
            if !view.log.contains(known.last) {
                known.last = Position::ZERO;
                known.terms.clear();
            }
            known.commit = Index(0);
            (known.joined, known.leading, known.established) = (view.joined, None, None);
            known.alive = true;
        } else if view.promised < known.promised
            || view.joined < known.joined
            || view.log.commit() < known.commit
            || view.log.first() < known.first
        {
            return Err(Violation::new(
                "promises, commit positions and what was forgotten never go back while a node lives",
                format!(
                    "{}: promise {} after {}, joined {:?} after {:?}, commit {} after {}, first {} \
                     after {}",
                    view.id,
                    view.promised,
                    known.promised,
                    view.joined,
                    known.joined,
                    view.log.commit(),
                    known.commit,
                    view.log.first(),
                    known.first
                ),
            ));
        }
        let common = known.common(view.log);
        if common < known.commit {
            return Err(Violation::new(
                "what is committed never changes",
                format!("{} rewrites index {} of {}", view.id, common.next(), known.commit),
            ));
        }
        check_removal(known, view, common, &self.history)?;
        self.history.extend(view, common)?;
        let committing = view.established.unwrap_or(view.promised);
        self.history.commit(view, known.commit, committing)?;
        let newly_established = view.established != known.established;
        let newly_leading = view.leading != known.leading;
        let newly_joined = view.joined != known.joined;
        known.remember(view, common);
        if newly_leading && let Some(term) = view.leading {
            self.check_sole_accepted(view, term)?;
        }
        if newly_joined && let Some(epoch) = view.joined {
            self.check_initial_history(view, epoch)?;
        }
        if newly_established && let Some(term) = view.established {
            self.check_sole_leader(view.id, term)?;
            self.check_completeness(view)?;
            self.check_established_histories(view, term)?;
        }
        if let Some(settled) = self.nodes.values().map(|known| known.commit).min() {
            self.history.settle(settled);
        }
        Ok(())
    }

    fn check_sole_leader(&mut self, id: NodeId, term: Term) -> Result<(), Violation> {
        let leader = *self.leaders.entry(term).or_insert(id);
        if leader == id {
            return Ok(());
        }
        Err(Violation::new(
            "at most one leader is established in a term or epoch",
            format!("{leader} and {id} in {term}"),
        ))
    }

    fn check_sole_accepted(&mut self, view: &View<'_>, term: Term) -> Result<(), Violation> {
        let (leader, _) = *self.accepted.entry(term).or_insert((view.id, view.log.last()));
        if leader == view.id {
            return Ok(());
        }
        Err(Violation::new(
            "at most one node is accepted as leader by a quorum in a term or epoch",
            format!("{leader} and {} in {term}", view.id),
        ))
    }

    /// The first to join an epoch is its leader, even if it gave up before anybody saw it lead, and
    /// nothing is proposed before: its log is then the initial history.
    fn check_initial_history(&mut self, view: &View<'_>, epoch: Term) -> Result<(), Violation> {
        let own = (view.id, view.log.last());
        let (leader, history) = *self.accepted.entry(epoch).or_insert(own);
        // What is behind it was proposed in the epoch.
        let behind = view.log.term(history.index.next());
        if view.log.contains(history) && behind.is_none_or(|term| term == epoch) {
            return Ok(());
        }
        Err(Violation::new(
            "whoever joins an epoch holds the initial history of its leader",
            format!(
                "{} joins {epoch} with {}; its leader {leader} had {history}",
                view.id,
                view.log.last()
            ),
        ))
    }

    /// What a leader of ZAB begins with is settled once it is established, whatever of it is known to be
    /// committed by then: every later leader begins with that and more.
    fn check_established_histories(&self, view: &View<'_>, epoch: Term) -> Result<(), Violation> {
        if view.joined.is_none() {
            return Ok(());
        }
        for (earlier, leader) in self.leaders.range(..epoch) {
            let Some((_, history)) = self.accepted.get(earlier) else { continue };
            if !view.log.contains(*history) {
                let details = format!(
                    "{} in {epoch} ends at {}; {leader} had {history} in {earlier}",
                    view.id,
                    view.log.last()
                );
                let law =
                    "an established leader begins with the initial histories of all before it";
                return Err(Violation::new(law, details));
            }
        }
        Ok(())
    }

    /// An established leader holds whatever leaders of earlier terms committed. Entries that a later
    /// leader committed may be missing: this one is deposed and does not know it yet.
    fn check_completeness(&self, view: &View<'_>) -> Result<(), Violation> {
        let Some(term) = view.established else { return Ok(()) };
        let needed = self.history.committed_before(term);
        // A leader of ZAB begins by committing its initial history.
        let commits = view.joined.is_none() || view.log.commit() >= needed.index;
        if view.log.contains(needed) && commits {
            return Ok(());
        }
        Err(Violation::new(
            "an established leader holds all that earlier terms committed",
            format!("{} in {term} lacks {needed}; its last is {}", view.id, view.log.last()),
        ))
    }
}

impl Known {
    fn remember(&mut self, view: &View<'_>, common: Index) {
        let log = view.log;
        self.terms.split_off(&common.next());
        self.terms.extend(log.terms().range(common.next()..));
        self.promised = view.promised;
        self.joined = view.joined;
        self.leading = view.leading;
        self.established = view.established;
        self.first = log.first();
        self.last = log.last();
        self.commit = log.commit();
        self.delivered = log.delivered();
        self.applied = log.applied();
        let term = log.term(log.durable()).expect("what is durable is in the log");
        self.durable = Position { term, index: log.durable() };
    }
}

fn check_order(view: &View<'_>) -> Result<(), Violation> {
    let log = view.log;
    let ordered = log.applied() <= log.delivered()
        && log.delivered() <= log.commit()
        && log.commit() <= log.last().index
        && log.durable() <= log.last().index
        && log.first().previous() <= log.delivered()
        && log.terms().keys().next().is_none_or(|&first| first == Index(1));
    if ordered {
        return Ok(());
    }
    Err(Violation::new(
        "applied ≤ delivered ≤ commit ≤ last, durable ≤ last, first ≤ delivered + 1",
        format!(
            "{}: first {}, applied {}, delivered {}, commit {}, durable {}, last {}",
            view.id,
            log.first(),
            log.applied(),
            log.delivered(),
            log.commit(),
            log.durable(),
            log.last()
        ),
    ))
}

/// What is removed from a log that was seen: nothing by a leader in its reign, and by nobody what leaders
/// committed of its term or of earlier ones.
fn check_removal(
    known: &Known,
    view: &View<'_>,
    common: Index,
    history: &History,
) -> Result<(), Violation> {
    if common >= known.last.index {
        return Ok(());
    }
    let removed = common.next();
    if known.leading.is_some() && known.leading == view.leading {
        return Err(Violation::new(
            "a leader only appends to its log",
            format!("{} removes what it has from index {removed} on", view.id),
        ));
    }
    // What later leaders commit without this node, an earlier one may still make it remove: Raft §5.4.2.
    let committed = history.committed_before(Term(view.promised.0.saturating_add(1))).index;
    let term = known.terms.range(..=removed).next_back().map(|(_, &term)| term);
    if committed >= removed && term == history.committed_term(removed) {
        return Err(Violation::new(
            "nobody removes what leaders of its term or of earlier ones committed",
            format!("{} in {} removes index {removed} of {committed}", view.id, view.promised),
        ));
    }
    Ok(())
}

fn check_restart(known: &Known, view: &View<'_>) -> Result<(), Violation> {
    if view.log.contains(known.durable) {
        return Ok(());
    }
    Err(Violation::new(
        "what a node knew durable is there after its restart",
        format!("{} lost {}; its last is {}", view.id, known.durable, view.log.last()),
    ))
}
