//! Members.

use super::ResponseHeader;
use crate::http::v3::protojson::message;

message! {
    /// A member of the cluster.
    Member {
        /// Its number.
        id: u64 = "ID",
        /// Its name.
        name: String = "name",
        /// Where the other members find it.
        peer_urls: Vec<String> = "peerURLs",
        /// Where clients find it.
        client_urls: Vec<String> = "clientURLs",
        /// Whether it does not vote.
        is_learner: bool = "isLearner",
    }
}

message! {
    /// Asks for the members.
    MemberListRequest {
        /// Whether the answer shall be confirmed by a quorum.
        linearizable: bool = "linearizable",
    }
}

message! {
    /// The members.
    MemberListResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// Each of them.
        members: Vec<Member> = "members",
    }
}
