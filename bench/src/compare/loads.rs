//! The loads of one cluster, one after another.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::plan::{MixedLoad, Part, RATES, SWEEP, Settings};
use super::record::{Loads, Mixed, Step, Writes};
use super::run::Progress;
use super::strikes::endpoints;
use crate::Error;
use crate::cluster::Cluster;
use crate::load::{self, LoadOptions, Until, Workload};
use crate::watch::{self, FollowOptions, Followers, WatchOptions};

/// The beginning of a step of a curve that does not count.
const STEP_WARMUP: Duration = Duration::from_millis(300);
/// Puts a second of one key that all watchers are told of, few enough that nothing waits but the telling.
const WATCHED_PUTS_PER_SECOND: f64 = 50.0;
/// On how many connections the watchers are at most, and the clients that put.
const WATCH_STREAMS_MAX: usize = 50;
const WATCH_WRITERS: usize = 8;

/// Measures the loads of a fresh cluster that were asked for. It is filled before reads.
pub(super) async fn measure(
    cluster: &mut Cluster,
    settings: &Settings,
    seed: u64,
    progress: &Progress,
) -> Result<Loads, Error> {
    let mut loads = Loads::default();
    // First of all, for it expects that its key was never put.
    if settings.measures(Part::Watch) {
        progress.phase("watchers");
        loads.watch = Some(watchers(cluster, settings, seed).await?);
    }
    let mut options = LoadOptions {
        endpoints: endpoints(cluster, settings.placement).await?,
        connections: settings.connections,
        workload: Workload::Put,
        warmup: settings.phases.write_warmup,
        until: Until::Elapsed(settings.phases.write),
        value_bytes: settings.value_bytes,
        keys: settings.keys,
        key_distribution: settings.key_distribution,
        per_second: None,
        seed,
    };
    let reads_at_faults = settings.measures(Part::Failover) && settings.beside_faults.is_some();
    if settings.measures(Part::Reads) || settings.measures(Part::Mixed) || reads_at_faults {
        loads.fill = Some(load::fill(&options).await?);
    }
    progress.phase("writes");
    if settings.measures(Part::Writes) {
        options.endpoints = endpoints(cluster, settings.placement).await?;
        loads.write = Some(writes(cluster, settings, &options).await?);
    }
    if settings.measures(Part::Mixed) {
        progress.phase("mixed");
        options.endpoints = endpoints(cluster, settings.placement).await?;
        loads.mixed = Some(mixed(cluster, settings, &options).await?);
    }
    progress.phase("linearizable reads");
    if settings.measures(Part::Reads) {
        options.endpoints = endpoints(cluster, settings.placement).await?;
        loads.read = Some(
            load::run(&LoadOptions {
                workload: Workload::Get { freshness: load::Freshness::Linearizable },
                warmup: settings.phases.read_warmup,
                until: Until::Elapsed(settings.phases.read),
                ..options.clone()
            })
            .await?,
        );
    }
    options.endpoints = endpoints(cluster, settings.placement).await?;
    curves(settings, &options, progress, &mut loads).await?;
    Ok(loads)
}

async fn writes(
    cluster: &Cluster,
    settings: &Settings,
    options: &LoadOptions,
) -> Result<Writes, Error> {
    let options = LoadOptions { per_second: settings.rate, ..options.clone() };
    let (used, counted) = (cluster.resource_use(), cluster.counters().await?);
    let report = load::run(&options).await?;
    let used = cluster.resource_use().since(used);
    let counters = cluster.counters().await?.since(&counted);
    Ok(Writes { report, used, counters })
}

async fn mixed(
    cluster: &Cluster,
    settings: &Settings,
    options: &LoadOptions,
) -> Result<Mixed, Error> {
    let MixedLoad { mix, watchers } = settings.mixed;
    let options = LoadOptions {
        workload: Workload::Mixed(mix),
        per_second: settings.rate,
        ..options.clone()
    };
    if watchers == 0 {
        return Ok(Mixed { report: load::run(&options).await?, delivery: None });
    }
    let follow = FollowOptions { streams: watchers, warmup: options.warmup };
    let epoch = Instant::now();
    let followers = Followers::start(&cluster.endpoints(), follow, epoch).await?;
    let report = load::run_since(&options, epoch).await?;
    Ok(Mixed { report, delivery: Some(followers.finish().await?) })
}

async fn watchers(
    cluster: &mut Cluster,
    settings: &Settings,
    seed: u64,
) -> Result<watch::WatchReport, Error> {
    let writers = endpoints(cluster, settings.placement).await?;
    let options = WatchOptions {
        watchers: settings.watchers,
        streams: settings.watchers.min(WATCH_STREAMS_MAX),
        per_second: WATCHED_PUTS_PER_SECOND,
        keys: 1,
        warmup: settings.phases.read_warmup,
        duration: settings.phases.write,
        value_bytes: settings.value_bytes,
        connections: WATCH_WRITERS,
        seed,
    };
    watch::measure(cluster, &options, &writers, &ProgressBar::hidden()).await
}

/// What is measured in steps.
async fn curves(
    settings: &Settings,
    options: &LoadOptions,
    progress: &Progress,
    loads: &mut Loads,
) -> Result<(), Error> {
    let step = LoadOptions {
        workload: Workload::Put,
        warmup: STEP_WARMUP,
        until: Until::Elapsed(settings.phases.step),
        ..options.clone()
    };
    if settings.measures(Part::Sweep) {
        progress.phase("writes by more and more clients");
        for connections in SWEEP {
            let report = load::run(&LoadOptions { connections, ..step.clone() }).await?;
            loads.sweep.push(Step { at: connections as f64, report });
        }
    }
    if settings.measures(Part::Paced) {
        progress.phase("writes at higher and higher rates");
        for rate in RATES {
            let options = LoadOptions { per_second: Some(rate), ..step.clone() };
            loads.paced.push(Step { at: rate, report: load::run(&options).await? });
        }
    }
    Ok(())
}
