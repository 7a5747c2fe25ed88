//! The messages of etcd's API, as its `.proto` files have them; those of Auth and Downgrade are missing.
//!
//! Names, their odd cases and their order are etcd's (`api/etcdserverpb/rpc.proto`, `api/mvccpb/kv.proto`,
//! `server/etcdserver/api/v3lock`, `v3election`).

mod cluster;
mod common;
mod concurrency;
mod kv;
mod lease;
mod maintenance;
#[cfg(test)]
mod tests;
mod txn;
mod watch;

pub(crate) use cluster::*;
pub(crate) use common::*;
pub(crate) use concurrency::*;
pub(crate) use kv::*;
pub(crate) use lease::*;
pub(crate) use maintenance::*;
pub(crate) use txn::*;
pub(crate) use watch::*;
