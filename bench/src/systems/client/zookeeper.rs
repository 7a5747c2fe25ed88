//! ZooKeeper by its own client protocol.

use std::net::SocketAddr;
use std::time::Duration;

use zookeeper_client::{Acls, Client, CreateMode, CreateOptions, Error};

use super::{Value, failed, key_name};
use crate::load::Outcome;
use crate::systems::Consistency;

/// Every key is a node below this one.
const PARENT: &str = "/bench";
/// What a client asks for unless told otherwise; the server decides.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);

/// A session with one server. Clones share it.
#[derive(Clone, Debug)]
pub(in crate::systems) struct Session {
    address: SocketAddr,
    /// None after it broke, until the next request.
    client: Option<Client>,
    value: Value,
}

impl Session {
    pub(super) async fn open(address: SocketAddr, value: Value) -> Result<Self, String> {
        let client = connect(address).await.map_err(|error| name_of(&error))?;
        Ok(Self { address, client: Some(client), value })
    }

    pub(super) async fn create_parent(&mut self) -> Outcome {
        let Some(client) = self.client().await else { return failed("connection_failed", false) };
        let created = client.create(PARENT, b"", &everybody()).await;
        match created {
            Ok(_) | Err(Error::NodeExists) => Outcome::Success,
            Err(error) => self.broken(&error, true),
        }
    }

    pub(super) async fn create(&mut self, key: u64, stamp: u64) -> Outcome {
        let Some(client) = self.client().await else { return failed("connection_failed", false) };
        let value = self.value.stamped(stamp);
        let created = client.create(&path_of(key), value, &everybody()).await;
        match created {
            Ok(_) => Outcome::Success,
            Err(Error::NodeExists) => self.set_data(key, stamp).await,
            Err(error) => self.broken(&error, true),
        }
    }

    pub(super) async fn set_data(&mut self, key: u64, stamp: u64) -> Outcome {
        let Some(client) = self.client().await else { return failed("connection_failed", false) };
        let written = client.set_data(&path_of(key), self.value.stamped(stamp), None).await;
        match written {
            Ok(_) => Outcome::Success,
            Err(error) => self.broken(&error, true),
        }
    }

    pub(super) async fn get_data(&mut self, key: u64, consistency: Consistency) -> Outcome {
        let Some(client) = self.client().await else { return failed("connection_failed", false) };
        let path = path_of(key);
        let read = match consistency {
            Consistency::Local => client.get_data(&path).await,
            Consistency::Linearizable => {
                // Both are sent at once: a server answers the requests of a session in their order, so the
                // read is of a state no older than the leader's when it got the sync.
                let (synced, read) = tokio::join!(client.sync(&path), client.get_data(&path));
                synced.and(read)
            }
        };
        match read {
            Ok(_) => Outcome::Success,
            Err(Error::NoNode) => Outcome::NotFound,
            Err(error) => self.broken(&error, false),
        }
    }

    /// The session, a new one if the last one broke.
    async fn client(&mut self) -> Option<Client> {
        if self.client.is_none() {
            self.client = connect(self.address).await.ok();
        }
        self.client.clone()
    }

    fn broken(&mut self, error: &Error, writes: bool) -> Outcome {
        self.client = None;
        failed(name_of(error), writes)
    }
}

/// Opens a session, and gives up as soon as the server refuses: whoever needs it tries again.
async fn connect(address: SocketAddr) -> Result<Client, Error> {
    let connector = Client::connector().with_session_timeout(SESSION_TIMEOUT).with_fail_eagerly();
    connector.connect(&address.to_string()).await
}

fn everybody() -> CreateOptions<'static> {
    CreateMode::Persistent.with_acls(Acls::anyone_all())
}

fn path_of(key: u64) -> String {
    format!("/{}", key_name(key))
}

fn name_of(error: &Error) -> String {
    match error {
        Error::ConnectionLoss => "connection_lost".to_owned(),
        Error::NoHosts => "connection_failed".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_nodes_below_the_parent() {
        assert_eq!(path_of(42), "/bench/000042");
        assert!(path_of(42).starts_with(PARENT));
    }
}
