//! Measures the systems, block by block.

use std::time::{Duration, Instant};

use consensus::Random;

use super::choice::{self, System, With};
use super::drive::{self, Drive, Work};
use super::ensemble::{Ensemble, Kind, Make};
use super::etcd::Etcd;
use super::options::Options;
use super::outage;
use super::record::{Installation, SystemRun, SystemWrites, Systems};
use super::zookeeper::ZooKeeper;
use super::{Consistency, Subject};
use crate::Error;
use crate::cluster::Fault;
use crate::compare::{Environment, Exclusion, Part, Placement, Side};
use crate::failover::FailoverOptions;
use crate::load::{LoadReport, Outcome};

/// The time between two probes. A node that waits for the end of an election holds hundreds of them for seconds,
/// so there are fewer than in the comparison of the protocols.
const PROBE_PERIOD: Duration = Duration::from_millis(5);

/// The systems that were found.
#[derive(Clone, Debug)]
pub struct Subjects {
    etcd: Option<Etcd>,
    zookeeper: Option<ZooKeeper>,
}

impl Subjects {
    /// Finds what `--with` names, before anything is measured.
    ///
    /// # Errors
    /// [`Error::Usage`] with what to install, when something is not there, or with what is allowed when
    /// the options ask for what systems do not have.
    pub fn find(asked: &[With], options: &Options) -> Result<Self, Error> {
        choice::check(asked)?;
        let systems: Vec<System> = asked.iter().map(|with| with.system).collect();
        options.check(&systems)?;
        let path_of = |system: System| {
            asked.iter().find(|with| with.system == system).map(|with| with.path.as_deref())
        };
        Ok(Self {
            etcd: path_of(System::Etcd).map(Etcd::find).transpose()?,
            zookeeper: path_of(System::ZooKeeper).map(ZooKeeper::find).transpose()?,
        })
    }

    /// What the report says of them.
    pub(super) fn installations(&self) -> Vec<Installation> {
        let etcd = self.etcd.iter().map(Etcd::installation);
        etcd.chain(self.zookeeper.iter().map(ZooKeeper::installation)).collect()
    }

    /// Everybody who is measured, and what runs for them.
    fn all(&self, options: &Options) -> Vec<(Subject, Kind)> {
        let duorum = |side| (Subject::Duorum(side), Kind::Duorum(options.contender(side).clone()));
        let mut all: Vec<_> = Side::BOTH.map(duorum).into();
        if let Some(etcd) = &self.etcd {
            all.push((Subject::EtcdGrpc, Kind::Etcd(etcd.clone())));
            all.push((Subject::EtcdGateway, Kind::Etcd(etcd.clone())));
        }
        if let Some(zookeeper) = &self.zookeeper {
            all.push((Subject::ZooKeeper, Kind::ZooKeeper(zookeeper.clone())));
        }
        all
    }

    /// How many runs a block has: one of each.
    #[must_use]
    pub fn count(&self) -> usize {
        let ways_to_etcd = if self.etcd.is_some() { 2 } else { 0 };
        Side::BOTH.len() + ways_to_etcd + usize::from(self.zookeeper.is_some())
    }
}

/// Measures everybody. `progress` is told what begins; a run has begun when it is told its name.
///
/// # Errors
/// Whatever kept a run of the first block from being made. A later one that fails is left out and
/// listed.
pub async fn measure(
    environment: &Environment,
    options: &Options,
    subjects: &Subjects,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<Systems, Error> {
    let began = Instant::now();
    let all = subjects.all(options);
    let names: Vec<Subject> = all.iter().map(|&(subject, _)| subject).collect();
    let orders = options.orders(&names);
    let mut session = Session {
        environment,
        options,
        failover_options: FailoverOptions {
            period: PROBE_PERIOD,
            value_bytes: options.value_bytes,
            keys: options.keys,
            key_distribution: options.key_distribution,
            ..FailoverOptions::new(Fault::Kill)
        }
        .paced(options.rate),
        runs: Vec::new(),
        exclusions: Vec::new(),
    };
    for (block, order) in orders.iter().enumerate() {
        for (place, subject) in order.iter().enumerate() {
            let name = options.name(*subject);
            progress(&format!("block {} of {}: {name}", block + 1, orders.len()));
            let kind = all.iter().find(|(one, _)| one == subject).map(|(_, kind)| kind);
            let kind = kind.expect("an order is made of the subjects");
            session.run(block, place, *subject, kind).await?;
        }
    }
    Ok(Systems {
        took_seconds: began.elapsed().as_secs_f64(),
        installations: subjects.installations(),
        options: options.clone(),
        failover_options: session.failover_options,
        orders,
        runs: session.runs,
        exclusions: session.exclusions,
    })
}

/// A measurement under way.
struct Session<'a> {
    environment: &'a Environment,
    options: &'a Options,
    failover_options: FailoverOptions,
    runs: Vec<SystemRun>,
    exclusions: Vec<Exclusion>,
}

impl Session<'_> {
    /// Makes one run, and keeps it or says why not.
    async fn run(
        &mut self,
        block: usize,
        place: usize,
        subject: Subject,
        kind: &Kind,
    ) -> Result<(), Error> {
        let name = self.options.name(subject);
        let reason = match self.one(block, place, subject, kind).await {
            Ok(run) => {
                let reads = [&run.read, &run.local_read];
                let not_found: u64 = reads.into_iter().flatten().map(|read| read.not_found).sum();
                if not_found == 0 {
                    self.runs.push(run);
                    return Ok(());
                }
                format!("{not_found} reads found no key, though every key was written")
            }
            Err(Error::Node { what, logs, tail }) if block == 0 => {
                return Err(Error::Node { what: format!("{name}: {what}"), logs, tail });
            }
            Err(error) if block == 0 => return Err(error),
            Err(error) => error.to_string(),
        };
        self.exclusions.push(Exclusion { block, reason: format!("{name}: {reason}") });
        Ok(())
    }

    async fn one(
        &self,
        block: usize,
        place: usize,
        subject: Subject,
        kind: &Kind,
    ) -> Result<SystemRun, Error> {
        let options = self.options;
        let seed = options.seed_of_block(block);
        let name = format!("system-{}-{}-{}", block + 1, place + 1, file_name(subject));
        let make = Make {
            executable: self.environment.executable.clone(),
            nodes: options.nodes,
            connections: options.connections,
            data: self.environment.data.join(&name),
            logs: self.environment.logs.clone(),
            name,
        };
        let starting = Instant::now();
        let mut ensemble = Ensemble::start(kind, &make).await?;
        let start_ms = starting.elapsed().as_secs_f64() * 1e3;
        let loads = self.loads(&mut ensemble, subject, seed).await?;
        let memory_peak_bytes = ensemble.resource_use().memory_peak_bytes_max;
        let mut failover = None;
        if options.measures(Part::Failover) {
            let random = &mut Random::new(seed ^ place as u64);
            failover = Some(
                outage::measure(&mut ensemble, subject, &self.failover_options, random).await?,
            );
        }
        let commands = ensemble.commands();
        ensemble.remove()?;
        let Loads { fill, write, read, local_read } = loads;
        Ok(SystemRun {
            block,
            place,
            subject,
            start_ms,
            commands,
            fill,
            write,
            read,
            local_read,
            memory_peak_bytes,
            failover,
        })
    }

    /// Fills the keys, and measures what was asked for of writes and both kinds of reads, on the same
    /// connections.
    async fn loads(
        &self,
        ensemble: &mut Ensemble,
        subject: Subject,
        seed: u64,
    ) -> Result<Loads, Error> {
        let options = self.options;
        let endpoints = match options.placement {
            Placement::Spread => ensemble.endpoints(),
            Placement::Leader => vec![ensemble.endpoint_of_leader().await?],
        };
        let bytes = options.value_bytes;
        let opening = drive::open_all(subject, &endpoints, options.connections, bytes, seed);
        let mut connections = unless_it_fails(ensemble, opening).await??;
        if let Outcome::Failed { name, .. } = connections[0].prepare().await {
            return Err(Error::node(format!("not ready for keys: {name}")));
        }
        let drive = |work, warmup, window| Drive {
            work,
            warmup,
            window,
            keys: options.keys,
            key_distribution: options.key_distribution,
            per_second: None,
            seed,
        };
        let none = Duration::ZERO;
        let filling = drive(Work::Fill, none, none);
        let fill = unless_it_fails(ensemble, drive::run(&mut connections, &filling)).await?;
        if fill.operations_with_warmup != options.keys {
            let errors = crate::load::errors_text(&fill.errors);
            return Err(Error::node(format!("not every key could be written: {errors}")));
        }
        let mut loads = Loads { fill, write: None, read: None, local_read: None };
        if options.measures(Part::Writes) {
            let used = ensemble.resource_use();
            let writes = drive(Work::Write, options.write_warmup, options.write);
            let writes = Drive { per_second: options.rate, ..writes };
            let report = unless_it_fails(ensemble, drive::run(&mut connections, &writes)).await?;
            let used = ensemble.resource_use().since(used);
            loads.write = Some(SystemWrites { report, used });
        }
        if options.measures(Part::Reads) {
            let reads =
                |consistency| drive(Work::Read(consistency), options.read_warmup, options.read);
            let linearizable = reads(Consistency::Linearizable);
            let reading = drive::run(&mut connections, &linearizable);
            loads.read = Some(unless_it_fails(ensemble, reading).await?);
            let local = reads(Consistency::Local);
            let reading = drive::run(&mut connections, &local);
            loads.local_read = Some(unless_it_fails(ensemble, reading).await?);
        }
        Ok(loads)
    }
}

/// What the loads measured: the fill, writes, and linearizable and local reads.
struct Loads {
    fill: LoadReport,
    write: Option<SystemWrites>,
    read: Option<LoadReport>,
    local_read: Option<LoadReport>,
}

/// Does something with a cluster, and gives up as soon as one of its processes ends: clients only see that
/// nobody answers, and would wait for a long time.
async fn unless_it_fails<T>(
    ensemble: &mut Ensemble,
    doing: impl Future<Output = T>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        done = doing => Ok(done),
        error = ensemble.failure() => Err(error),
    }
}

/// The name of a subject as a part of a file's name.
fn file_name(subject: Subject) -> &'static str {
    match subject {
        Subject::Duorum(Side::A) => "duorum-a",
        Subject::Duorum(Side::B) => "duorum-b",
        Subject::EtcdGrpc => "etcd-grpc",
        Subject::EtcdGateway => "etcd-gateway",
        Subject::ZooKeeper => "zookeeper",
    }
}
