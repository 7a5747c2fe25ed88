//! The floors: what is possible without replication, and without a store.

use std::path::PathBuf;
use std::time::Duration;

use consensus::Protocol;

use super::loads;
use super::plan::{Part, Settings};
use super::record::Floor;
use super::run::{Environment, Progress};
use crate::Error;
use crate::cluster::{Cluster, ClusterOptions};
use crate::echo::EchoProcess;
use crate::load::{self, LoadOptions, Until, Workload};

/// How long the echo is measured; it is steady from the start.
const ECHO: Duration = Duration::from_millis(1_000);
const ECHO_WARMUP: Duration = Duration::from_millis(300);

/// Measures both floors.
pub(super) async fn measure(
    environment: &Environment,
    settings: &Settings,
    after_runs: usize,
    progress: &Progress,
) -> Result<Floor, Error> {
    progress.phase("floor: echo");
    let echo = {
        let process = EchoProcess::start(&environment.executable).await?;
        load::run(&LoadOptions {
            endpoints: vec![process.address()],
            connections: settings.connections,
            workload: Workload::Echo,
            warmup: ECHO_WARMUP,
            until: Until::Elapsed(ECHO),
            value_bytes: settings.value_bytes,
            keys: settings.keys,
            key_distribution: load::KeyDistribution::Uniform,
            per_second: None,
            seed: settings.seed,
        })
        .await?
    };
    progress.phase("floor: null protocol");
    let name = format!("floor-{after_runs:03}-null");
    let data: PathBuf = environment.data.join(&name);
    let mut cluster = Cluster::start(ClusterOptions {
        executable: environment.executable.clone(),
        protocol: Protocol::Null,
        nodes: 1,
        data,
        logs: environment.logs.clone(),
        name,
        flags: Vec::new(),
    })
    .await?;
    // The floors are points, and no curves; nobody takes over from a single node.
    let has_floor = |part: &Part| !part.has_steps() && *part != Part::Failover;
    let points = settings.parts.iter().copied().filter(has_floor);
    let plain = Settings { parts: points.collect(), ..settings.clone() };
    let mut null = loads::measure(&mut cluster, &plain, settings.seed, progress).await?;
    if null.write.is_none() {
        // Whatever is measured, its floor is how many writes there can be.
        let writes = Settings { parts: [Part::Writes].into(), rate: None, ..plain };
        null.write = loads::measure(&mut cluster, &writes, settings.seed, progress).await?.write;
    }
    cluster.remove()?;
    Ok(Floor { after_runs, echo, null })
}
