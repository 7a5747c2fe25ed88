//! Duorum by its own HTTP API, with the load generator's requests.

use std::net::SocketAddr;
use std::sync::Arc;

use consensus::Random;

use crate::load::http::HttpConnection;
use crate::load::request::Request;
use crate::load::{Client, Freshness, Outcome, exchange};
use crate::systems::Consistency;

/// A connection to a node of ours.
#[derive(Debug)]
pub(in crate::systems) struct Duorum {
    client: Client,
    put: Request,
    get: Request,
    get_local: Request,
}

impl Duorum {
    pub(super) async fn open(
        address: SocketAddr,
        value_bytes: usize,
        random: &mut Random,
    ) -> Result<Self, String> {
        let host = address.to_string();
        let connection = HttpConnection::connect(address).await;
        let connection = connection.map_err(|_| "connection_failed".to_owned())?;
        Ok(Self {
            client: Client { address, others: Arc::default(), connection: Some(connection) },
            put: Request::put(&host, value_bytes, random),
            get: Request::get(&host, Freshness::Linearizable),
            get_local: Request::get(&host, Freshness::Local),
        })
    }

    pub(super) async fn put(&mut self, key: u64, stamp: u64) -> Outcome {
        self.put.set_key(key);
        self.put.set_stamp(stamp);
        exchange(&mut self.client, self.put.bytes(), true).await
    }

    pub(super) async fn get(&mut self, key: u64, consistency: Consistency) -> Outcome {
        let request = match consistency {
            Consistency::Linearizable => &mut self.get,
            Consistency::Local => &mut self.get_local,
        };
        request.set_key(key);
        exchange(&mut self.client, request.bytes(), false).await
    }
}
