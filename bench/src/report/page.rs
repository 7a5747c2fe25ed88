//! The page of a comparison.

use std::fmt::Write;

use super::format::{bytes, count_words, figure, seconds, utc};
use super::html::{escape, table};
use super::{Report, plots, systems, timelines, warnings};
use crate::cluster::Fault;
use crate::compare::{
    Better, Comparison, CurveKind, Finding, Measure, Run, Settings, Side, Spread, phases_text,
};
use crate::failover::Failover;
use crate::load::LatencyReport;

const STYLE: &str = include_str!("style.css");
const METHOD: &str = include_str!("method.html");

/// The measures that the page opens with.
const HEADLINES: [Measure; 4] = [
    Measure::WriteThroughput,
    Measure::WriteLatencyP99,
    Measure::ReadThroughput,
    Measure::Failover,
];

pub(super) fn page(report: &Report) -> String {
    let comparison = &report.comparison;
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&title(comparison))
    );
    text.push_str(&head(report));
    text.push_str(&figures(report));
    text.push_str(&plots_section(report));
    text.push_str(&timelines::section(report));
    if let Some(measured) = &report.systems {
        text.push_str(&systems::section(measured));
    }
    let _ = write!(text, "<h2>Method</h2>\n{}", method(comparison));
    text.push_str(&manifest(comparison));
    text.push_str(&raw(report));
    text.push_str("</main>\n</body>\n</html>\n");
    text
}

fn head(report: &Report) -> String {
    let comparison = &report.comparison;
    let mut text = format!(
        "<h1>{}</h1>\n<p class=\"when\">{} · {} · {} of 4 runs</p>\n",
        escape(&title(comparison)),
        utc(comparison.began_at_seconds),
        seconds(std::time::Duration::from_secs_f64(comparison.took_seconds.round())),
        count_words(comparison.plan.blocks.len(), "block"),
    );
    text.push_str("<div class=\"findings\">\n");
    for finding in HEADLINES.iter().filter_map(|&measure| report.analysis.finding(measure)) {
        text.push_str(&headline(finding, names(comparison)));
    }
    text.push_str("</div>\n");
    let _ = writeln!(
        text,
        "<p>What this does not say: clients and servers shared {} of one machine and talked over \
         loopback, so the network costs nothing and everybody competes for the processor. The \
         ratios compare the protocols on equal terms; the absolute figures are this machine's. \
         Where the interval contains 1, no winner is named.</p>",
        count_words(comparison.machine.cores, "core")
    );
    for warning in warnings(comparison) {
        let _ = writeln!(text, "<p class=\"warning\">{}</p>", escape(&warning));
    }
    text
}

fn headline(finding: &Finding, [a, b]: [&str; 2]) -> String {
    let measure = finding.measure;
    let class = match finding.ratio {
        Some(ratio) if ratio.concludes() => {
            let a_wins = (ratio.ratio > 1.0) == (measure.better() == Better::Higher);
            if a_wins { "a" } else { "b" }
        }
        _ => "open",
    };
    let interval = finding.ratio.map_or_else(String::new, |ratio| {
        format!(
            "<span>{} / {} {:.2}, 95 % interval {:.2} to {:.2}, n = {}</span>",
            escape(a),
            escape(b),
            ratio.ratio,
            ratio.low,
            ratio.high,
            ratio.blocks
        )
    });
    format!(
        "<div class=\"finding {class}\">{}<strong>{}</strong>\
         <span>{} {}, {} {}</span>{interval}</div>\n",
        capitalized(measure.name()),
        escape(&finding.verdict),
        escape(a),
        measure.with_unit(finding.a.median),
        escape(b),
        measure.with_unit(finding.b.median),
    )
}

fn title(comparison: &Comparison) -> String {
    let [a, b] = names(comparison);
    format!("{a} and {b} on the same stack")
}

/// What both sides are called.
fn names(comparison: &Comparison) -> [&str; 2] {
    Side::BOTH.map(|side| comparison.name(side))
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn figures(report: &Report) -> String {
    let spread = |spread: &Spread| {
        format!(
            "{}<small>{} – {}</small>",
            figure(spread.median),
            figure(spread.min),
            figure(spread.max)
        )
    };
    let row = |finding: &Finding| {
        let ratio = finding.ratio.map_or_else(
            || "–".to_owned(),
            |ratio| {
                format!("{:.2}<small>{:.2} – {:.2}</small>", ratio.ratio, ratio.low, ratio.high)
            },
        );
        vec![
            escape(&finding.measure.heading()),
            spread(&finding.a),
            spread(&finding.b),
            ratio,
            finding.blocks.len().to_string(),
            finding.null.as_ref().map_or_else(|| "–".to_owned(), spread),
            escape(&finding.verdict),
        ]
    };
    let rows = |costs: bool| -> Vec<Vec<String>> {
        let findings = report.analysis.findings.iter();
        findings.filter(|finding| finding.measure.is_cost() == costs).map(row).collect()
    };
    let [a, b] = names(&report.comparison).map(escape);
    let ratio = format!("{a} / {b}");
    let head = ["", &a, &b, &ratio, "n", "null, 1 node", "what may be said"];
    let section = |text: &str, rows: Vec<Vec<String>>| match rows.is_empty() {
        true => String::new(),
        false => format!("{text}{}", table(&head, &rows)),
    };
    section(
        "<h2>Figures</h2>\n<p>Medians over the blocks, below them the smallest and the largest \
         block; the ratio with its 95 % interval. The null protocol does not replicate: the \
         distance to it is the price of replication.</p>\n",
        rows(false),
    ) + &section(
        "<h2>What a write costs</h2>\n<p>Of all nodes together, from their own counters: what \
         explains the figures above. A frame can carry many messages, and one fdatasync can make \
         many writes durable; the more there is to do at once, the more are carried together.</p>\n",
        rows(true),
    )
}

fn plots_section(report: &Report) -> String {
    let comparison = &report.comparison;
    let [a, b] = names(comparison).map(escape);
    let mut text = format!(
        "<h2>Plots</h2>\n<p class=\"keys\"><span><i class=\"key a\"></i>{a}</span>\
         <span><i class=\"key b\"></i>{b}</span>\
         <span><i class=\"key open\"></i>neither</span></p>\n<div class=\"plots\">\n",
    );
    let mut add = |title: &str, caption: &str, plot: Option<String>| {
        if let Some(plot) = plot {
            let _ = write!(
                text,
                "<figure><h3>{}</h3><figcaption>{}</figcaption>\n{plot}</figure>\n",
                escape(title),
                escape(caption)
            );
        }
    };
    add(
        "How much better, and how sure",
        "The bar is the 95 % interval; it is grey where it contains 1 or the blocks are too few.",
        plots::ratios(report),
    );
    add(
        "What replication costs",
        "Writes a second, beside the same stack without replication and a bare HTTP echo.",
        plots::floors(report),
    );
    for curve in &report.analysis.curves {
        let caption = match curve.kind {
            CurveKind::SweepThroughput => {
                "Closed loops of more and more clients. Line: the median over the blocks; band: the extremes."
            }
            CurveKind::PacedP50 | CurveKind::PacedP99 => {
                "Writes that are due at fixed moments; latency from then. A curve ends where not all could be sent; \
                 the upright lines are the last rates that are kept up with."
            }
        };
        add(&capitalized(curve.kind.name()), caption, plots::curve(report, curve));
    }
    add(
        "Write throughput by block",
        "The two marks of a block were measured close together, under the same conditions.",
        plots::blocks(report, Measure::WriteThroughput),
    );
    add(
        "Read throughput by block",
        "Linearizable reads, each confirmed by a quorum.",
        plots::blocks(report, Measure::ReadThroughput),
    );
    add(
        "Write latency under full load",
        "Closed loop. Line: the median over the runs; band: the extremes.",
        plots::latencies(comparison),
    );
    add(
        "Outage after SIGKILL of the leader",
        "Every kill is one mark.",
        plots::outages(comparison),
    );
    for side in Side::BOTH {
        add(
            &format!("Writes through the kills: {}", comparison.name(side)),
            "Paced writes to the surviving nodes; latency from the intended moment. \
             Crosses are errors.",
            plots::probes(comparison, side),
        );
    }
    for side in Side::BOTH {
        add(
            &format!("Write throughput over time: {}", comparison.name(side)),
            "One line for each run. The shaded beginning does not count.",
            plots::timelines(comparison, side),
        );
    }
    text.push_str("</div>\n");
    text
}

/// The method, with this comparison's numbers filled in.
fn method(comparison: &Comparison) -> String {
    let settings = &comparison.settings;
    let phases = &settings.phases;
    let options = &comparison.failover_options;
    let is_looked_at = |measure: &Measure| !measure.is_cost() && settings.measures(measure.part());
    let measures = Measure::ALL.into_iter().filter(is_looked_at).count();
    // The chance that at least one of so many 95 % intervals misses the truth, if each had its own
    // luck.
    let false_alarm = 100.0 * (1.0 - 0.95f64.powf(measures as f64));
    let numbers = [
        ("NODES", settings.nodes.to_string()),
        ("CONNECTIONS", settings.connections.to_string()),
        ("STEPS", phases_text(settings)),
        ("KILLS", count_words(phases.kills, "time")),
        ("FAULTS", faults_text(settings)),
        ("PERIOD", format!("{} ms", options.period.as_millis())),
        ("LIMIT", seconds(options.limit)),
        ("RESAMPLES", figure(crate::stats::RESAMPLES as f64)),
        (
            "MEASURES",
            match measures {
                0 => String::new(),
                _ => format!(
                    "{} looked at: if all were ties in truth, up to {false_alarm:.0} of 100 comparisons would \
                     name a winner somewhere by chance.",
                    if measures == 1 {
                        "1 measure is".to_owned()
                    } else {
                        format!("{measures} measures are")
                    }
                ),
            },
        ),
        ("BLOCKS_TO_CONCLUDE", crate::stats::BLOCKS_TO_CONCLUDE.to_string()),
    ];
    numbers.into_iter().fold(METHOD.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{name}}}"), &escape(&value))
    })
}

/// What happens to the leaders, as the rest of a sentence.
fn faults_text(settings: &Settings) -> String {
    let names: Vec<&str> = settings.faults.iter().map(|fault| fault.name()).collect();
    names.join(", ")
}

fn manifest(comparison: &Comparison) -> String {
    let machine = &comparison.machine;
    let file_system = &comparison.file_system;
    let disk = |probe: &crate::machine::DiskProbe| {
        format!(
            "p50 {} ms, p99 {} ms ({} writes of {} bytes)",
            figure(probe.p50_ms),
            figure(probe.p99_ms),
            probe.writes,
            probe.write_bytes
        )
    };
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "not known".to_owned());
    let coins: Vec<&str> = comparison.plan.blocks.iter().map(|block| block.letters()).collect();
    let rows = [
        ("cores", machine.cores.to_string()),
        ("processor", machine.cpu.clone()),
        ("frequency governor", or_unknown(machine.frequency_governor.clone())),
        ("memory", bytes(machine.memory_bytes)),
        ("kernel", machine.kernel.clone()),
        ("load average before", or_unknown(machine.load_average.map(|load| load.to_string()))),
        (
            "time given to other machines",
            or_unknown(comparison.stolen_percent.map(|stolen| format!("{stolen:.2} %"))),
        ),
        ("network", "loopback; clients and servers on the same machine".to_owned()),
        ("data directory", file_system.directory.clone()),
        (
            "file system",
            format!(
                "{} on {} at {} ({})",
                file_system.kind, file_system.device, file_system.mount_point, file_system.options
            ),
        ),
        ("fdatasync before", disk(&comparison.disk_before)),
        ("fdatasync after", disk(&comparison.disk_after)),
        (
            "duorum",
            format!(
                "{}, commit {}, {}",
                machine.duorum,
                machine.commit.as_deref().unwrap_or("not known"),
                if machine.optimized { "optimised" } else { "not optimised" }
            ),
        ),
        ("compiler", machine.rustc.clone()),
        ("command", comparison.command.clone()),
        ("seed", comparison.settings.seed.to_string()),
        ("A", comparison.name(Side::A).to_owned()),
        ("B", comparison.name(Side::B).to_owned()),
        ("coins", coins.join(" | ")),
    ];
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(name, value)| vec![name.to_owned(), escape(&value)]).collect();
    format!(
        "<h2>Machine and settings</h2>\n<div class=\"manifest\">\n{}</div>\n{}",
        table(&[], &rows),
        commands(comparison)
    )
}

/// The command lines of one cluster of each side: their settings, which are otherwise the
/// defaults.
fn commands(comparison: &Comparison) -> String {
    let mut text = String::from("<details><summary>How the nodes were started</summary>\n");
    for side in Side::BOTH {
        if let Some(run) = comparison.all_runs_of(side).next() {
            for command in &run.commands {
                let _ = writeln!(text, "<p><code>{}</code></p>", escape(command));
            }
        }
    }
    text.push_str(
        "<p>All other settings are the defaults, which both sides share. The nodes' \
         environment was cleared of settings.</p>\n</details>\n",
    );
    text
}

fn raw(report: &Report) -> String {
    let comparison = &report.comparison;
    let mut text = String::from("<h2>Runs</h2>\n");
    text.push_str(&runs_table(comparison));
    text.push_str("<h3>Left out</h3>\n");
    if report.analysis.exclusions.is_empty() {
        text.push_str("<p>Nothing.</p>\n");
    } else {
        text.push_str("<ul>\n");
        for exclusion in &report.analysis.exclusions {
            let block = exclusion.block + 1;
            let _ = writeln!(text, "<li>block {block}: {}</li>", escape(&exclusion.reason));
        }
        text.push_str("</ul>\n");
    }
    text.push_str("<h3>Errors under load, warm-ups included</h3>\n<ul>\n");
    for (protocol, errors) in &report.analysis.errors {
        let list: Vec<String> =
            errors.iter().map(|(name, count)| format!("{name} × {count}")).collect();
        let list = if list.is_empty() { "none".to_owned() } else { list.join(", ") };
        let _ = writeln!(text, "<li>{protocol}: {}</li>", escape(&list));
    }
    text.push_str(
        "</ul>\n<p class=\"quiet\">Everything measured is in <code>report.json</code> beside this \
         page: each run's percentiles, timelines, probes and the nodes' own status.</p>\n",
    );
    text
}

fn runs_table(comparison: &Comparison) -> String {
    let or_none = |figure: Option<String>| figure.unwrap_or_else(|| "–".to_owned());
    let row = |run: &Run| {
        let (write, read) = (run.loads.write_report(), run.loads.read.as_ref());
        let errors: u64 =
            write.into_iter().chain(read).flat_map(|report| report.errors.values()).sum();
        let outage = |failover: &Failover| {
            let outage = failover.outage_ms;
            let outage = outage.map_or_else(|| "never".to_owned(), |outage| format!("{outage:.0}"));
            match failover.fault {
                Fault::Kill => outage,
                fault => format!("{} {outage}", fault.name()),
            }
        };
        let outages: Vec<String> = run.failovers.iter().map(outage).collect();
        let latency = |of: fn(&LatencyReport) -> f64| {
            or_none(write.map(|report| figure(of(&report.latency))))
        };
        let used = run.loads.write.as_ref().map(|write| write.used.memory_peak_bytes_max);
        vec![
            format!("{}.{} {}", run.block + 1, run.place + 1, escape(comparison.name(run.side))),
            format!("{:.0}", run.start_ms),
            or_none(write.map(|report| figure(report.per_second))),
            latency(|latency| latency.p50_ms),
            latency(|latency| latency.p99_ms),
            latency(|latency| latency.p999_ms),
            latency(|latency| latency.max_ms),
            or_none(read.map(|report| figure(report.per_second))),
            or_none((!outages.is_empty()).then(|| outages.join(", "))),
            or_none(used.map(bytes)),
            errors.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = comparison.runs.iter().map(row).collect();
    let head = [
        "block.run",
        "start ms",
        "writes/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "reads/s",
        "outages ms",
        "largest node",
        "errors",
    ];
    table(&head, &rows)
}
