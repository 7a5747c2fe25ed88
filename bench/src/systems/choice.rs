//! What `--with` asks for.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// A system that others wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// <https://etcd.io>
    Etcd,
    /// <https://zookeeper.apache.org>
    #[serde(rename = "zookeeper")]
    ZooKeeper,
}

impl System {
    const ALL: [Self; 2] = [Self::Etcd, Self::ZooKeeper];

    /// What the flag calls it.
    #[must_use]
    pub fn flag_value(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ZooKeeper => "zookeeper",
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Etcd => "etcd",
            Self::ZooKeeper => "ZooKeeper",
        })
    }
}

/// One value of `--with`: a system, and where it lies unless it is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct With {
    /// The system.
    pub system: System,
    /// The program or the directory that it was unpacked into.
    pub path: Option<PathBuf>,
}

impl FromStr for With {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = match text.split_once('=') {
            Some((name, path)) => (name, Some(path)),
            None => (text, None),
        };
        let system = System::ALL.into_iter().find(|system| system.flag_value() == name);
        let system = system.ok_or(
            "allowed are etcd, zookeeper, etcd=PATH and zookeeper=PATH, separated by commas",
        )?;
        match path {
            Some("") => Err(format!("a path belongs after `{name}=`")),
            path => Ok(Self { system, path: path.map(PathBuf::from) }),
        }
    }
}

/// Refuses to be asked twice for the same.
///
/// # Errors
/// [`Error::Usage`] with what is allowed.
pub(super) fn check(all: &[With]) -> Result<(), Error> {
    for system in System::ALL {
        if all.iter().filter(|with| with.system == system).count() > 1 {
            let name = system.flag_value();
            return Err(Error::Usage(format!(
                "--with: {name} is named more than once; allowed is one version of each system"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_named_alone_or_with_its_place() {
        let parsed = |text: &str| text.parse::<With>();
        assert_eq!(parsed("etcd"), Ok(With { system: System::Etcd, path: None }));
        let path = Some(PathBuf::from("/opt/zookeeper=3.9"));
        let placed = With { system: System::ZooKeeper, path };
        assert_eq!(parsed("zookeeper=/opt/zookeeper=3.9"), Ok(placed));
        for text in ["", "consul", "Etcd", "=etcd"] {
            let error = parsed(text).expect_err(text);
            assert!(error.contains("allowed are etcd, zookeeper, etcd=PATH"), "{error}");
        }
        assert!(parsed("etcd=").expect_err("no path").contains("a path belongs after `etcd=`"));
    }

    #[test]
    fn one_version_of_each_system_is_enough() {
        let all: Vec<With> = ["etcd", "zookeeper"].map(|text| text.parse().expect("valid")).into();
        check(&all).expect("both once");
        let twice = [all[0].clone(), "etcd=/opt/etcd".parse().expect("valid")];
        let error = check(&twice).expect_err("twice").to_string();
        assert!(error.contains("etcd is named more than once"), "{error}");
    }
}
