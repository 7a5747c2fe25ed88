//! The method, with the numbers of the comparison filled in.

use std::time::Duration;

use super::Report;
use super::format::{count_words, figure, seconds};
use super::html::escape;
use crate::compare::{Part, Settings, phases_text};

const METHOD: &str = include_str!("method.html");

pub(super) fn section(report: &Report) -> String {
    let comparison = &report.comparison;
    let settings = &comparison.settings;
    let phases = &settings.phases;
    let options = &comparison.failover_options;
    let intervals = report.analysis.intervals();
    // The chance that at least one of so many 95 % intervals misses the truth, if each had its own
    // luck.
    let false_alarm = 100.0 * (1.0 - 0.95f64.powf(intervals as f64));
    let numbers = [
        ("NODES", settings.nodes.to_string()),
        ("CLIENTS", settings.clients_text()),
        ("STEPS", phases_text(settings)),
        ("KILLS", count_words(phases.kills, "time")),
        ("FAULTS", settings.faults.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", ")),
        ("PERIOD", millis(options.period)),
        ("LIMIT", seconds(options.limit)),
        ("RESAMPLES", figure(crate::stats::RESAMPLES as f64)),
        ("RESAMPLES_OF_MEDIANS", figure(crate::stats::RESAMPLES_OF_MEDIANS as f64)),
        (
            "INTERVALS",
            match intervals {
                0 => String::new(),
                _ => format!(
                    "{} on this page, costs, kinds of faults and points of curves among them: were all ties in truth, \
                     and had each its own luck, {false_alarm:.0} of 100 comparisons would show a difference \
                     somewhere by chance.",
                    if intervals == 1 {
                        "1 ratio with its interval is".to_owned()
                    } else {
                        format!("{intervals} ratios with their intervals are")
                    }
                ),
            },
        ),
        ("BLOCKS_TO_CONCLUDE", crate::stats::BLOCKS_TO_CONCLUDE.to_string()),
    ];
    let text_with_parts =
        METHOD.replace("{LOOP}", load_loop(settings)).replace("{WATCH}", watches(settings));
    let text = numbers.into_iter().fold(text_with_parts, |text, (name, value)| {
        text.replace(&format!("{{{name}}}"), &escape(&value))
    });
    format!("<h2>Method</h2>\n{text}")
}

/// A time in milliseconds, as short as it can be said.
fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1e3;
    if millis.fract() == 0.0 { format!("{millis:.0} ms") } else { format!("{} ms", figure(millis)) }
}

/// How the clients of the loads ask.
fn load_loop(settings: &Settings) -> &'static str {
    match settings.rate {
        None => {
            "<li><b>Throughput and latency under load are a closed loop.</b> Each connection sends its next request when \
             the last one is answered. That shows what so many clients can do. It understates the latency that users \
             would see during stalls, because a waiting client asks nothing.</li>"
        }
        Some(_) => {
            "<li><b>Writes and mixed operations are an open loop</b>: they are due at a fixed rate, answered or not, and \
             the latency of each that was due in the measured time counts from the moment at which it was due to its \
             answer, also if that came after the end. Latencies of a run that could not send all that was due, not even \
             within a second after the end, are left out, for they would be too good. Reads are a closed loop.</li>"
        }
    }
}

/// How watches are measured, if they are.
fn watches(settings: &Settings) -> &'static str {
    let followed = settings.measures(Part::Mixed) && settings.mixed.watchers > 0;
    if !settings.measures(Part::Watch) && !followed {
        return "";
    }
    "<li><b>Watches.</b> A value says when its write was due, or sent, and an event takes from then until a watcher has read \
     it: the write itself is in that time. Watchers are spread over all nodes and read on the thread of the clients. Each \
     must be told of every version of a key once and in order; a block in which one was not does not count.</li>\n"
}
