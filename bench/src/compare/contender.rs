//! Who is compared: two sides, each a protocol with flags of its own.

use consensus::Protocol;
use serde::{Deserialize, Serialize};

use crate::Error;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// Its letter.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }
}

/// A protocol, and how its nodes are started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contender {
    /// What it is called in tables.
    pub name: String,
    /// The protocol.
    #[serde(with = "protocol_name")]
    pub protocol: Protocol,
    /// Further flags of `duorum serve`.
    pub flags: Vec<String>,
}

/// The flags that a comparison gives by itself.
const OWN_FLAGS: [&str; 8] = [
    "--protocol",
    "--id",
    "--data-dir",
    "--http",
    "--peer",
    "--cluster",
    "--cluster-name",
    "--config",
];

impl Contender {
    /// A protocol as it is by default.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        Self { name: protocol.to_string(), protocol, flags: Vec::new() }
    }

    /// Reads `zab --finalize-wait 0ms`.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is allowed.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let usage = |why: String| Err(Error::Usage(format!("`{text}`: {why}")));
        let mut words = text.split_whitespace().map(str::to_owned);
        let protocol = words.next().and_then(|name| Protocol::from_name(&name));
        // The floor is no contender: it can not be replicated.
        let protocol = protocol.filter(|&protocol| protocol != Protocol::Null);
        let Some(protocol) = protocol else {
            return usage("expected raft or zab, and flags of `duorum serve` behind it".to_owned());
        };
        let flags: Vec<String> = words.collect();
        let name_of = |flag: &String| flag.split('=').next().unwrap_or_default().to_owned();
        if let Some(flag) = flags.iter().map(name_of).find(|flag| OWN_FLAGS.contains(&&**flag)) {
            return usage(format!("{flag} is what the comparison itself says to its nodes"));
        }
        if flags.first().is_some_and(|flag| !flag.starts_with("--")) {
            return usage(format!("`{}` is no flag", flags[0]));
        }
        let name = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Self { name, protocol, flags })
    }

    /// Both sides, with names that differ also where they are the same.
    #[must_use]
    pub fn pair(a: Self, b: Self) -> [Self; 2] {
        if a.name != b.name {
            return [a, b];
        }
        let lettered = |side: Side, one: Self| Self {
            name: format!("{} ({})", one.name, side.letter()),
            ..one
        };
        [lettered(Side::A, a), lettered(Side::B, b)]
    }
}

/// Protocols are written as the flags name them.
mod protocol_name {
    use consensus::Protocol;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        protocol: &Protocol,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(protocol.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Protocol, D::Error> {
        let name = String::deserialize(deserializer)?;
        Protocol::from_name(&name)
            .ok_or_else(|| D::Error::custom(format!("there is no protocol `{name}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contender_is_a_protocol_and_flags() {
        let plain = Contender::parse("raft").expect("a protocol");
        assert_eq!(plain, Contender::new(Protocol::Raft));
        let other = Contender::parse("zab  --finalize-wait 0ms").expect("with flags");
        assert_eq!(other.name, "zab --finalize-wait 0ms");
        assert_eq!((other.protocol, other.flags.len()), (Protocol::Zab, 2));
        for (text, why) in [
            ("", "expected raft or zab"),
            ("paxos", "expected raft or zab"),
            ("null", "expected raft or zab"),
            ("raft fast", "`fast` is no flag"),
            ("raft --id=7", "--id is what the comparison itself says"),
            ("zab --heartbeat 10ms --peer x", "--peer is what the comparison itself says"),
        ] {
            let error = Contender::parse(text).expect_err(text).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn the_same_twice_is_told_apart_by_letters() {
        let raft = Contender::new(Protocol::Raft);
        let [a, b] = Contender::pair(raft.clone(), raft.clone());
        assert_eq!((a.name.as_str(), b.name.as_str()), ("raft (A)", "raft (B)"));
        let [a, b] = Contender::pair(raft.clone(), Contender::new(Protocol::Zab));
        assert_eq!((a.name.as_str(), b.name.as_str()), ("raft", "zab"));
    }
}
