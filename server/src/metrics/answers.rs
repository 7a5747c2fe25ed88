//! Counting the answers of one call, of which there may be tens of thousands a second.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::{Metrics, RequestLabel, RouteLabel};

/// So many statuses of a call have their counters here; a call that has more of them looks the others up each
/// time.
const STATUSES_MAX: usize = 8;

/// What counts the answers of one call: looked up among all calls once, when it answers for the first time.
#[derive(Debug)]
pub(crate) struct AnswerCounters {
    route: &'static str,
    seconds: OnceLock<Histogram>,
    /// By status, in the order in which they were answered first.
    requests: [OnceLock<(u16, Counter)>; STATUSES_MAX],
}

impl AnswerCounters {
    /// Of the call with this name: its method and path with the parameters left out.
    pub(crate) fn new(route: &'static str) -> Self {
        Self { route, seconds: OnceLock::new(), requests: Default::default() }
    }

    /// Counts an answer, which took so long until its body began.
    pub(crate) fn count(&self, metrics: &Metrics, status: u16, took: Duration) {
        let route = self.route;
        let look_up = || metrics.http_requests.get_or_create_owned(&RequestLabel { route, status });
        let places = self.requests.iter().map(|place| place.get_or_init(|| (status, look_up())));
        match places.into_iter().find(|(known, _)| *known == status) {
            Some((_, counter)) => counter.inc(),
            None => look_up().inc(),
        };
        let seconds = self
            .seconds
            .get_or_init(|| metrics.http_seconds.get_or_create_owned(&RouteLabel { route }));
        seconds.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn every_answer_counts_for_its_call_and_status() {
        let metrics = Metrics::new();
        let (first, second) = (AnswerCounters::new("GET /a"), AnswerCounters::new("PUT /a"));
        for status in 200..212 {
            for _ in 199..status {
                first.count(&metrics, status, Duration::from_secs(1));
            }
        }
        second.count(&metrics, 201, Duration::from_secs(2));
        // As another listener of the same node would have them.
        AnswerCounters::new("PUT /a").count(&metrics, 201, Duration::from_secs(2));
        let mut text = String::new();
        encode(&mut text, &metrics.registry).expect("a string takes everything written to it");
        let counted = |line: &str| text.lines().any(|one| one == line);
        for status in 200..212 {
            let count = status - 199;
            let line = format!(
                "duorum_http_requests_total{{route=\"GET /a\",status=\"{status}\"}} {count}"
            );
            assert!(counted(&line), "no {line} in\n{text}");
        }
        assert!(counted("duorum_http_requests_total{route=\"PUT /a\",status=\"201\"} 2"));
        assert!(counted("duorum_http_request_duration_seconds_count{route=\"GET /a\"} 78"));
        assert!(counted("duorum_http_request_duration_seconds_sum{route=\"PUT /a\"} 4.0"));
        let lines = text.lines().filter(|line| line.starts_with("duorum_http_requests_total{"));
        assert_eq!(lines.count(), 12 + 1, "what was not answered is not there");
    }
}
