//! Faults under load: what is written while they strike, so that they can be timed, and what else goes on.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::plan::{Part, Placement, Settings};
use crate::Error;
use crate::cluster::{Cluster, Fault};
use crate::failover::FailoverOptions;
use crate::load::{self, Crowd, HttpClient, LoadOptions, Mix, Until, Workload};
use crate::report::format::{count_words, figure};

/// The rates at which a failover's own writes may be due: an outage is known to within the time between two of them,
/// and while nobody answers each of them has a connection.
pub(super) const RATE_MIN: f64 = 10.0;
pub(super) const RATE_MAX: f64 = 10_000.0;

impl Settings {
    /// How faults are timed: by writes of the same size to the same keys as those of the other loads. They are due at
    /// the rate that was asked for, unless other clients keep to it at the same time.
    #[must_use]
    pub fn failover_options(&self) -> FailoverOptions {
        let options = FailoverOptions {
            value_bytes: self.value_bytes,
            keys: self.keys,
            key_distribution: self.key_distribution,
            ..FailoverOptions::new(Fault::Kill)
        };
        options.paced(self.rate_of_failovers())
    }

    /// Writes a second, of a failover, that were asked for.
    pub(crate) fn rate_of_failovers(&self) -> Option<f64> {
        self.rate.filter(|_| self.beside_faults.is_none())
    }

    /// Whether a load has as many clients as can be chosen: who watches many have writers of their own, and a sweep has
    /// more and more clients.
    #[must_use]
    pub(crate) fn has_clients(&self) -> bool {
        let has_beside = self.beside_faults.is_some() && self.measures(Part::Failover);
        let of_a_number = [Part::Writes, Part::Reads, Part::Mixed, Part::Paced];
        has_beside || of_a_number.into_iter().any(|part| self.measures(part))
    }

    /// Whether a load has clients whose place can be chosen.
    #[must_use]
    pub(crate) fn has_placement(&self) -> bool {
        let has_beside = self.beside_faults.is_some() && self.measures(Part::Failover);
        has_beside || self.parts.iter().any(|&part| part != Part::Failover)
    }

    /// Who asks, beside those whose writes time the faults.
    #[must_use]
    pub fn clients_text(&self) -> String {
        let place = self.placement.text();
        if self.has_clients() {
            format!("{} {place}", count_words(self.connections, "connection"))
        } else if self.has_placement() {
            format!("clients {place}")
        } else {
            "no clients but those of the failovers".to_owned()
        }
    }

    /// Refuses rates that faults can not be timed by.
    pub(super) fn check_rate_of_failovers(&self) -> Result<(), Error> {
        let rate = self.rate_of_failovers().filter(|_| self.measures(Part::Failover));
        match rate.filter(|rate| !(RATE_MIN..=RATE_MAX).contains(rate)) {
            Some(rate) => Err(Error::Usage(format!(
                "--rate {rate}: an outage is timed by writes at that rate; allowed are {RATE_MIN} to {RATE_MAX} where \
                 failover is measured, and any other with --only writes or mixed"
            ))),
            None => Ok(()),
        }
    }
}

/// What is written while faults strike, and what else goes on, as the rest of a sentence.
pub(super) fn plan_text(settings: &Settings) -> String {
    let options = settings.failover_options();
    let mut text = format!(
        " under {} writes a second of {} that are due, each on a connection of its own",
        figure(options.per_second()),
        count_words(options.value_bytes, "byte"),
    );
    if let Some(Mix { put, get, range }) = settings.beside_faults {
        let rate = settings.rate.map(|rate| format!(", {} a second due", figure(rate)));
        let _ = write!(
            text,
            ", beside {} with writes to reads to ranges as {put} to {get} to {range}{}",
            count_words(settings.connections, "client"),
            rate.unwrap_or_default(),
        );
    }
    text
}

/// Begins what goes on beside a fault, if anything does. A client whose node takes no connection asks another one.
pub(super) async fn beside(
    cluster: &mut Cluster,
    settings: &Settings,
    seed: u64,
) -> Result<Option<Crowd<HttpClient>>, Error> {
    let Some(mix) = settings.beside_faults else { return Ok(None) };
    let options = LoadOptions {
        endpoints: endpoints(cluster, settings.placement).await?,
        connections: settings.connections,
        workload: Workload::Mixed(mix),
        warmup: Duration::ZERO,
        until: Until::Stopped,
        value_bytes: settings.value_bytes,
        keys: settings.keys,
        key_distribution: settings.key_distribution,
        per_second: settings.rate,
        seed,
    };
    load::start(&options, Instant::now(), &cluster.endpoints()).await.map(Some)
}

/// Where the clients ask.
pub(super) async fn endpoints(
    cluster: &mut Cluster,
    placement: Placement,
) -> Result<Vec<SocketAddr>, Error> {
    Ok(match placement {
        Placement::Spread => cluster.endpoints(),
        Placement::Leader => {
            let leader = cluster.settle().await?;
            vec![cluster.endpoint(leader)]
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::KeyDistribution;

    #[test]
    fn faults_are_timed_by_writes_as_they_were_asked_for() {
        let mut settings = Settings::new(1, false);
        let usual = settings.failover_options();
        assert_eq!((usual.value_bytes, usual.keys, usual.period.as_millis()), (256, 10_000, 2));
        (settings.value_bytes, settings.keys) = (4_096, 50);
        settings.key_distribution = KeyDistribution::Hot;
        settings.rate = Some(4_000.0);
        let asked = settings.failover_options();
        assert_eq!((asked.value_bytes, asked.keys, asked.period.as_micros()), (4_096, 50, 250));
        assert_eq!(asked.key_distribution, KeyDistribution::Hot);
        assert_eq!((asked.before, asked.after), (usual.before, usual.after));
        let text = plan_text(&settings);
        assert_eq!(
            text,
            " under 4,000 writes a second of 4,096 bytes that are due, each on a connection of its own"
        );

        // Other clients keep to the rate, and the faults are timed as usual.
        settings.beside_faults = Some(Mix { put: 1, get: 1, range: 0 });
        assert_eq!(settings.failover_options().period, usual.period);
        let beside =
            " beside 64 clients with writes to reads to ranges as 1 to 1 to 0, 4,000 a second due";
        assert!(plan_text(&settings).ends_with(beside), "{}", plan_text(&settings));
    }

    #[test]
    fn large_values_are_written_less_often_unless_a_rate_is_named() {
        let mut settings = Settings::new(1, false);
        settings.value_bytes = 1 << 20;
        let large = settings.failover_options();
        assert_eq!((large.period.as_millis(), large.before.as_millis()), (250, 750));
        assert_eq!(
            (large.under_way_max(), Settings::new(1, false).failover_options().under_way_max()),
            (64, 1_024)
        );
        settings.rate = Some(100.0);
        assert_eq!(settings.failover_options().period.as_millis(), 10);
    }

    #[test]
    fn a_rate_that_no_outage_can_be_timed_by_is_refused() {
        let mut settings = Settings::new(1, false);
        for rate in [9.0, 10_001.0] {
            settings.rate = Some(rate);
            let error = settings.check().expect_err("no such rate").to_string();
            assert!(
                error.contains("allowed are 10 to 10000 where failover is measured"),
                "{error}"
            );
        }
        settings.parts = [Part::Writes].into();
        settings.check().expect("nothing fails");
        settings.parts = [Part::Failover].into();
        settings.rate = Some(10.0);
        settings.check().expect("the failover's own writes are due at that rate");
    }
}
