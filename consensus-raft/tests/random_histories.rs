//! Random histories: whatever happens, in whatever order, the laws hold after every event (the
//! cluster checks them), and once the trouble is over the nodes agree.

use std::time::Duration;

use bytes::Bytes;
use consensus::script::{Cluster, Detail, Options};
use consensus::{NodeId, Random, Timer, Violation};
use consensus_raft::Raft;

/// How many events a history has.
const EVENTS: u64 = 600;

struct History {
    random: Random,
    cluster: Cluster<Raft>,
    proposals: u64,
    /// Whether nodes campaign again and again.
    stormy: bool,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut options = Options::new([1, 2, 3, 3, 3, 4, 5, 5][random.below(8) as usize]);
        options.seed = random.next_u64() >> 1;
        options.auto_persist = random.one_in(3);
        options.auto_apply = random.one_in(2);
        options.auto_fetch = random.one_in(2);
        options.overtaking = random.one_in(2);
        options.twins = random.one_in(8);
        options.detail = Detail::Everything;
        if random.one_in(2) {
            options.tail_max = random.below(4) as usize;
            options.settings.memory_log_bytes_max = 100;
        }
        if random.one_in(2) {
            options.settings.message_bytes_max = 100;
            options.settings.inflight_messages_max = 2;
            options.settings.unapplied_bytes_max = 120;
            options.settings.uncommitted_bytes_max = 400;
        }
        options.settings.suspect_on_connection_loss = random.one_in(2);
        let cluster = Cluster::new(options).expect("a start breaks no law");
        let stormy = random.one_in(3);
        Self { random, cluster, proposals: 0, stormy }
    }

    fn any(&mut self) -> NodeId {
        let ids = self.cluster.ids();
        ids[self.random.below(ids.len() as u64) as usize]
    }

    fn active(&mut self) -> Option<NodeId> {
        let id = self.any();
        self.cluster.is_active(id).then_some(id)
    }

    fn event(&mut self) -> Result<(), Violation> {
        if self.stormy
            && self.random.one_in(8)
            && let Some(id) = self.active()
        {
            return self.cluster.fire(id, Timer::Election);
        }
        match self.random.below(100) {
            0..45 => {
                let directions = self.cluster.deliverable();
                if !directions.is_empty() {
                    let (from, to) =
                        directions[self.random.below(directions.len() as u64) as usize];
                    for _ in 0..=self.random.below(3) {
                        self.cluster.receive(from, to)?;
                    }
                    self.cluster.flush(to)?;
                    self.cluster.rest(to)?;
                }
            }
            45..60 => {
                if let Some(id) = self.active() {
                    let count = 1 + self.random.below(3) as usize;
                    self.cluster.persist(id, count)?;
                    self.cluster.answer_fetch(id)?;
                    self.cluster.apply(id, count)?;
                }
            }
            60..70 => {
                let millis = self.random.below(40);
                self.cluster.tick(Duration::from_millis(millis))?;
            }
            70..82 => {
                let leaders = self.cluster.established();
                let chosen = self.random.below(leaders.len() as u64) as usize;
                if let Some(&(id, _)) = leaders.get(chosen)
                    && self.cluster.is_active(id)
                {
                    self.proposals += 1;
                    let command = Bytes::from(format!("c{}", self.proposals));
                    self.cluster.propose(id, [command])?;
                    match self.random.below(4) {
                        0 => drop(self.cluster.read(id)?),
                        1 => drop(self.cluster.sync(id)?),
                        _ => {}
                    }
                }
            }
            82..90 => self.trouble_with_links()?,
            90..93 => {
                let id = self.any();
                if self.cluster.is_running(id) {
                    let kept = self.random.below(3) as usize;
                    self.cluster.crash(id, kept)?;
                } else {
                    self.cluster.restart(id)?;
                }
            }
            93..95 => {
                let id = self.any();
                if self.cluster.is_active(id) {
                    self.cluster.pause(id);
                } else if self.cluster.is_running(id) {
                    self.cluster.resume(id);
                    self.cluster.notice_all()?;
                }
            }
            95..98 => {
                if let Some(id) = self.active() {
                    let timers = [Timer::Election, Timer::Heartbeat, Timer::Quorum];
                    let timer = timers[self.random.below(3) as usize];
                    self.cluster.fire(id, timer)?;
                }
            }
            _ => self.cluster.heal()?,
        }
        Ok(())
    }

    fn trouble_with_links(&mut self) -> Result<(), Violation> {
        let (one, other) = (self.any(), self.any());
        if one == other {
            return Ok(());
        }
        match self.random.below(6) {
            0 => self.cluster.disconnect(one, other)?,
            1 => self.cluster.break_connection(one, other),
            2 => drop(self.cluster.notice(one, other)?),
            3 if self.cluster.is_running(one) && self.cluster.is_running(other) => {
                self.cluster.connect(one, other)?;
            }
            4 => {
                let ids = self.cluster.ids();
                let (left, right): (Vec<_>, Vec<_>) =
                    ids.into_iter().partition(|_| self.random.one_in(2));
                self.cluster.partition(&[left, right])?;
            }
            _ => {
                if self.cluster.is_active(other) {
                    self.cluster.deliver_late(one, other)?;
                }
            }
        }
        Ok(())
    }

    fn recover(&mut self) -> Result<(), Violation> {
        for id in self.cluster.ids() {
            if !self.cluster.is_running(id) {
                self.cluster.restart(id)?;
            } else if !self.cluster.is_active(id) {
                self.cluster.resume(id);
            }
        }
        self.cluster.heal()?;
        self.cluster.set_auto_persist(true);
        self.cluster.set_auto_apply(true);
        self.cluster.set_auto_fetch(true);
        self.cluster.settle()?;
        self.cluster.run(Duration::from_secs(3))?;
        let leaders = self.cluster.established();
        let [(leader, _)] = leaders[..] else {
            return Err(Violation::new(
                "a healed cluster elects one leader",
                format!("{leaders:?}"),
            ));
        };
        self.cluster.propose(leader, [Bytes::from_static(b"the end")])?;
        self.cluster.run(Duration::from_millis(200))?;
        self.cluster
            .agree()
            .map(drop)
            .map_err(|details| Violation::new("a healed cluster agrees", details))
    }
}

fn run(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut history = History::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..EVENTS {
                history.event()?;
            }
            history.recover()
        }));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(violation)) => {
                panic!("seed {seed}: {violation}\n{}", history.cluster.last_lines())
            }
            Err(_) => panic!("seed {seed} panicked\n{}", history.cluster.last_lines()),
        }
    }
}

#[test]
fn the_laws_hold_and_healed_clusters_agree() {
    let seeds = std::env::var("SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(300);
    run(0..seeds);
}
