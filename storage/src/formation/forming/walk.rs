//! Walks through everything that can happen while a cluster forms: announcements that come late,
//! again or never, crashes, wiped directories.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher as _};

use consensus::{NodeId, Random};

use super::{Announcement, Formation, Forming, HearError};
use crate::identity::DirectoryId;

/// A cluster whose nodes hear whatever was ever said, in any order. That is more than connections
/// allow, which lose what was not delivered when an end dies.
#[derive(Clone, Debug, Hash)]
struct World {
    nodes: BTreeMap<NodeId, Forming>,
    said: BTreeSet<(NodeId, Announcement)>,
    /// Every set of directories with which some node ever formed.
    formed: BTreeSet<BTreeMap<NodeId, DirectoryId>>,
    wipes_left: u32,
    directories: u128,
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A node hears what was said at some time, perhaps long ago.
    Hear(NodeId, (NodeId, Announcement)),
    /// It dies and starts again with what it has on disk.
    Crash(NodeId),
    /// It dies in the midst of taking in what it hears: before or after it is on disk.
    CrashHearing(NodeId, (NodeId, Announcement)),
    /// Its directory is removed, and it starts anew.
    Wipe(NodeId),
}

impl World {
    fn new(nodes: u64, wipes_left: u32) -> Self {
        let mut world = Self {
            nodes: BTreeMap::new(),
            said: BTreeSet::new(),
            formed: BTreeSet::new(),
            wipes_left,
            directories: 0,
        };
        for id in 1..=nodes {
            world.begin(NodeId(id), nodes);
        }
        world
    }

    fn begin(&mut self, id: NodeId, nodes: u64) {
        self.directories += 1;
        let directory = DirectoryId(self.directories);
        self.start(id, directory, (1..=nodes).map(NodeId).collect(), Formation::default());
    }

    fn start(
        &mut self,
        id: NodeId,
        directory: DirectoryId,
        voters: BTreeSet<NodeId>,
        stored: Formation,
    ) {
        let node = Forming::start(id, directory, voters, stored, |_| Ok(())).expect("possible");
        self.nodes.insert(id, node);
        self.speak(id);
    }

    fn speak(&mut self, id: NodeId) {
        let node = &self.nodes[&id];
        let formation = node.formation();
        if formation.formed {
            self.formed.insert(formation.directories.clone());
        }
        self.said.insert((id, node.announcement()));
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for &id in self.nodes.keys() {
            let node = &self.nodes[&id];
            for said in self.said.iter().filter(|(from, _)| *from != id) {
                let mut written = false;
                let mut after = node.clone();
                let heard = after.hear(said.0, &said.1, |_| {
                    written = true;
                    Ok(())
                });
                // What changes nothing leads nowhere.
                if heard.is_ok() && after != *node {
                    steps.push(Step::Hear(id, said.clone()));
                }
                if written {
                    steps.push(Step::CrashHearing(id, said.clone()));
                }
            }
            if self.restarted(id) != *node {
                steps.push(Step::Crash(id));
            }
            if self.wipes_left > 0 {
                steps.push(Step::Wipe(id));
            }
        }
        steps
    }

    /// Whether a node hears what is older than what it heard last of the same directory. Only the
    /// random walks go there, for it makes many more states.
    fn goes_back(&self, step: &Step) -> bool {
        let (Step::Hear(id, (from, said)) | Step::CrashHearing(id, (from, said))) = step else {
            return false;
        };
        let last = self.nodes[id].heard.get(from);
        last.is_some_and(|last| {
            last.directory == said.directory
                && last.formation.directories.len() > said.formation.directories.len()
        })
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Hear(id, (from, said)) => {
                let node = self.nodes.get_mut(id).expect("a node");
                let before = node.formation().clone();
                // What does not fit is refused, and changes nothing.
                let _ = node.hear(*from, said, |_| Ok(()));
                assert_grows(&before, node.formation());
                self.speak(*id);
            }
            Step::CrashHearing(id, (from, said)) => {
                let node = self.nodes.get_mut(id).expect("a node");
                let mut written = None;
                let heard = node.hear(*from, said, |formation| {
                    written = Some(formation.clone());
                    Err(std::io::Error::other("the process dies here"))
                });
                assert_eq!(matches!(heard, Err(HearError::Io(_))), written.is_some());
                let stored = written.unwrap_or_else(|| node.formation().clone());
                self.restart(*id, stored);
            }
            Step::Crash(id) => {
                let stored = self.nodes[id].formation().clone();
                self.restart(*id, stored);
            }
            Step::Wipe(id) => {
                self.wipes_left -= 1;
                self.begin(*id, self.nodes.len() as u64);
            }
        }
    }

    fn restart(&mut self, id: NodeId, stored: Formation) {
        let Announcement { directory, voters, .. } = self.nodes[&id].announcement();
        self.start(id, directory, voters, stored);
    }

    fn restarted(&self, id: NodeId) -> Forming {
        let node = &self.nodes[&id];
        let Announcement { directory, voters, formation } = node.announcement();
        Forming::start(id, directory, voters, formation, |_| Ok(())).expect("possible")
    }

    fn check(&self) {
        for one in &self.formed {
            for other in self.formed.iter().filter(|other| *other != one) {
                let shared = one.iter().find(|(voter, id)| other[*voter] == **id);
                assert_eq!(shared, None, "two formed clusters have no directory in common");
            }
        }
        for (id, node) in &self.nodes {
            let formation = node.formation();
            assert!(!formation.formed || self.formed.contains(&formation.directories));
            if node.counts() {
                let directory = node.announcement().directory;
                assert_eq!(formation.directories.get(id), Some(&directory));
            }
        }
    }

    /// Lets everybody hear everybody until nothing changes any more.
    fn settle(&mut self) {
        loop {
            let before = self.nodes.clone();
            for id in before.keys() {
                for from in before.keys().filter(|from| *from != id) {
                    let said = (*from, self.nodes[from].announcement());
                    self.take(&Step::Hear(*id, said));
                    self.check();
                }
            }
            if self.nodes == before {
                return;
            }
        }
    }
}

/// Bindings are only added, and a formed cluster stays as it is. Whoever adopts one of which it is no
/// part may drop what it had bound.
fn assert_grows(before: &Formation, after: &Formation) {
    if before.formed {
        assert_eq!(before, after, "a formed cluster stays as it is");
    } else if !after.formed {
        for (voter, directory) in &before.directories {
            assert_eq!(after.directories.get(voter), Some(directory), "each is bound once");
        }
    }
}

/// Goes through every state that can be reached, and returns how many there are.
fn walk_everything(nodes: u64, wipes: u32) -> usize {
    let first = World::new(nodes, wipes);
    let mut seen = BTreeSet::from([digest(&first)]);
    let mut frontier = VecDeque::from([first]);
    let mut forming_is_possible = false;
    while let Some(world) = frontier.pop_front() {
        for step in world.steps().iter().filter(|step| !world.goes_back(step)) {
            let mut next = world.clone();
            next.take(step);
            if seen.insert(digest(&next)) {
                next.check();
                forming_is_possible |= !next.formed.is_empty();
                frontier.push_back(next);
            }
        }
    }
    assert!(forming_is_possible);
    seen.len()
}

fn digest(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn two_voters_in_every_order_with_two_wipes() {
    let states = walk_everything(2, 2);
    assert!(states > 1_000, "{states} states");
}

#[test]
fn three_voters_in_every_order_without_wipes() {
    let states = walk_everything(3, 0);
    assert!(states > 10_000, "{states} states");
}

/// Long walks of more nodes: with wipes, and once all is over everybody hears everybody.
#[test]
fn random_walks_never_form_two_clusters_while_one_voter_keeps_its_directory() {
    let (mut formed, mut blocked) = (0, 0);
    for seed in 0..3_000 {
        let mut random = Random::new(seed);
        let nodes = 2 + random.below(4);
        let mut world = World::new(nodes, 0);
        let mut wipes = random.below(nodes);
        for _ in 0..random.below(60) {
            let mut steps = world.steps();
            if wipes > 0 && random.one_in(8) {
                wipes -= 1;
                world.wipes_left = 1;
                // Node 1 keeps its directory.
                steps = vec![Step::Wipe(NodeId(2 + random.below(nodes - 1)))];
            }
            if steps.is_empty() {
                break;
            }
            let at = usize::try_from(random.below(steps.len() as u64)).expect("small");
            world.take(&steps[at]);
            world.check();
        }
        world.settle();
        assert!(world.formed.len() <= 1, "seed {seed}: {:?}", world.formed);
        let is_formed = world.nodes.values().all(|node| node.formation().formed);
        let anybody = world.nodes.values().any(|node| node.formation().formed);
        assert_eq!(is_formed, anybody, "who forms is heard of, unless it is wiped before");
        *(if is_formed { &mut formed } else { &mut blocked }) += 1;
        for (id, node) in &world.nodes {
            let trouble = node.trouble();
            if is_formed {
                assert_eq!(trouble.is_none(), node.counts(), "seed {seed}, {id}: {trouble:?}");
            } else {
                let named = trouble.is_some_and(|trouble| trouble.contains("can not form"));
                assert!(named, "seed {seed}, {id}: who waits for nothing says why");
            }
        }
    }
    assert!(formed > 300 && blocked > 300, "{formed} formed, {blocked} could not");
}

#[test]
fn without_wipes_a_cluster_forms_from_wherever_it_is() {
    for seed in 0..1_000 {
        let mut random = Random::new(seed);
        let nodes = 1 + random.below(5);
        let mut world = World::new(nodes, 0);
        for _ in 0..random.below(40) {
            let steps = world.steps();
            if steps.is_empty() {
                break;
            }
            let at = usize::try_from(random.below(steps.len() as u64)).expect("small");
            world.take(&steps[at]);
            world.check();
        }
        world.settle();
        assert!(world.nodes.values().all(Forming::counts), "seed {seed}");
    }
}
