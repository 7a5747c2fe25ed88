//! Words between nodes about faults, each on a connection of its own, which no fault touches: what
//! was begun from anywhere can be healed from anywhere.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use consensus::NodeId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::frame::{FrameKind, put_frame, take_frame};
use super::greeting::greet_for_lab;
use crate::node::faults::{LabReply, LabWord};
use crate::node::shared::Shared;

/// The longest word or answer: as many faults as a node has, each of some hundred bytes.
const WORD_BYTES_MAX: usize = 256 << 10;
/// How long a node that has greeted may take to say its word.
const WORD_TIMEOUT: Duration = Duration::from_secs(2);

/// Puts a word to another node and waits for its answer.
///
/// # Errors
/// Why there is none.
pub(crate) async fn ask_lab(
    shared: &Arc<Shared>,
    node: NodeId,
    word: &LabWord,
    patience: Duration,
) -> Result<LabReply, String> {
    let address = shared.facts.members.get(&node).ok_or("it is no member")?;
    let exchange = async {
        let (mut stream, rest) = greet_for_lab(shared, node, address).await?;
        say(&mut stream, word).await?;
        hear(&mut stream, rest).await
    };
    match timeout(patience, exchange).await {
        Ok(answered) => answered,
        Err(_) => Err(format!("no answer for {}", humantime::format_duration(patience))),
    }
}

/// Answers the word of a node that has greeted for that.
pub(super) async fn answer_lab(shared: Arc<Shared>, mut stream: TcpStream, rest: BytesMut) {
    let exchange = async {
        let word: LabWord = hear(&mut stream, rest).await?;
        say(&mut stream, &shared.lab(word)).await
    };
    let problem = match timeout(WORD_TIMEOUT, exchange).await {
        Ok(Ok(())) => return,
        Ok(Err(problem)) => problem,
        Err(_) => "it said nothing".to_owned(),
    };
    tracing::info!("a word about faults was not answered: {problem}");
}

async fn say(stream: &mut TcpStream, word: &impl serde::Serialize) -> Result<(), String> {
    let json = serde_json::to_vec(word).map_err(|error| error.to_string())?;
    let mut out = BytesMut::new();
    put_frame(&mut out, FrameKind::Lab, |out| out.extend_from_slice(&json));
    stream.write_all(&out).await.map_err(|error| error.to_string())
}

async fn hear<T: serde::de::DeserializeOwned>(
    stream: &mut TcpStream,
    mut buffer: BytesMut,
) -> Result<T, String> {
    loop {
        if let Some((kind, content)) = take_frame(&mut buffer, WORD_BYTES_MAX)? {
            if kind != FrameKind::Lab {
                return Err("it says something that does not belong here".to_owned());
            }
            return serde_json::from_slice(&content).map_err(|error| error.to_string());
        }
        let read = stream.read_buf(&mut buffer).await.map_err(|error| error.to_string())?;
        if read == 0 {
            return Err("it closed the connection without an answer".to_owned());
        }
    }
}
