//! A scenario: what is done to a cluster, in a file, for real clusters and for simulated ones.
//!
//! `duorum compare --scenario FILE` carries it out with processes, sockets and disks, `duorum sim --scenario FILE` in
//! virtual time with every law checked. What stands at the top of the file is for both, and what one of the two can
//! not do it refuses; what stands in `[compare]` or `[sim]` is about how that one does it, and is for it alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::Error;
use crate::compare::{MixedLoad, Placement};
use crate::load::{KeyDistribution, Mix};

/// What the clients of a scenario do while faults strike, if it does not say.
pub const MIX_DEFAULT: Mix = Mix { put: 50, get: 50, range: 0 };
/// The longest file that is read.
const SCENARIO_BYTES_MAX: u64 = 1 << 20;
/// The most faults of one run.
const FAULTS_MAX: usize = 100;

/// A scenario. What is left open is as the flags of either verb have it by default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// The file.
    #[serde(skip)]
    pub path: PathBuf,
    /// The first contender.
    pub a: Option<String>,
    /// The second one.
    pub b: Option<String>,
    /// Nodes of each cluster.
    pub nodes: Option<usize>,
    /// Clients, each with one request under way.
    pub connections: Option<usize>,
    /// Which nodes they ask.
    pub placement: Option<Placement>,
    /// How many keys there are.
    pub keys: Option<u64>,
    /// How they are drawn.
    pub key_distribution: Option<KeyDistribution>,
    /// The size of a value in bytes.
    pub value_bytes: Option<usize>,
    /// Several kinds of operations at once, and who follows them.
    #[serde(deserialize_with = "mixed")]
    pub mix: Option<MixedLoad>,
    /// Requests a second that are due.
    pub rate: Option<f64>,
    /// How long is measured.
    #[serde(deserialize_with = "duration")]
    pub duration: Option<Duration>,
    /// Where all chance comes from.
    pub seed: Option<u64>,
    /// What happens to leaders, one after the other.
    pub faults: Option<Vec<FaultKind>>,
    /// How it is compared.
    pub compare: CompareTable,
    /// How it is simulated.
    pub sim: SimTable,
}

/// What happens to a leader, by the names that both verbs have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Its process is killed, and started again.
    Kill,
    /// Its machine loses its power, and what was not synced, and is started again.
    PowerCut,
    /// Its process is stopped, and goes on.
    Stop,
    /// Nothing that the other nodes say gets to it for a while, and nobody is told.
    IsolateIn,
    /// Nothing that it says gets to the others.
    IsolateOut,
    /// Both.
    IsolateBoth,
    /// It is asked to have another node lead.
    Transfer,
}

impl FaultKind {
    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::PowerCut => "power-cut",
            Self::Stop => "stop",
            Self::IsolateIn => "isolate-in",
            Self::IsolateOut => "isolate-out",
            Self::IsolateBoth => "isolate-both",
            Self::Transfer => "transfer",
        }
    }
}

/// What `duorum compare` alone reads.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompareTable {
    /// As `--only`.
    pub only: Vec<String>,
    /// As `--blocks`.
    pub blocks: Option<usize>,
    /// As `--watchers`.
    pub watchers: Option<usize>,
    /// As `--quick`.
    pub quick: bool,
    /// As `--out`.
    pub out: Option<PathBuf>,
    /// As `--data-dir`.
    pub data_dir: Option<PathBuf>,
}

/// What `duorum sim` alone reads.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimTable {
    /// How many seeds are run, from the scenario's on.
    pub seeds: Option<u64>,
    /// What the nodes are connected by: `lan` or `wan`.
    pub links: Option<String>,
    /// How many nodes observe.
    pub observers: Option<u64>,
    /// How long a client thinks between two requests, on the average.
    #[serde(deserialize_with = "duration")]
    pub think: Option<Duration>,
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it can not be read, [`Error::Usage`] with the place of what is wrong.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = fs::metadata(path).map_err(|source| Error::path("read", path, source))?.len();
        if bytes > SCENARIO_BYTES_MAX {
            return Err(Error::Usage(format!(
                "{}: {bytes} bytes are no scenario: allowed are {SCENARIO_BYTES_MAX}",
                path.display()
            )));
        }
        let text = fs::read_to_string(path).map_err(|source| Error::path("read", path, source))?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let usage = |why: String| Error::Usage(format!("{}: {why}", path.display()));
        let read: Self = toml::from_str(text).map_err(|error| usage(error.to_string()))?;
        let faults = read.faults.as_ref().map_or(0, Vec::len);
        if faults > FAULTS_MAX {
            return Err(usage(format!("{faults} faults: allowed are {FAULTS_MAX}")));
        }
        Ok(Self { path: path.to_owned(), ..read })
    }
}

/// Reads `50:45:5`, or `50:45:5:2` with watchers.
///
/// # Errors
/// What is expected.
pub fn parse_mixed(text: &str) -> Result<MixedLoad, String> {
    let parts: Option<Vec<u32>> = text.split(':').map(|part| part.parse().ok()).collect();
    let parts = parts.filter(|parts| parts.iter().all(|&part| part <= 1_000_000));
    let (&[put, get, range], watchers) = (match parts.as_deref() {
        Some([mix @ .., watchers]) if mix.len() == 3 => (mix, *watchers),
        Some(mix) => (mix, 0),
        None => (&[][..], 0),
    }) else {
        return Err("expected three numbers up to 1000000, as in 50:45:5, and perhaps a number of watchers, as in \
                    50:45:5:2"
            .to_owned());
    };
    let watchers = usize::try_from(watchers).expect("up to a million");
    Ok(MixedLoad { mix: Mix { put, get, range }, watchers })
}

fn mixed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MixedLoad>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_mixed(&text).map(Some).map_err(de::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map(Some).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scenario, String> {
        Scenario::parse(Path::new("it.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_scenario_says_what_flags_say() {
        let scenario = parse(
            "nodes = 5\nconnections = 8\nplacement = \"leader\"\nkeys = 100\nkey_distribution = \"hot\"\n\
             value_bytes = 64\nmix = \"50:45:5:2\"\nrate = 250\nduration = \"300ms\"\nseed = 7\n\
             faults = [\"kill\", \"power-cut\"]\na = \"raft\"\n\
             [compare]\nonly = [\"mixed\"]\nblocks = 2\n[sim]\nlinks = \"wan\"\nthink = \"2ms\"\n",
        )
        .expect("a scenario");
        let mixed = MixedLoad { mix: Mix { put: 50, get: 45, range: 5 }, watchers: 2 };
        let expected = Scenario {
            path: "it.toml".into(),
            a: Some("raft".to_owned()),
            b: None,
            nodes: Some(5),
            connections: Some(8),
            placement: Some(Placement::Leader),
            keys: Some(100),
            key_distribution: Some(KeyDistribution::Hot),
            value_bytes: Some(64),
            mix: Some(mixed),
            rate: Some(250.0),
            duration: Some(Duration::from_millis(300)),
            seed: Some(7),
            faults: Some(vec![FaultKind::Kill, FaultKind::PowerCut]),
            compare: CompareTable {
                only: vec!["mixed".to_owned()],
                blocks: Some(2),
                ..CompareTable::default()
            },
            sim: SimTable {
                links: Some("wan".to_owned()),
                think: Some(Duration::from_millis(2)),
                ..SimTable::default()
            },
        };
        assert_eq!(scenario, expected);
        let nothing = Scenario { path: "it.toml".into(), ..Scenario::default() };
        assert_eq!(parse("").expect("nothing said"), nothing);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, why) in [
            ("node = 3", "unknown field `node`"),
            ("nodes = \"three\"", "invalid type: string"),
            ("nodes = -1", "invalid value"),
            ("mix = \"50:45\"", "expected three numbers"),
            ("duration = \"soon\"", "expected number"),
            ("faults = [\"earthquake\"]", "unknown variant `earthquake`"),
            ("placement = \"nowhere\"", "unknown variant `nowhere`"),
            ("[compare]\nseeds = 3", "unknown field `seeds`"),
            ("[sim]\nblocks = 3", "unknown field `blocks`"),
            ("nodes = 3\nnodes = 5", "duplicate key"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(
                error.starts_with("it.toml: TOML parse error at line ") && error.contains(why),
                "{error}"
            );
        }
        let many = format!("faults = [{}]", "\"kill\",".repeat(FAULTS_MAX + 1));
        assert_eq!(parse(&many).expect_err("too many"), "it.toml: 101 faults: allowed are 100");
    }

    #[test]
    fn a_mix_has_three_parts_and_perhaps_watchers() {
        let read = |text| {
            let MixedLoad { mix: Mix { put, get, range }, watchers } =
                parse_mixed(text).expect(text);
            (put, get, range, watchers)
        };
        assert_eq!(read("50:45:5"), (50, 45, 5, 0));
        assert_eq!(read("1:0:0:9"), (1, 0, 0, 9));
        for text in ["", "1", "1:2", "1:2:3:4:5", "a:b:c", "1:2:-3", "1000001:0:0"] {
            parse_mixed(text).expect_err(text);
        }
    }
}
