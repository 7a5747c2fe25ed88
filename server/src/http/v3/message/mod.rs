//! The messages of etcd's API, as its `.proto` files have them; those of Auth and Downgrade are missing.
//!
//! Names, their odd cases and their order are etcd's (`api/etcdserverpb/rpc.proto`, `api/mvccpb/kv.proto`,
//! `server/etcdserver/api/v3lock`, `v3election`).

mod cluster;
mod common;
#[allow(dead_code, reason = "the calls that take them follow")]
mod concurrency;
mod kv;
#[allow(dead_code, reason = "the calls that take them follow")]
mod lease;
mod maintenance;
#[cfg(test)]
mod tests;
#[allow(dead_code, reason = "the calls that take them follow")]
mod txn;
mod watch;

pub(crate) use cluster::*;
pub(crate) use common::*;
#[cfg_attr(not(test), allow(unused_imports, reason = "as above"))]
pub(crate) use concurrency::*;
pub(crate) use kv::*;
#[cfg_attr(not(test), allow(unused_imports, reason = "as above"))]
pub(crate) use lease::*;
pub(crate) use maintenance::*;
#[cfg_attr(not(test), allow(unused_imports, reason = "as above"))]
pub(crate) use txn::*;
pub(crate) use watch::*;
