//! Data directories of others: refused at start, with what, where and what it should be.

use consensus::{NodeId, Protocol};
use server::config::ServeConfig;
use server::serve::Server;

async fn refused(config: ServeConfig) -> String {
    match Server::start(config).await {
        Ok(_) => panic!("the directory is somebody else's"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_directory_of_another_protocol_cluster_or_node_is_refused_and_left_as_it_is() {
    let data = tempfile::tempdir().expect("a directory");
    let path = data.path().join("node");
    let config = ServeConfig::alone(Protocol::Raft, path.clone());
    let server = Server::start(config.clone()).await.expect("a server");
    server.ready().await;
    let put = super::Http::new(server.http_address()).put("/v1/kv/k", "v").await;
    assert_eq!(put.status, 201);
    server.stop().await;

    let other_protocol = ServeConfig::alone(Protocol::Zab, path.clone());
    let mut other_cluster = config.clone();
    other_cluster.node.cluster_name = "other".to_owned();
    let mut other_node = config.clone();
    other_node.node.id = NodeId(2);
    other_node.node.members = [(NodeId(2), "127.0.0.1:0".to_owned())].into();
    for (config, said, wanted) in [
        (other_protocol, "node 1 of the raft cluster \"duorum\"", "node 1 of the zab cluster"),
        (other_cluster, "the raft cluster \"duorum\"", "the raft cluster \"other\""),
        (other_node, "node 1 of the raft", "node 2 of the raft"),
    ] {
        let message = refused(config).await;
        let directory = path.display().to_string();
        for words in [said, wanted, &directory] {
            assert!(message.contains(words), "`{words}` is not in: {message}");
        }
    }

    let server = Server::start(config).await.expect("its own server");
    server.ready().await;
    let http = super::Http::new(server.http_address());
    assert_eq!(http.get("/v1/kv/k").await.json()["value"], "v");
    server.stop().await;
}
