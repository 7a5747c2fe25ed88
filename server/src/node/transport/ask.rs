//! Asking the other nodes what they have applied, and answering them: outside of any protocol.
//!
//! The answers are read on threads that may wait for the disk and for the state machine's lock,
//! never on the consensus thread. Of each connection a few questions may wait, and a few answers be
//! unsent; a question beyond is not answered, and its asker gives up in time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use consensus::NodeId;
use kvcore::{FetchError, KeyValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use twox_hash::xxhash3_128::Hasher;

use super::frame::{FrameKind, put_frame};
use super::question::{decode_question, decode_reply, encode_question, encode_reply};
use crate::node::handle::{KeyReply, Question, Reply, ReplyContent, ValueReply};
use crate::node::shared::Shared;

/// The questions of one connection that may wait to be answered.
pub(super) const QUESTIONS_MAX: usize = 16;
/// The answers that one connection may have to send yet.
const REPLIES_UNSENT_MAX: usize = 4;
/// The longest value that an answer holds; of a longer one it holds the digest.
const VALUE_BYTES_MAX: usize = 64 << 10;
/// How often a read begins anew because compaction removed what it had located.
const ATTEMPTS_MAX: usize = 16;

/// A question of a peer, with its number.
pub(super) type Asked = (u64, Question);

impl Shared {
    /// Puts a question to every member, this node included.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        question: Question,
        timeout: Duration,
    ) -> BTreeMap<NodeId, Option<Reply>> {
        let deadline = Instant::now() + timeout;
        let mut replies: BTreeMap<_, _> =
            self.facts.members.keys().map(|&member| (member, None)).collect();
        let others = self.facts.members.keys().filter(|&&member| member != self.facts.id);
        let waiting: Vec<_> = others
            .filter_map(|&member| Some((member, self.send_question(member, &question)?)))
            .collect();
        let here = Arc::clone(self);
        let own = tokio::task::spawn_blocking(move || here.reply(&question));
        if let Ok(Ok(reply)) = timeout_at(deadline, own).await {
            replies.insert(self.facts.id, Some(reply));
        }
        for (member, mut waiting) in waiting {
            if let Ok(Ok(reply)) = timeout_at(deadline, &mut waiting.reply).await {
                replies.insert(member, Some(reply));
            }
        }
        replies
    }

    fn send_question(self: &Arc<Self>, member: NodeId, question: &Question) -> Option<Waiting> {
        let link =
            self.links.lock().expect("no holder of this lock panics").get(&member)?.upgrade()?;
        let number = self.question_numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        self.questions.lock().expect("no holder of this lock panics").insert(number, sender);
        let waiting = Waiting { shared: Arc::clone(self), number, reply };
        let mut frame = BytesMut::new();
        put_frame(&mut frame, FrameKind::Question, |out| encode_question(number, question, out));
        link.try_send(frame.freeze()).ok()?;
        Some(waiting)
    }

    /// A peer asks something. It waits for its turn, if there is room.
    ///
    /// # Errors
    /// When it can not be understood.
    pub(super) fn question_received(
        &self,
        content: Bytes,
        questions: &mpsc::Sender<Asked>,
    ) -> Result<(), String> {
        let asked = decode_question(content).map_err(|error| error.to_string())?;
        // Who asks so much more than is answered has a time limit of its own.
        let _ = questions.try_send(asked);
        Ok(())
    }

    /// A peer answers. Nobody may be waiting any more.
    ///
    /// # Errors
    /// When it can not be understood.
    pub(super) fn reply_received(&self, content: Bytes) -> Result<(), String> {
        let (number, reply) = decode_reply(content).map_err(|error| error.to_string())?;
        let asked = self.questions.lock().expect("no holder of this lock panics").remove(&number);
        if let Some(sender) = asked {
            let _ = sender.send(reply);
        }
        Ok(())
    }

    /// What this node has applied. May wait for the state machine's lock and for the disk.
    fn reply(&self, question: &Question) -> Reply {
        let mut reply = self.reply_once(question);
        for _ in 1..ATTEMPTS_MAX {
            match reply {
                Ok(reply) => return reply,
                Err(_) => reply = self.reply_once(question),
            }
        }
        reply.unwrap_or_else(|vanished| *vanished)
    }

    /// The inner error is worth trying again: compaction removed what had been located.
    fn reply_once(&self, question: &Question) -> Result<Reply, Box<Reply>> {
        let machine = self.machine.read().expect("no holder of this lock panics");
        let (revision, applied) = (machine.revision(), machine.applied());
        let reply = |content| Reply { revision, applied, compacted: machine.compacted(), content };
        match question {
            Question::State(at) => {
                let state = machine.state_at(at.unwrap_or(applied.index));
                Ok(reply(ReplyContent::State(state)))
            }
            Question::Trace(question) => {
                let reply = reply(ReplyContent::Failed);
                drop(machine);
                Ok(Reply { content: ReplyContent::Trace(self.ring.answer(*question)), ..reply })
            }
            Question::Key(key) => {
                let located = machine.locate(key, None);
                let failed = reply(ReplyContent::Failed);
                drop(machine);
                let Ok(located) = located else { return Ok(failed) };
                match located.fetch(&*self.store()) {
                    Ok(found) => {
                        Ok(Reply { content: ReplyContent::Key(found.map(KeyReply::of)), ..failed })
                    }
                    Err(FetchError::Vanished(_)) => Err(Box::new(failed)),
                    Err(FetchError::Store(_)) => Ok(failed),
                }
            }
        }
    }
}

impl KeyReply {
    fn of(found: KeyValue) -> Self {
        let KeyValue { mod_revision, version, value, .. } = found;
        let value = if value.len() <= VALUE_BYTES_MAX {
            ValueReply::Whole(value)
        } else {
            let (bytes, digest) = (value.len() as u64, Hasher::oneshot(&value));
            ValueReply::Digest { bytes, digest }
        };
        Self { mod_revision, version, value }
    }
}

/// A question that waits for its answer. It is forgotten when nobody waits any more, also when its
/// client goes away.
struct Waiting {
    shared: Arc<Shared>,
    number: u64,
    reply: oneshot::Receiver<Reply>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Ok(mut questions) = self.shared.questions.lock() {
            questions.remove(&self.number);
        }
    }
}

/// Answers the questions of one connection, one after the other, as long as it lives.
pub(super) async fn answer_questions(
    shared: &Arc<Shared>,
    mut questions: mpsc::Receiver<Asked>,
    outgoing: mpsc::WeakSender<Bytes>,
) -> String {
    let unsent = Arc::new(Semaphore::new(REPLIES_UNSENT_MAX));
    while let Some((number, question)) = questions.recv().await {
        let place = Arc::clone(&unsent).acquire_owned().await.expect("it is never closed");
        let its_shared = Arc::clone(shared);
        let reply = tokio::task::spawn_blocking(move || its_shared.reply(&question));
        // One that panicked has said so already.
        let Ok(reply) = reply.await else { continue };
        let mut frame = BytesMut::new();
        put_frame(&mut frame, FrameKind::Reply, |out| encode_reply(number, &reply, out));
        let Some(outgoing) = outgoing.upgrade() else { break };
        // A connection that takes nothing more is about to break; the asker has a time limit.
        let _ = outgoing.try_send(Bytes::from_owner(Unsent { frame, _place: place }));
    }
    "this node closed it".to_owned()
}

/// A frame that gives its place back when it was sent.
struct Unsent {
    frame: BytesMut,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}
