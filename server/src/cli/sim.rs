//! `duorum sim`: whole clusters in virtual time, with everything breaking, and every law checked.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use bench::scenario::Scenario;
use clap::{Args, ValueEnum};
use consensus::{Mutant, Protocol, mutant};
use consensus_raft::Raft;
use consensus_zab::Zab;
use indicatif::{ProgressBar, ProgressStyle};
use sim::{
    Ablation, Depth, Failure, Links, Profile, Report, SimOptions, StepNumber, Workload, run, shrink,
};

use super::scenario::{self, Worked};
use super::{Complaint, Exit, print};

const EXAMPLES: &str = "\
Examples:
  duorum sim                                         1,000 seeds of both protocols
  duorum sim --protocol zab --seeds 1000 --profile hostile
  duorum sim --from 1000                             the next thousand
  duorum sim --protocol raft --seeds 1 --from 17 --profile crashes --clients 1
  duorum sim --scenario docs/scenarios/failover.toml what `duorum compare` would do, in virtual time
  duorum sim --ablate batching,pre-vote              the same laws without these mechanisms
  duorum sim --mutant list                           wrong versions, and what is wrong with them
  duorum sim --protocol raft --mutant raft-votes-twice

Equal flags give equal runs on every machine. A run that breaks a law is made as short as
it gets, and is shown with what happened last, with what broke before, and with the command
that repeats it. It ends with 1 if a law is broken.";

/// The seeds if nothing is said.
const SEEDS_DEFAULT: u64 = 1_000;
const SEEDS_OF_SCENARIO: u64 = 10;
/// The most seeds of one call.
const SEEDS_MAX: u64 = 1_000_000_000;

/// Simulate whole clusters in virtual time with everything breaking, and check every law
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Sim {
    /// What the clusters run [default: both]
    #[arg(long, value_enum)]
    protocol: Option<Protocols>,

    /// How many seeds there are to run [default: 1000, and 10 of a scenario]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=SEEDS_MAX))]
    seeds: Option<u64>,

    /// The first seed [default: 0]
    #[arg(long, value_name = "SEED", value_parser = clap::value_parser!(u64).range(..=u64::MAX - SEEDS_MAX))]
    from: Option<u64>,

    /// What breaks: one profile, or each in turn
    #[arg(long, value_parser = profiles(), value_name = "PROFILE", default_value = "all")]
    profile: String,

    /// Do what a file says, to leaders and clients, as `duorum compare --scenario` does to real clusters; flags take
    /// the place of what it says
    #[arg(long, value_name = "FILE", conflicts_with_all = ["profile", "mutant"])]
    scenario: Option<PathBuf>,

    /// What the nodes are connected by [default: drawn, and LAN or WAN now and then]
    #[arg(long, value_parser = links(), value_name = "LINKS")]
    links: Option<String>,

    /// What is simulated: with the rows in memory, with the store on the simulated disk too, or each in turn
    /// [default: mixed, and protocol of a scenario]
    #[arg(long, value_enum)]
    depth: Option<Depths>,

    /// How many voters a cluster has [default: 3, and 5 now and then]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: Option<u64>,

    /// How many nodes observe [default: one or two with every third seed]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(0..=9))]
    observers: Option<u64>,

    /// How many clients there are [default: 5]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=1000))]
    clients: Option<u64>,

    /// How many watchers there are [default: 2]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(0..=1000))]
    watchers: Option<u64>,

    /// How long a client thinks between two requests, on the average [default: drawn, up to 15ms]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    think: Option<Duration>,

    /// For how long things break, in virtual time [default: 6s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,

    /// Of what breaks by the seed only these numbers, separated by commas; or none
    #[arg(long, value_name = "NUMBERS", value_parser = numbers)]
    only_faults: Option<OnlyFaults>,

    /// Of what the protocols do all nodes go without these, separated by commas (docs/ablations.md)
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = ablation)]
    ablate: Vec<Ablation>,

    /// Run a wrong version of the protocol, or of what is around it, and see what comes of it; `list`
    /// shows them
    #[arg(long, value_name = "NAME", value_parser = wrong)]
    mutant: Option<Wrong>,

    /// How many run at a time [default: one for each core]
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<NonZero<usize>>,

    /// How many shorter runs are tried when a law is broken
    #[arg(long, value_name = "NUMBER", default_value_t = 400)]
    attempts: usize,

    /// What the scenario comes to.
    #[arg(skip)]
    workload: Option<Workload>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocols {
    Raft,
    Zab,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Depths {
    Protocol,
    Whole,
    Mixed,
}

#[derive(Clone, Debug)]
pub(super) struct OnlyFaults(pub(super) BTreeSet<StepNumber>);

pub(super) fn numbers(text: &str) -> Result<OnlyFaults, String> {
    if text == "none" {
        return Ok(OnlyFaults(BTreeSet::new()));
    }
    let number = |text: &str| text.trim().parse().map(StepNumber);
    let numbers: Result<_, _> = text.split(',').map(number).collect();
    numbers.map(OnlyFaults).map_err(|_| "numbers as 3,17,20 are wanted, or none".to_owned())
}

/// What `--mutant` wants.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    List,
    One(Mutant),
}

fn wrong(text: &str) -> Result<Wrong, String> {
    if text == "list" {
        return Ok(Wrong::List);
    }
    let found = Mutant::from_name(text).map(Wrong::One);
    found.ok_or_else(|| "there is none of that name; `--mutant list` shows all".to_owned())
}

fn ablation(name: &str) -> Result<Ablation, String> {
    Ablation::from_name(name).ok_or_else(|| {
        let names = Ablation::ALL.map(Ablation::name);
        format!("there is none of that name; allowed: {}", names.join(", "))
    })
}

fn profiles() -> clap::builder::PossibleValuesParser {
    let names = Profile::ALL.map(Profile::name);
    std::iter::once("all").chain(names).collect::<Vec<_>>().into()
}

fn links() -> clap::builder::PossibleValuesParser {
    Links::ALL.map(Links::name).into()
}

impl Sim {
    pub(super) fn run(self) -> Result<(), Complaint> {
        let sim = match &self.scenario {
            Some(path) => {
                let scenario = Scenario::read(path)
                    .map_err(|error| Complaint::new(Exit::Usage, error.to_string()))?;
                self.with_scenario(&scenario)?
            }
            None => self,
        };
        sim.run_all()
    }

    /// What the flags leave open, as the scenario says.
    fn with_scenario(self, scenario: &Scenario) -> Result<Self, Complaint> {
        let workload = scenario::workload(scenario)?;
        let protocol = match scenario::protocols(scenario)?[..] {
            [Protocol::Raft] => Protocols::Raft,
            [Protocol::Zab] => Protocols::Zab,
            _ => Protocols::Both,
        };
        let within = |name: &str, value: Option<u64>, least: u64, most: u64| match value
            .filter(|value| !(least..=most).contains(value))
        {
            Some(value) => Err(Complaint::new(
                Exit::Usage,
                format!(
                    "{}: {name} = {value}: allowed in the simulator are {least} to {most}",
                    scenario.path.display()
                ),
            )),
            None => Ok(value),
        };
        let number = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let nodes = within("nodes", scenario.nodes.map(number), 1, 9)?;
        let clients = within("connections", scenario.connections.map(number), 1, 1_000)?;
        let watchers = scenario.mix.map(|mix| number(mix.watchers));
        let watchers = within("the watchers of mix", watchers, 0, 1_000)?;
        let table = &scenario.sim;
        let seeds = within("[sim] seeds", table.seeds, 1, SEEDS_MAX)?;
        let observers = within("[sim] observers", table.observers, 0, 9)?;
        if let Some(name) = table.links.as_ref().filter(|name| Links::from_name(name).is_none()) {
            let names = Links::ALL.map(Links::name).join(", ");
            let path = scenario.path.display();
            let message = format!("{path}: [sim] links = `{name}`: expected {names}");
            return Err(Complaint::new(Exit::Usage, message));
        }
        Ok(Self {
            protocol: self.protocol.or(Some(protocol)),
            seeds: self.seeds.or(seeds).or(Some(SEEDS_OF_SCENARIO)),
            from: self.from.or(scenario.seed),
            links: self
                .links
                .or_else(|| table.links.clone())
                .or_else(|| Some(Links::Lan.name().to_owned())),
            depth: self.depth.or(Some(Depths::Protocol)),
            nodes: self.nodes.or(nodes).or(Some(3)),
            observers: self.observers.or(observers).or(Some(0)),
            clients: self.clients.or(clients),
            watchers: self.watchers.or(watchers).or(Some(0)),
            think: self.think.or(table.think),
            duration: self.duration.or(scenario.duration),
            profile: Profile::Calm.name().to_owned(),
            workload: Some(workload),
            ..self
        })
    }

    fn first(&self) -> u64 {
        self.from.unwrap_or(0)
    }

    fn count(&self) -> u64 {
        self.seeds.unwrap_or(SEEDS_DEFAULT)
    }

    fn run_all(self) -> Result<(), Complaint> {
        if self.protocol == Some(Protocols::Zab) && self.profile == Profile::Datagrams.name() {
            let message = "ZAB is made of connections that keep the order, so `datagrams` is for Raft alone; \
                           use --protocol raft, or another profile";
            return Err(Complaint::new(Exit::Usage, message));
        }
        match self.mutant {
            Some(Wrong::List) => return print::bytes(mutants().as_bytes()),
            Some(Wrong::One(_)) if !mutant::AVAILABLE => {
                let message = "this build has no wrong versions, which no server should have; build \
                               one that has: cargo run --release --features mutants -- sim …";
                return Err(Complaint::new(Exit::Usage, message));
            }
            Some(Wrong::One(_)) | None => {}
        }
        // A law that is asserted ends a run by a panic, which is told with everything else.
        std::panic::set_hook(Box::new(|_| {}));
        let began = Instant::now();
        let bar = bar(self.count());
        let (totals, failure) = self.all(&bar)?;
        bar.finish_and_clear();
        if let Some(failure) = failure {
            let shortest = self.shorten(&failure);
            print::bytes(format!("{shortest}\n").as_bytes())?;
            let message = format!("seed {} breaks a law", failure.options.seed);
            return Err(Complaint::new(Exit::No, message));
        }
        if totals.runs == 0 && totals.seeds > 0 {
            let message = "nothing was run: these seeds stand for `datagrams`, which is for Raft alone; \
                           use --protocol raft, or another --profile";
            return Err(Complaint::new(Exit::No, message));
        }
        print::bytes(totals.text(began.elapsed()).as_bytes())?;
        if totals.seeds < self.count() {
            let next = self.first() + totals.seeds;
            let left = self.count() - totals.seeds;
            let message = format!("interrupted; go on with --from {next} --seeds {left}");
            return Err(Complaint::new(Exit::No, message));
        }
        Ok(())
    }

    /// The options of a seed.
    fn options(&self, seed: u64) -> SimOptions {
        let mut options = SimOptions::in_turn(seed);
        options.profile = Profile::from_name(&self.profile).unwrap_or(options.profile);
        options.nodes = self.nodes.unwrap_or(options.nodes);
        match self.depth {
            Some(Depths::Protocol) => options.depth = Depth::Protocol,
            Some(Depths::Whole) => options.depth = Depth::Whole,
            Some(Depths::Mixed) | None => {}
        }
        let links = self.links.as_deref().and_then(Links::from_name);
        options.links = links.unwrap_or(options.links);
        options.observers = self.observers.unwrap_or(options.observers);
        let small = |number| usize::try_from(number).expect("a thousand at most");
        options.clients = self.clients.map_or(options.clients, small);
        options.watchers = self.watchers.map_or(options.watchers, small);
        options.think = self.think.or(options.think);
        options.duration = self.duration.unwrap_or(options.duration);
        options.ablations = self.ablate.iter().copied().collect();
        if let Some(Wrong::One(mutant)) = self.mutant {
            options.mutant = Some(mutant);
        }
        options.workload.clone_from(&self.workload);
        options.only_faults = self.only_faults.as_ref().map(|faults| faults.0.clone());
        options
    }

    fn protocols(&self) -> &'static [Protocol] {
        let only = match self.mutant {
            Some(Wrong::One(mutant)) => mutant.protocol(),
            _ => None,
        };
        match self.protocol.unwrap_or(Protocols::Both) {
            _ if only == Some(Protocol::Raft) => &[Protocol::Raft],
            _ if only == Some(Protocol::Zab) => &[Protocol::Zab],
            Protocols::Raft => &[Protocol::Raft],
            Protocols::Zab => &[Protocol::Zab],
            Protocols::Both => &[Protocol::Raft, Protocol::Zab],
        }
    }

    /// Runs all seeds in their order, several at a time, until one fails or the user has enough.
    fn all(&self, bar: &ProgressBar) -> Result<(Totals, Option<Box<Failure>>), Complaint> {
        let next = AtomicU64::new(self.first());
        let stop = AtomicBool::new(false);
        let totals = Mutex::new(Totals::default());
        let (failed, failures) = mpsc::channel();
        let jobs = self.jobs.or_else(|| std::thread::available_parallelism().ok());
        let jobs = jobs.map_or(1, NonZero::get);
        let end = self.first() + self.count();
        let work = || {
            std::thread::scope(|scope| {
                for _ in 0..jobs {
                    let failed = failed.clone();
                    scope.spawn(|| {
                        let failed = failed;
                        while !stop.load(Ordering::Relaxed) {
                            let seed = next.fetch_add(1, Ordering::Relaxed);
                            if seed >= end {
                                return;
                            }
                            match self.seed(seed) {
                                Ok(reports) => {
                                    let mut totals = totals.lock().expect("nobody panics here");
                                    totals.add(self.protocols(), &reports);
                                    bar.inc(1);
                                }
                                Err(failure) => {
                                    stop.store(true, Ordering::Relaxed);
                                    let _ = failed.send(failure);
                                }
                            }
                        }
                    });
                }
            });
        };
        super::signals::on_shutdown(|| stop.store(true, Ordering::Relaxed), work)
            .map_err(|error| Complaint::new(Exit::No, format!("cannot hear signals: {error}")))?;
        drop(failed);
        let first = failures.into_iter().min_by_key(|failure| failure.options.seed);
        Ok((totals.into_inner().expect("nobody panics here"), first))
    }

    fn seed(&self, seed: u64) -> Result<Vec<Report>, Box<Failure>> {
        let options = self.options(seed);
        let protocols = self.protocols().iter();
        let suited = protocols.filter(|protocol| options.profile.suits(**protocol));
        let runs = suited.map(|protocol| match protocol {
            Protocol::Zab => run::<Zab>(&options),
            _ => run::<Raft>(&options),
        });
        runs.collect()
    }

    /// The shortest run that breaks the same law.
    fn shorten(&self, failure: &Failure) -> Box<Failure> {
        let bar = bar(self.attempts as u64);
        bar.set_message("a law is broken; looking for a shorter run");
        let tried = |_| {
            bar.inc(1);
            true
        };
        let shortest = match failure.protocol {
            Protocol::Zab => shrink::<Zab>(failure, self.attempts, tried),
            _ => shrink::<Raft>(failure, self.attempts, tried),
        };
        bar.finish_and_clear();
        shortest
    }
}

/// Every wrong version, with what is wrong.
fn mutants() -> String {
    let line = |mutant: &Mutant| {
        let protocol = mutant.protocol().map_or("both", Protocol::name);
        format!("{:<28} {protocol:<5} {}\n", mutant.name(), mutant.sentence())
    };
    Mutant::ALL.iter().map(line).collect()
}

fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len}  {elapsed}, {eta} to go");
    ProgressBar::new(length).with_style(style.expect("the template is right"))
}

/// What was run.
#[derive(Debug, Default)]
struct Totals {
    seeds: u64,
    runs: u64,
    virtual_time: Duration,
    inputs: u64,
    faults: u64,
    acknowledged: u64,
    searches_given_up: u64,
    worked: Worked,
}

impl Totals {
    /// Of a scenario all protocols are run, so that each report is of the protocol in its place.
    fn add(&mut self, protocols: &[Protocol], reports: &[Report]) {
        self.seeds += 1;
        for (protocol, report) in protocols.iter().zip(reports) {
            if let Some(workload) = &report.workload {
                self.worked.add(*protocol, workload);
            }
        }
        for report in reports {
            self.runs += 1;
            self.virtual_time += report.duration;
            self.inputs += report.counters.inputs;
            self.faults += report.counters.faults;
            self.acknowledged += report.counters.acknowledged;
            self.searches_given_up += report.counters.searches_given_up;
        }
    }

    fn text(&self, took: Duration) -> String {
        let seconds = took.as_secs_f64().max(1e-3);
        let virtual_seconds = self.virtual_time.as_secs_f64();
        format!(
            "{} runs of {} seeds: every law held\n\
             virtual time          {:.0} s, {:.0} times as fast as real time\n\
             protocol events       {}, {:.0} each second\n\
             faults                {}\n\
             acknowledged writes   {}\n\
             searches given up     {}, of one key each\n{}",
            self.runs,
            self.seeds,
            virtual_seconds,
            virtual_seconds / seconds,
            self.inputs,
            self.inputs as f64 / seconds,
            self.faults,
            self.acknowledged,
            self.searches_given_up,
            self.worked.text()
        )
    }
}
