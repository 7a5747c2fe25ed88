//! How etcd is found, started and asked who leads.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use super::choice::System;
use super::record::Installation;
use super::search;
use crate::Error;
use crate::cluster::post_json;

/// An etcd that can be started.
#[derive(Clone, Debug)]
pub(super) struct Etcd {
    program: PathBuf,
    version: String,
}

/// Where one node talks to its clients and to the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) client: SocketAddr,
    pub(super) peer: SocketAddr,
}

impl Etcd {
    /// Finds the program that was named, or that is installed.
    pub(super) fn find(path: Option<&Path>) -> Result<Self, Error> {
        let program = match path {
            Some(path) => {
                let path = search::absolute(path);
                let inside = path.join("etcd");
                let file = if path.is_dir() { inside } else { path.clone() };
                let there = search::is_program(&file).then_some(file);
                there.ok_or_else(|| {
                    Error::Usage(format!(
                        "--with etcd={}: there is no program etcd; name it, or the directory that \
                         holds it",
                        path.display()
                    ))
                })?
            }
            None => search::program("etcd").ok_or_else(|| {
                Error::Usage(format!(
                    "--with etcd: there is no program etcd in PATH, {}; install it (Debian: apt-get \
                     install etcd-server), or say where it is with --with etcd=PATH",
                    search::PLACES.join(", ")
                ))
            })?,
        };
        let said = search::ask(System::Etcd, Command::new(&program).arg("--version"))?;
        let version = usable_version(&program, &said)?;
        Ok(Self { program, version })
    }

    /// What the report says of it.
    pub(super) fn installation(&self) -> Installation {
        Installation {
            system: System::Etcd,
            version: self.version.clone(),
            program: self.program.display().to_string(),
            runtime: None,
            settings:
                "no flags but those that name the nodes, their addresses and their directories; no \
                       variable of the environment"
                    .to_owned(),
        }
    }

    /// The command line of one node, all of whose settings are the defaults.
    pub(super) fn command(&self, number: usize, all: &[Addresses], data: &Path) -> Vec<String> {
        let name = |index: usize| format!("node-{}", index + 1);
        let url = |address: SocketAddr| format!("http://{address}");
        let members: Vec<String> = all
            .iter()
            .enumerate()
            .map(|(index, addresses)| format!("{}={}", name(index), url(addresses.peer)))
            .collect();
        let Addresses { client, peer } = all[number];
        let flags = [
            ("--name", name(number)),
            ("--data-dir", data.display().to_string()),
            ("--listen-client-urls", url(client)),
            ("--advertise-client-urls", url(client)),
            ("--listen-peer-urls", url(peer)),
            ("--initial-advertise-peer-urls", url(peer)),
            ("--initial-cluster", members.join(",")),
        ];
        let flags = flags.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        std::iter::once(self.program.display().to_string()).chain(flags).collect()
    }
}

/// Whether a node leads; an error while it knows no leader.
pub(super) async fn leads(address: SocketAddr, timeout: Duration) -> Result<bool, String> {
    let (status, body) = post_json(address, "/v3/maintenance/status", "{}", timeout)
        .await
        .map_err(|error| format!("http://{address}/v3/maintenance/status: {error}"))?;
    if status != 200 {
        return Err(format!("http://{address}/v3/maintenance/status answers {status}"));
    }
    leads_by_status(&body).map_err(|why| format!("http://{address}/v3/maintenance/status: {why}"))
}

fn leads_by_status(body: &[u8]) -> Result<bool, String> {
    // The gateway writes 64-bit numbers as text, and leaves out what is 0.
    #[derive(Deserialize)]
    struct Status {
        header: Header,
        #[serde(default)]
        leader: String,
    }
    #[derive(Deserialize)]
    struct Header {
        member_id: String,
    }
    let status: Status = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    match status.leader.as_str() {
        "" | "0" => Err("it knows no leader".to_owned()),
        leader => Ok(leader == status.header.member_id),
    }
}

/// The version of a program that says this of itself, if it is an etcd that can be driven.
fn usable_version(program: &Path, said: &str) -> Result<String, Error> {
    let program = program.display();
    let version = version_of(said).ok_or_else(|| {
        let said = said.lines().next().unwrap_or_default();
        Error::Usage(format!(
            "--with etcd: {program} is no etcd, its --version says `{said}`; name the program with \
             --with etcd=PATH"
        ))
    })?;
    if older_than_3_4(&version) {
        return Err(Error::Usage(format!(
            "--with etcd: {program} is version {version}; 3.4 is the first whose gateway answers under /v3; \
             name a newer one with --with etcd=PATH"
        )));
    }
    Ok(version)
}

/// The version in what `etcd --version` prints: `etcd Version: 3.4.23`.
fn version_of(said: &str) -> Option<String> {
    let version = said.lines().find_map(|line| line.strip_prefix("etcd Version:"))?.trim();
    (!version.is_empty()).then(|| version.to_owned())
}

fn older_than_3_4(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version < (3, 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_and_one_without_a_gateway_is_known() {
        let said =
            "etcd Version: 3.4.23\nGit SHA: Not provided (use ./build instead of go build)\n";
        assert_eq!(version_of(said).as_deref(), Some("3.4.23"));
        assert_eq!(version_of("etcd Version: \n"), None);
        assert_eq!(version_of("something else"), None);
        for (version, older) in [
            ("3.3.27", true),
            ("2.3.8", true),
            ("unknown", true),
            ("3.4.0", false),
            ("3.5.16", false),
            ("3.6.0-rc.1", false),
            ("4.0.0", false),
        ] {
            assert_eq!(older_than_3_4(version), older, "{version}");
        }
    }

    #[test]
    fn a_node_has_its_own_addresses_and_knows_all_others_and_nothing_else_is_set() {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let all =
            [1u16, 2, 3].map(|n| Addresses { client: address(2000 + n), peer: address(3000 + n) });
        let etcd = Etcd { program: PathBuf::from("/opt/etcd"), version: "3.5.0".to_owned() };
        let command = etcd.command(1, &all, Path::new("/data/node-2")).join(" ");
        assert_eq!(
            command,
            "/opt/etcd --name node-2 --data-dir /data/node-2 \
             --listen-client-urls http://127.0.0.1:2002 --advertise-client-urls http://127.0.0.1:2002 \
             --listen-peer-urls http://127.0.0.1:3002 \
             --initial-advertise-peer-urls http://127.0.0.1:3002 \
             --initial-cluster node-1=http://127.0.0.1:3001,node-2=http://127.0.0.1:3002,\
             node-3=http://127.0.0.1:3003"
        );
    }

    #[test]
    fn a_status_tells_whether_the_node_leads() {
        let status =
            |leader: &str| format!(r#"{{"header":{{"member_id":"77","revision":"1"}}{leader}}}"#);
        let leads = |leader: &str| leads_by_status(status(leader).as_bytes());
        assert_eq!(leads(r#","leader":"77""#), Ok(true));
        assert_eq!(leads(r#","leader":"78""#), Ok(false));
        assert!(leads("").expect_err("no leader").contains("no leader"));
        assert!(leads(r#","leader":"0""#).expect_err("no leader").contains("no leader"));
        leads_by_status(b"<html>").expect_err("no JSON");
    }

    #[test]
    fn what_is_not_there_is_told_with_what_to_do() {
        let error = Etcd::find(Some(Path::new("/nowhere"))).expect_err("nothing there").to_string();
        assert!(
            error.starts_with("--with etcd=/nowhere: there is no program etcd; name it"),
            "{error}"
        );
        let empty = tempfile::tempdir().expect("a directory");
        let error = Etcd::find(Some(empty.path())).expect_err("an empty directory").to_string();
        assert!(error.contains("the directory that holds it"), "{error}");
    }

    #[test]
    fn what_is_no_etcd_or_too_old_a_one_is_told_from_one() {
        let find = |said: &str| usable_version(Path::new("/opt/etcd"), said);
        assert_eq!(find("etcd Version: 3.5.9\nGit SHA: x\n").expect("an etcd"), "3.5.9");
        let error = find("other 1.0").expect_err("another program").to_string();
        assert!(
            error.contains("/opt/etcd is no etcd, its --version says `other 1.0`; name"),
            "{error}"
        );
        let error = find("etcd Version: 3.3.27").expect_err("an old one").to_string();
        assert!(error.contains("3.4 is the first") && error.contains("name a newer"), "{error}");
    }
}
