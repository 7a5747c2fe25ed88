//! One connection to one node, whatever it speaks.

mod duorum;
mod gateway;
mod grpc;
mod zookeeper;

use std::net::SocketAddr;

use consensus::Random;

use super::{Consistency, Subject};
use crate::load::{Outcome, STAMP_BYTES};
use duorum::Duorum;
use gateway::Gateway;
use grpc::Grpc;
use zookeeper::Session;

/// A client with one request under way.
#[derive(Debug)]
pub(super) enum Connection {
    Duorum(Box<Duorum>),
    EtcdGrpc(Grpc),
    EtcdGateway(Gateway),
    ZooKeeper(Session),
}

impl Connection {
    /// Connects. The error is its name.
    pub(super) async fn open(
        subject: Subject,
        address: SocketAddr,
        value_bytes: usize,
        random: &mut Random,
    ) -> Result<Self, String> {
        let value = Value::new(value_bytes, random);
        Ok(match subject {
            Subject::Duorum(_) => {
                Self::Duorum(Box::new(Duorum::open(address, value_bytes, random).await?))
            }
            Subject::EtcdGrpc => Self::EtcdGrpc(Grpc::open(address, value).await?),
            Subject::EtcdGateway => Self::EtcdGateway(Gateway::open(address, value).await?),
            Subject::ZooKeeper => Self::ZooKeeper(Session::open(address, value).await?),
        })
    }

    /// Makes what has to be there before the first key is.
    pub(super) async fn prepare(&mut self) -> Outcome {
        match self {
            Self::ZooKeeper(session) => session.create_parent().await,
            Self::Duorum(_) | Self::EtcdGrpc(_) | Self::EtcdGateway(_) => Outcome::Success,
        }
    }

    /// Writes a key that may not be there yet.
    pub(super) async fn create(&mut self, key: u64, stamp: u64) -> Outcome {
        match self {
            Self::ZooKeeper(session) => session.create(key, stamp).await,
            Self::Duorum(_) | Self::EtcdGrpc(_) | Self::EtcdGateway(_) => {
                self.write(key, stamp).await
            }
        }
    }

    /// Writes a key that is there, with a value that no other write has.
    pub(super) async fn write(&mut self, key: u64, stamp: u64) -> Outcome {
        match self {
            Self::Duorum(duorum) => duorum.put(key, stamp).await,
            Self::EtcdGrpc(grpc) => grpc.put(key, stamp).await,
            Self::EtcdGateway(gateway) => gateway.put(key, stamp).await,
            Self::ZooKeeper(session) => session.set_data(key, stamp).await,
        }
    }

    /// Reads a key.
    pub(super) async fn read(&mut self, key: u64, consistency: Consistency) -> Outcome {
        match self {
            Self::Duorum(duorum) => duorum.get(key, consistency).await,
            Self::EtcdGrpc(grpc) => grpc.range(key, consistency).await,
            Self::EtcdGateway(gateway) => gateway.range(key, consistency).await,
            Self::ZooKeeper(session) => session.get_data(key, consistency).await,
        }
    }

    /// The same connection for another request at the same time, if its protocol carries several.
    pub(super) fn shared(&self) -> Option<Self> {
        match self {
            Self::EtcdGrpc(grpc) => Some(Self::EtcdGrpc(grpc.clone())),
            Self::ZooKeeper(session) => Some(Self::ZooKeeper(session.clone())),
            Self::Duorum(_) | Self::EtcdGateway(_) => None,
        }
    }
}

/// The name of a key: the same for all but ZooKeeper, whose names begin with a slash.
fn key_name(key: u64) -> String {
    format!("bench/{key:06}")
}

/// A value of letters and digits, as the load generator's own, whose beginning tells one write from
/// the next.
#[derive(Clone, Debug)]
struct Value(Vec<u8>);

impl Value {
    fn new(bytes: usize, random: &mut Random) -> Self {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let letter = |_| LETTERS[usize::try_from(random.below(32)).expect("an index")];
        Self((0..bytes).map(letter).collect())
    }

    fn stamped(&mut self, mut stamp: u64) -> &[u8] {
        let room = self.0.len().min(STAMP_BYTES);
        for byte in self.0[..room].iter_mut().rev() {
            *byte = b"0123456789abcdef"[usize::try_from(stamp % 16).expect("a digit")];
            stamp /= 16;
        }
        &self.0
    }
}

/// How a request failed; of a write nobody knows then whether it took effect.
fn failed(name: impl Into<String>, writes: bool) -> Outcome {
    Outcome::Failed { name: name.into(), outcome_unknown: writes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_keeps_its_size_and_tells_its_write() {
        for bytes in [0, 1, 15, 16, 256] {
            let mut value = Value::new(bytes, &mut Random::new(1));
            let one = value.stamped(0xbeef).to_vec();
            assert_eq!(one.len(), bytes);
            assert!(one.iter().all(u8::is_ascii_alphanumeric));
            assert!(bytes < 4 || one[..bytes.min(16)].ends_with(b"beef"));
            assert_eq!(value.stamped(0xbeee) == one, bytes == 0);
        }
    }

    #[test]
    fn keys_have_the_names_that_the_load_generator_gives_them() {
        assert_eq!(key_name(123), "bench/000123");
    }
}
