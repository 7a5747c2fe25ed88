//! What a fault is: what was asked for, checked, and in words.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use consensus::NodeId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest that anything is held up: by a slow link or a slow disk.
const MS_MAX: i64 = 60_000;
/// How far a wall clock can be put off: a hundred years.
const SKEW_MS_MAX: i64 = 36_500 * 86_400_000;
/// How long a fault can be meant to last.
const FOR_MAX: Duration = Duration::from_secs(86_400);

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $name:literal;)*) => {
        /// What goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum FaultKind {
            $($(#[$doc])* $kind,)*
        }

        impl FaultKind {
            /// Every kind there is.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The kind's name in the API.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}

kinds! {
    /// A message is lost, and with it its connection: TCP loses no other way.
    Drop, "drop";
    /// A message arrives later, and so does whatever is behind it.
    Delay, "delay";
    /// The connection breaks, and a message of it arrives once more when the next one is up.
    Duplicate, "duplicate";
    /// The connection breaks, and a message of it arrives behind the first of the next one.
    Reorder, "reorder";
    /// Nothing arrives, and nobody is told.
    Partition, "partition";
    /// The consensus loop stands still.
    Pause, "pause";
    /// The node is killed.
    Crash, "crash";
    /// The log's disk is slow.
    SlowDisk, "slow_disk";
    /// The next sync of the log fails.
    FailDisk, "fail_disk";
    /// The wall clock is wrong.
    ClockSkew, "clock_skew";
}

impl FaultKind {
    /// Whether it happens to messages between nodes; or else to a node.
    #[must_use]
    pub fn is_of_links(self) -> bool {
        matches!(self, Self::Drop | Self::Delay | Self::Duplicate | Self::Reorder | Self::Partition)
    }

    /// Whether it can only be done where the messages arrive.
    fn is_of_receiver(self) -> bool {
        matches!(self, Self::Duplicate | Self::Reorder)
    }

    /// The bit that says that there is one of these.
    pub(crate) fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A fault as somebody asks for it: the body of `POST /v1/faults`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultRequest {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Whose messages; all other nodes' when it is left out.
    #[serde(default)]
    pub from: Option<u64>,
    /// To whom they go, or the node that it happens to.
    #[serde(default)]
    pub to: Option<u64>,
    /// How often it strikes, above 0 and up to 1; always when it is left out.
    #[serde(default)]
    pub probability: Option<f64>,
    /// How much, in milliseconds.
    #[serde(default)]
    pub ms: Option<i64>,
    /// How long it lasts, as `10s`; until it is healed when it is left out.
    #[serde(default, rename = "for")]
    pub lasts: Option<String>,
    /// Whether it happens in both directions.
    #[serde(default)]
    pub both: bool,
}

/// A fault that can be begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// The node that carries it out.
    pub node: u64,
    /// Of links: whose messages; `None` for all other nodes'.
    pub from: Option<u64>,
    /// Of links: to whom; `None` for all other nodes. Or else the node that it happens to.
    pub to: Option<u64>,
    /// Whether it happens in both directions.
    pub both: bool,
    /// How often it strikes.
    pub probability: f64,
    /// How much, in milliseconds.
    pub ms: Option<i64>,
    /// How long it lasts, in milliseconds; `None` until it is healed.
    pub lasts_ms: Option<u64>,
}

/// The members of the cluster, by which a request is checked.
pub(crate) type Members = BTreeMap<NodeId, String>;

impl FaultRequest {
    /// Checks what was asked of a node, and finds out who carries it out.
    ///
    /// # Errors
    /// What is wrong and what is allowed.
    pub(crate) fn check(&self, asked: NodeId, members: &Members) -> Result<Fault, String> {
        let Self { kind, both, .. } = *self;
        let name = kind.name();
        for (field, id) in [("from", self.from), ("to", self.to)] {
            if let Some(id) = id.filter(|&id| !members.contains_key(&NodeId(id))) {
                let ids: Vec<_> = members.keys().map(|id| id.0.to_string()).collect();
                let ids = ids.join(", ");
                return Err(format!(
                    "`{field}` is {id}, which is no member; the members are {ids}"
                ));
            }
        }
        if self.from.is_some() && self.from == self.to {
            return Err(
                "`from` and `to` are the same node, which says nothing to itself".to_owned()
            );
        }
        if kind.is_of_links() && members.len() == 1 {
            return Err(format!("a {name} happens between nodes, and there is only one"));
        }
        if !kind.is_of_links() && self.from.is_some() {
            return Err(format!(
                "`from` means nothing to a {name}, which happens to one node; `to` names it"
            ));
        }
        if both && (kind.is_of_receiver() || !kind.is_of_links()) {
            let advice = if kind.is_of_links() { "; ask for two, one each way" } else { "" };
            return Err(format!("`both` is not possible for a {name}{advice}"));
        }
        let probability = self.check_probability()?;
        let ms = self.check_ms()?;
        let lasts_ms = self.lasts.as_deref().map(parse_duration).transpose()?;
        let (from, to) = match (self.from, self.to) {
            (None, None) if kind.is_of_links() && !kind.is_of_receiver() => (Some(asked.0), None),
            (from, None) if kind.is_of_receiver() && from == Some(asked.0) => {
                return Err(format!(
                    "a {name} is carried out where the messages arrive; name that node with `to`"
                ));
            }
            (from, None) if kind.is_of_receiver() => (from, Some(asked.0)),
            (None, None) => (None, Some(asked.0)),
            given => given,
        };
        let node = if kind.is_of_links() && !kind.is_of_receiver() { from.or(to) } else { to };
        let node = node.expect("one of them is given by now");
        Ok(Fault { kind, node, from, to, both, probability, ms, lasts_ms })
    }

    fn check_probability(&self) -> Result<f64, String> {
        let Some(probability) = self.probability else { return Ok(1.0) };
        let takes = matches!(
            self.kind,
            FaultKind::Drop
                | FaultKind::Delay
                | FaultKind::Duplicate
                | FaultKind::Reorder
                | FaultKind::SlowDisk
        );
        if !takes {
            let name = self.kind.name();
            return Err(format!(
                "`probability` means nothing to a {name}; it is for drop, delay, duplicate, reorder \
                 and slow_disk"
            ));
        }
        if probability > 0.0 && probability <= 1.0 {
            Ok(probability)
        } else {
            Err(format!("`probability` is {probability}; allowed: above 0 and up to 1"))
        }
    }

    fn check_ms(&self) -> Result<Option<i64>, String> {
        let name = self.kind.name();
        let allowed = match self.kind {
            FaultKind::Delay | FaultKind::SlowDisk => 1..=MS_MAX,
            FaultKind::ClockSkew => -SKEW_MS_MAX..=SKEW_MS_MAX,
            _ => {
                return match self.ms {
                    None => Ok(None),
                    Some(_) => Err(format!(
                        "`ms` means nothing to a {name}; it is for delay, slow_disk and clock_skew"
                    )),
                };
            }
        };
        let (least, most) = (allowed.start(), allowed.end());
        match self.ms {
            Some(ms) if allowed.contains(&ms) && ms != 0 => Ok(Some(ms)),
            Some(ms) => {
                Err(format!("`ms` is {ms}; allowed for a {name}: {least} to {most}, not 0"))
            }
            None => Err(format!("a {name} needs `ms`, from {least} to {most}")),
        }
    }
}

/// Parses `10s`, in milliseconds.
fn parse_duration(text: &str) -> Result<u64, String> {
    let parsed = humantime::parse_duration(text).ok();
    let parsed = parsed.filter(|time| (Duration::from_millis(1)..=FOR_MAX).contains(time));
    let parsed = parsed.and_then(|time| u64::try_from(time.as_millis()).ok());
    parsed.ok_or_else(|| {
        format!(
            "`for` is `{text}`; allowed: a number with its unit, as 10s or 500ms, from 1ms to 24h"
        )
    })
}

impl Fault {
    /// How long it lasts.
    pub(crate) fn lasts(&self) -> Option<Duration> {
        self.lasts_ms.map(Duration::from_millis)
    }

    /// Checks a fault that another node has checked before, and sends here.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check_again(&self, members: &Members) -> Result<(), String> {
        let Self { kind, node, from, to, both, probability, ms, lasts_ms } = *self;
        let request = FaultRequest {
            kind,
            from,
            to,
            probability: Some(probability).filter(|&probability| probability != 1.0),
            ms,
            lasts: lasts_ms.map(|ms| format!("{ms}ms")),
            both,
        };
        let fault = request.check(NodeId(node), members)?;
        if fault == *self { Ok(()) } else { Err(format!("it is no fault, but might be: {fault}")) }
    }

    /// Whether it happens to what a node says to another.
    pub(crate) fn concerns(&self, from: NodeId, to: NodeId) -> bool {
        let is = |wanted: Option<u64>, id: NodeId| wanted.is_none_or(|wanted| wanted == id.0);
        let one_way = is(self.from, from) && is(self.to, to);
        let other_way = self.both && is(self.from, to) && is(self.to, from);
        self.kind.is_of_links() && (one_way || other_way)
    }

    /// Between whom.
    fn direction(&self) -> String {
        let name =
            |id: Option<u64>| id.map_or("every other node".to_owned(), |id| format!("node {id}"));
        let (from, to) = (name(self.from), name(self.to));
        match (self.both, self.from) {
            // The node that has a name is named first.
            (true, None) => format!("between {to} and {from}"),
            (true, Some(_)) => format!("between {from} and {to}"),
            (false, _) => format!("from {from} to {to}"),
        }
    }

    /// Of how many.
    fn share(&self, many: &str) -> String {
        if self.probability < 1.0 {
            // A percentage with the digits that it was asked for with, and no more.
            let percent = (self.probability * 1e8).round() / 1e6;
            format!("{percent} % of the {many}")
        } else {
            format!("all {many}")
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (way, node) = (self.direction(), self.node);
        let messages = || self.share("messages");
        let ms = self.ms.unwrap_or_default();
        match self.kind {
            FaultKind::Drop => {
                write!(f, "{} {way} are lost, and break their connections", messages())
            }
            FaultKind::Delay => write!(f, "{} {way} arrive {ms} ms later", messages()),
            FaultKind::Duplicate => write!(
                f,
                "{} {way} arrive, break their connections, and arrive again when the next is up",
                messages()
            ),
            FaultKind::Reorder => write!(
                f,
                "{} {way} break their connections, and arrive behind the first message of the next",
                messages()
            ),
            FaultKind::Partition => write!(f, "nothing arrives {way}, and nobody is told"),
            FaultKind::Pause => write!(f, "the consensus loop of node {node} stands still"),
            FaultKind::Crash => write!(f, "node {node} is killed"),
            FaultKind::SlowDisk => {
                write!(f, "{} of the log of node {node} take {ms} ms longer", self.share("syncs"))
            }
            FaultKind::FailDisk => write!(f, "the next sync of the log of node {node} fails"),
            FaultKind::ClockSkew => {
                let side = if ms < 0 { "behind" } else { "ahead" };
                write!(f, "the wall clock of node {node} is {} ms {side}", ms.abs())
            }
        }?;
        match (self.kind, self.lasts()) {
            (FaultKind::Crash, None) => Ok(()),
            (FaultKind::Crash, Some(lasts)) => {
                write!(f, ", and starts again after {}", humantime::format_duration(lasts))
            }
            (_, Some(lasts)) => write!(f, ", for {}", humantime::format_duration(lasts)),
            (_, None) => write!(f, ", until it is healed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Members {
        (1..=3).map(|id| (NodeId(id), String::new())).collect()
    }

    fn check(json: &str) -> Result<Fault, String> {
        let request: FaultRequest =
            serde_json::from_str(json).map_err(|error| error.to_string())?;
        request.check(NodeId(2), &members())
    }

    #[test]
    fn names_are_the_same_in_both_tables() {
        for kind in FaultKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("a name"), kind.name());
        }
    }

    #[test]
    fn what_is_left_out_means_the_node_asked_and_all_others() {
        for (json, node, words) in [
            (r#"{"kind":"drop"}"#, 2, "all messages from node 2 to every other node are lost"),
            (r#"{"kind":"drop","to":1}"#, 1, "all messages from every other node to node 1"),
            (r#"{"kind":"delay","ms":50,"from":1,"to":3}"#, 1, "to node 3 arrive 50 ms later"),
            (r#"{"kind":"partition","to":3,"both":true}"#, 3, "between node 3 and every other"),
            (r#"{"kind":"partition","from":3,"both":true}"#, 3, "between node 3 and every other"),
            (r#"{"kind":"duplicate","from":1}"#, 2, "all messages from node 1 to node 2 arrive,"),
            (
                r#"{"kind":"reorder","to":3,"probability":0.07}"#,
                3,
                "7 % of the messages from every",
            ),
            (r#"{"kind":"pause"}"#, 2, "loop of node 2 stands still, until it is healed"),
            (r#"{"kind":"pause","to":1,"for":"2s"}"#, 1, "loop of node 1 stands still, for 2s"),
            (r#"{"kind":"crash","to":3}"#, 3, "node 3 is killed"),
            (r#"{"kind":"slow_disk","ms":20}"#, 2, "all syncs of the log of node 2 take 20 ms"),
            (r#"{"kind":"fail_disk","to":1}"#, 1, "the next sync of the log of node 1 fails"),
            (r#"{"kind":"clock_skew","ms":-5}"#, 2, "wall clock of node 2 is 5 ms behind"),
        ] {
            let fault = check(json).expect(json);
            assert_eq!(fault.node, node, "{json}");
            assert_eq!(fault.check_again(&members()), Ok(()), "{json}");
            assert!(fault.to_string().contains(words), "{json}: {fault}");
        }
    }

    #[test]
    fn what_is_impossible_is_refused_with_what_is_allowed() {
        for (json, words) in [
            (r#"{"kind":"flood"}"#, "unknown variant `flood`, expected one of `drop`"),
            (r#"{"from":1}"#, "missing field `kind`"),
            (r#"{"kind":"drop","node":1}"#, "unknown field `node`"),
            (
                r#"{"kind":"drop","from":4}"#,
                "`from` is 4, which is no member; the members are 1, 2",
            ),
            (r#"{"kind":"drop","from":1,"to":1}"#, "the same node"),
            (r#"{"kind":"drop","ms":5}"#, "`ms` means nothing to a drop"),
            (r#"{"kind":"drop","probability":0}"#, "above 0 and up to 1"),
            (r#"{"kind":"drop","probability":1.5}"#, "`probability` is 1.5"),
            (r#"{"kind":"partition","probability":0.5}"#, "`probability` means nothing"),
            (r#"{"kind":"delay"}"#, "a delay needs `ms`, from 1 to 60000"),
            (r#"{"kind":"delay","ms":0}"#, "`ms` is 0"),
            (r#"{"kind":"delay","ms":-1}"#, "`ms` is -1"),
            (r#"{"kind":"clock_skew","ms":0}"#, "not 0"),
            (r#"{"kind":"clock_skew","ms":-3153600000001}"#, "allowed for a clock_skew"),
            (r#"{"kind":"duplicate","both":true}"#, "ask for two, one each way"),
            (r#"{"kind":"duplicate","from":2}"#, "name that node with `to`"),
            (r#"{"kind":"pause","both":true}"#, "`both` is not possible for a pause"),
            (r#"{"kind":"pause","from":1}"#, "`to` names it"),
            (r#"{"kind":"pause","for":"10"}"#, "`for` is `10`; allowed: a number with its unit"),
            (r#"{"kind":"pause","for":"2d"}"#, "from 1ms to 24h"),
        ] {
            let problem = check(json).expect_err(json);
            assert!(problem.contains(words), "{json}: {problem}");
        }
        let alone = Members::from([(NodeId(2), String::new())]);
        let request: FaultRequest = serde_json::from_str(r#"{"kind":"drop"}"#).expect("a request");
        assert!(request.check(NodeId(2), &alone).expect_err("alone").contains("only one"));
    }

    #[test]
    fn what_another_node_sends_is_checked_again() {
        let fault = check(r#"{"kind":"delay","ms":5,"from":1,"for":"90s"}"#).expect("possible");
        assert_eq!(fault.check_again(&members()), Ok(()));
        for wrong in [
            Fault { ms: Some(i64::MIN), ..fault.clone() },
            Fault { ms: None, ..fault.clone() },
            Fault { from: Some(9), ..fault.clone() },
            Fault { node: 2, ..fault.clone() },
            Fault { kind: FaultKind::Duplicate, ms: None, ..fault.clone() },
            Fault { probability: f64::NAN, ..fault.clone() },
            Fault { lasts_ms: Some(u64::MAX), ..fault.clone() },
        ] {
            assert!(wrong.check_again(&members()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_fault_of_links_is_one_way_unless_it_is_both() {
        let ids = |pair: (u64, u64)| (NodeId(pair.0), NodeId(pair.1));
        let concerned = |json: &str| {
            let fault = check(json).expect(json);
            let all = [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)];
            let concerned = all.into_iter().filter(|&pair| {
                let (from, to) = ids(pair);
                fault.concerns(from, to)
            });
            concerned.collect::<Vec<_>>()
        };
        assert_eq!(concerned(r#"{"kind":"partition","from":1}"#), [(1, 2), (1, 3)]);
        assert_eq!(concerned(r#"{"kind":"partition","to":1}"#), [(2, 1), (3, 1)]);
        assert_eq!(concerned(r#"{"kind":"partition","from":1,"to":2}"#), [(1, 2)]);
        let both = r#"{"kind":"partition","from":1,"to":2,"both":true}"#;
        assert_eq!(concerned(both), [(1, 2), (2, 1)]);
        let cut_off = r#"{"kind":"partition","from":1,"both":true}"#;
        assert_eq!(concerned(cut_off), [(1, 2), (2, 1), (1, 3), (3, 1)]);
        assert_eq!(concerned(r#"{"kind":"pause","to":1}"#), []);
    }
}
