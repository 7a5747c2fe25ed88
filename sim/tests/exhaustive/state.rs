//! One state of the cluster. Copies share what they have in common.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use consensus::invariants::Durability;
use consensus::{Generation, Leadership, NodeId, PersistSequence, Pledge, View, Violation};

use crate::bounds::Bounds;
use crate::disk::Disk;
use crate::laws::{Laws, Seen};
use crate::links::Link;
use crate::oracle::Modelled;

/// Everything that decides what can happen next, and what the laws must remember.
#[derive(Clone, Debug)]
pub(crate) struct State<C: Modelled> {
    /// The nodes, in the order of their numbers, from 1.
    pub(crate) nodes: Vec<Arc<Node<C>>>,
    /// The latest connection of each pair.
    pub(crate) links: Vec<Arc<Link<C::Message>>>,
    /// What may still happen.
    pub(crate) left: Bounds,
    pub(crate) laws: Arc<Laws>,
    /// The law that was broken on the way here: nothing comes after it.
    pub(crate) broken: Option<Arc<Violation>>,
    /// Only for the corners that are to be reached, which no law needs: no part of what is compared.
    pub(crate) seen: Seen,
}

/// One core, its disk, and what its driver keeps for it.
#[derive(Clone, Debug)]
pub(crate) struct Node<C: Modelled> {
    pub(crate) core: Option<C>,
    pub(crate) disk: Disk,
    /// The last write that is durable in this life.
    pub(crate) durable: PersistSequence,
    /// Messages that wait for a write.
    pub(crate) held: VecDeque<Held<C::Message>>,
    /// What it last said of itself.
    pub(crate) role: &'static str,
    pub(crate) leadership: Leadership,
    pub(crate) durability: Durability,
    /// The fingerprint of all the rest, as of the end of the last step.
    digest: u64,
}

/// A message that waits for a write.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Held<M> {
    pub(crate) to: NodeId,
    pub(crate) generation: Generation,
    pub(crate) after: PersistSequence,
    pub(crate) pledge: Pledge,
    pub(crate) message: M,
}

impl<C: Modelled> Node<C> {
    /// A node that never ran.
    pub(crate) fn new() -> Self {
        Self {
            core: None,
            disk: Disk::default(),
            durable: PersistSequence(0),
            held: VecDeque::new(),
            role: "",
            leadership: Leadership::None,
            durability: Durability::default(),
            digest: 0,
        }
    }

    /// Forgets all but the disk, and what the laws know of it.
    pub(crate) fn stop(&mut self) {
        let former = std::mem::replace(self, Self::new());
        (self.disk, self.durability) = (former.disk, former.durability);
        self.disk.crash();
    }

    /// Takes the fingerprint anew.
    pub(crate) fn seal(&mut self) {
        let mut hasher = DefaultHasher::new();
        let Self { core, disk, durable, held, role, leadership, durability, digest: _ } = self;
        (core, disk, durable, held, role, leadership, durability).hash(&mut hasher);
        self.digest = hasher.finish();
    }
}

impl<C: Modelled> State<C> {
    /// The numbers of all nodes.
    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> + use<C> {
        (1..=self.nodes.len() as u64).map(NodeId)
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node<C> {
        &self.nodes[place(id)]
    }

    pub(crate) fn is_running(&self, id: NodeId) -> bool {
        self.node(id).core.is_some()
    }

    pub(crate) fn link(&self, a: NodeId, b: NodeId) -> &Link<C::Message> {
        self.links.iter().find(|link| link.joins(a, b)).expect("every pair has a link")
    }

    /// What the laws see of the nodes that run.
    pub(crate) fn views(&self) -> Vec<View<'_>> {
        self.nodes.iter().filter_map(|node| node.core.as_ref().map(C::view)).collect()
    }
}

/// Where a node is in the list of all.
pub(crate) fn place(id: NodeId) -> usize {
    usize::try_from(id.0 - 1).expect("a few nodes")
}

impl<C: Modelled> Hash for State<C> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for node in &self.nodes {
            node.digest.hash(hasher);
        }
        self.links.hash(hasher);
        self.left.hash(hasher);
        self.laws.hash(hasher);
        self.broken.as_ref().map(|violation| violation.law).hash(hasher);
    }
}

impl<C: Modelled> PartialEq for State<C> {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other): (&Arc<Node<C>>, &Arc<Node<C>>)| one.digest == other.digest;
        self.nodes.iter().zip(&other.nodes).all(same)
            && self.links == other.links
            && self.left == other.left
            && self.laws == other.laws
            && self.broken == other.broken
    }
}
