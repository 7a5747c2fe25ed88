//! `duorum serve`.

use std::io::IsTerminal as _;

use clap::Args;

use super::{Complaint, Exit, signals};
use crate::config::{ServeConfig, ServeFlags, log_filter};
use crate::serve::{ServeError, serve};

const EXAMPLES: &str = "\
Examples:
  duorum serve                                 one node of Raft on 127.0.0.1:2379
  duorum serve --protocol zab --id 1 --http 127.0.0.1:7011 \\
      --cluster 1=127.0.0.1:7111,2=127.0.0.1:7112,3=127.0.0.1:7113
  duorum serve --config duorum.toml

A flag counts more than the environment, that more than the file, and that more than the default.
SIGTERM and SIGINT stop the server cleanly.";

/// Threads that may wait for a disk on behalf of clients: this bounds what large reads take of
/// memory.
const BLOCKING_THREADS_MAX: usize = 16;

/// The flags.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    flags: ServeFlags,

    /// Stop as by SIGTERM when the process of this number ends, which started this one. For programs
    /// that start servers for a while: their end, however sudden, leaves none behind.
    #[arg(long, value_name = "PID", hide = true)]
    stop_with_parent: Option<u32>,
}

impl Serve {
    /// Runs the verb, until it is told to stop.
    pub(super) fn run(self) -> Result<(), Complaint> {
        if let Some(parent) = self.stop_with_parent {
            bench::cluster::stop_with_parent(parent).map_err(|error| {
                Complaint::new(Exit::No, format!("--stop-with-parent {parent}: {error}"))
            })?;
        }
        let config = ServeConfig::from_flags(self.flags)
            .map_err(|error| Complaint::new(Exit::Usage, error.to_string()))?;
        let filter = log_filter(&config.log)
            .map_err(|error| Complaint::new(Exit::Usage, format!("--log: {error}")))?;
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .compact()
            .init();
        let failed = |cause: String| Complaint::new(Exit::No, cause);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .build()
            .map_err(|cause| failed(format!("no runtime: {cause}")))?;
        runtime
            .block_on(async {
                let shutdown =
                    signals::shutdown().map_err(|cause| ServeError::Start(cause.to_string()))?;
                serve(config, shutdown).await
            })
            .map_err(|error| failed(error.to_string()))
    }
}
