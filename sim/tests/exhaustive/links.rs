//! The connection between two nodes, and the frames under way on it.

use std::collections::VecDeque;

use consensus::{Generation, NodeId};

/// The latest connection of a pair of nodes.
///
/// It is TCP's: frames arrive once and in order. A break loses what is sent from then on; each end
/// notices it at its own time, at the latest by the next connection, and may read until then what was
/// sent before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Link<M> {
    ends: [NodeId; 2],
    generation: Generation,
    intact: bool,
    /// Whether each end takes the connection to be up.
    up: [bool; 2],
    /// The frames under way to each end.
    frames: [VecDeque<M>; 2],
}

impl<M> Link<M> {
    /// Two nodes that were never connected.
    pub(crate) fn new(ends: [NodeId; 2]) -> Self {
        let frames = [VecDeque::new(), VecDeque::new()];
        Self { ends, generation: Generation(0), intact: false, up: [false; 2], frames }
    }

    /// The two nodes, the smaller number first.
    pub(crate) fn ends(&self) -> [NodeId; 2] {
        self.ends
    }

    /// Whether these are its ends.
    pub(crate) fn joins(&self, a: NodeId, b: NodeId) -> bool {
        self.ends == [a.min(b), a.max(b)]
    }

    /// Whether what is sent now can arrive.
    pub(crate) fn is_intact(&self) -> bool {
        self.intact
    }

    /// Whether it is intact and both ends know it.
    pub(crate) fn works(&self) -> bool {
        self.intact && self.up == [true; 2]
    }

    /// The connection as one end sees it, if that takes it to be up.
    pub(crate) fn seen_by(&self, id: NodeId) -> Option<Generation> {
        self.up[self.end(id)].then_some(self.generation)
    }

    /// Whether an end could read a frame now.
    pub(crate) fn has_frame_for(&self, id: NodeId) -> bool {
        let end = self.end(id);
        self.up[end] && !self.frames[end].is_empty()
    }

    /// A new connection, on both ends, neither of which reads anything more of the old one.
    pub(crate) fn connect(&mut self) -> Generation {
        assert!(!self.intact, "a pair has one connection at a time");
        assert!(self.frames.iter().all(VecDeque::is_empty), "the old connection is given up");
        self.generation = self.generation.next();
        (self.intact, self.up) = (true, [true; 2]);
        self.generation
    }

    /// The connection breaks, and nobody knows.
    pub(crate) fn cut(&mut self) {
        self.intact = false;
    }

    /// One end gives a broken connection up. Returns what it had not read yet.
    pub(crate) fn give_up(&mut self, id: NodeId) -> VecDeque<M> {
        assert!(!self.intact, "only a broken connection is noticed to be broken");
        let end = self.end(id);
        self.up[end] = false;
        std::mem::take(&mut self.frames[end])
    }

    /// Puts a frame on its way; on a broken connection it is lost.
    pub(crate) fn send(&mut self, to: NodeId, message: M) {
        let end = self.end(to);
        if self.intact {
            self.frames[end].push_back(message);
        }
    }

    /// The next frame for one end.
    pub(crate) fn receive(&mut self, id: NodeId) -> Option<M> {
        let end = self.end(id);
        self.frames[end].pop_front()
    }

    fn end(&self, id: NodeId) -> usize {
        usize::from(id == self.ends[1])
    }
}
