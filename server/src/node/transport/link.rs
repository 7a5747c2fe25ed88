//! Making, keeping and losing the connections to the other nodes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use consensus::codec::Wire;
use consensus::{Generation, NodeId, Standing};
use kvcore::replica::PeerMessage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::ask::{Asked, QUESTIONS_MAX, answer_questions};
use super::frame::{FRAME_BYTES_MAX, FrameKind, put_frame, take_frame};
use super::hello::Hello;
use crate::node::driver::DriverInput;
use crate::node::shared::Shared;

/// How long a connection may take to be made and to greet.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);
/// A greeting is never longer.
const GREETING_BYTES_MAX: usize = 1024;
/// How long to wait before dialling again: at first, and at most.
const REDIAL_WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));
/// Greetings in progress. One more turns the oldest away: a member greets at once, so whoever has
/// been silent the longest is none.
const GREETINGS_MAX: usize = 64;
/// The chunks that may wait for a connection to take them; one that takes none for so long is dead.
const OUTGOING_CHUNKS_MAX: usize = 8192;
/// How long a peer may take nothing of what is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read at a time.
const READ_BUFFER_BYTES: usize = 64 << 10;
/// A buffer that a large frame made larger than this is given back when it is empty.
const READ_BUFFER_KEPT_BYTES_MAX: usize = 1 << 20;

/// The live connections as other threads see them: where to put a frame for each peer. The driver
/// alone keeps a connection alive; when it lets go of its sender, the connection ends.
pub(crate) type Links = Arc<Mutex<BTreeMap<NodeId, mpsc::WeakSender<Bytes>>>>;

/// Everything that the connections of one node share.
pub(crate) struct Peers<M> {
    pub(crate) hello: Hello,
    pub(crate) members: BTreeMap<NodeId, String>,
    pub(crate) driver: mpsc::Sender<DriverInput<M>>,
    /// Which connections broke. Apart from the driver's bounded inbox, because it is told from
    /// places that can not wait.
    pub(crate) lost: mpsc::UnboundedSender<(NodeId, Generation)>,
    pub(crate) shared: Arc<Shared>,
    /// The number of the last connection to each peer, and how to end it.
    pub(crate) connections: RefCell<BTreeMap<NodeId, (Generation, Option<AbortHandle>)>>,
    /// The number for the next connection that is dialled here.
    pub(crate) dialled: Cell<u64>,
}

/// Accepts the peers with larger numbers. Ends with the runtime.
pub(crate) async fn accept_peers<M: Wire + 'static>(peers: Rc<Peers<M>>, listener: TcpListener) {
    let mut greetings: VecDeque<AbortHandle> = VecDeque::with_capacity(GREETINGS_MAX);
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or the like: it may pass.
                warn!("cannot accept a peer connection: {error}; trying again in 100 ms");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        greetings.retain(|greeting| !greeting.is_finished());
        if greetings.len() == GREETINGS_MAX
            && let Some(oldest) = greetings.pop_front()
        {
            debug!("turned away the oldest of {GREETINGS_MAX} that have not greeted yet");
            oldest.abort();
        }
        let peers = Rc::clone(&peers);
        let greeting = tokio::task::spawn_local(async move {
            match timeout(GREETING_TIMEOUT, greet_back(&peers, stream)).await {
                Ok(Ok((peer, greeted))) => connected(&peers, peer, greeted),
                Ok(Err(problem)) => {
                    info!("turned away a connection to the peer port from {address}: {problem}");
                }
                Err(_) => {
                    info!("turned away a connection to the peer port from {address}: no greeting");
                }
            }
        });
        greetings.push_back(greeting.abort_handle());
    }
}

/// Dials the peers with smaller numbers, again and again. Ends with the runtime.
pub(crate) fn dial_peers<M: Wire + 'static>(peers: &Rc<Peers<M>>) {
    for (&peer, address) in peers.members.range(..peers.hello.from) {
        tokio::task::spawn_local(keep_dialled(Rc::clone(peers), peer, address.clone()));
    }
}

async fn keep_dialled<M: Wire + 'static>(peers: Rc<Peers<M>>, peer: NodeId, address: String) {
    let (shortest, longest) = REDIAL_WAIT;
    let mut wait = shortest;
    let mut last_problem = String::new();
    loop {
        match timeout(GREETING_TIMEOUT, greet(&peers, peer, &address)).await {
            Ok(Ok(greeted)) => {
                last_problem.clear();
                let ended = connected_until(&peers, peer, greeted);
                let _ = ended.await;
                wait = shortest;
            }
            failed => {
                let problem = match failed {
                    Ok(Err(problem)) => problem,
                    _ => "no answer".to_owned(),
                };
                if problem != last_problem {
                    info!("cannot reach peer {} at {address}: {problem}; still trying", peer.0);
                    last_problem = problem;
                }
                wait = (wait * 2).min(longest);
            }
        }
        sleep(wait).await;
    }
}

/// A connection on which both sides have greeted.
struct Greeted {
    stream: TcpStream,
    /// What came behind the greeting.
    rest: BytesMut,
    /// What both ends call the connection.
    connection: u64,
}

/// The dialling side: says who it is, and waits to hear who answers.
async fn greet<M>(peers: &Peers<M>, peer: NodeId, address: &str) -> Result<Greeted, String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let connection = peers.dialled.get().wrapping_add(1);
    peers.dialled.set(connection);
    send_hello(&mut stream, &Hello { to: peer, connection, ..peers.hello.clone() }).await?;
    let (theirs, rest) = receive_hello(&mut stream).await?;
    peers.hello.accepts(&theirs, Some(peer))?;
    Ok(Greeted { stream, rest, connection })
}

/// The accepting side: hears who comes, and says who is here.
async fn greet_back<M>(
    peers: &Peers<M>,
    mut stream: TcpStream,
) -> Result<(NodeId, Greeted), String> {
    let (theirs, rest) = receive_hello(&mut stream).await?;
    // A stranger is answered all the same, so that it can say what does not fit.
    let connection = theirs.connection;
    send_hello(&mut stream, &Hello { to: theirs.from, connection, ..peers.hello.clone() }).await?;
    peers.hello.accepts(&theirs, None)?;
    if theirs.from <= peers.hello.from || !peers.members.contains_key(&theirs.from) {
        return Err(format!("it says that it is node {}, which does not dial here", theirs.from.0));
    }
    Ok((theirs.from, Greeted { stream, rest, connection }))
}

async fn send_hello(stream: &mut TcpStream, hello: &Hello) -> Result<(), String> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let mut out = BytesMut::new();
    put_frame(&mut out, FrameKind::Hello, |out| hello.encode(out));
    stream.write_all(&out).await.map_err(|error| error.to_string())
}

async fn receive_hello(stream: &mut TcpStream) -> Result<(Hello, BytesMut), String> {
    let mut buffer = BytesMut::with_capacity(GREETING_BYTES_MAX);
    loop {
        if let Some((kind, content)) = take_frame(&mut buffer, GREETING_BYTES_MAX)? {
            if kind != FrameKind::Hello {
                return Err("it does not greet".to_owned());
            }
            let hello = Hello::from_bytes(content).map_err(|error| error.to_string())?;
            return Ok((hello, buffer));
        }
        let read = stream.read_buf(&mut buffer).await.map_err(|error| error.to_string())?;
        if read == 0 {
            return Err("it closed the connection without a greeting".to_owned());
        }
    }
}

fn connected<M: Wire + 'static>(peers: &Rc<Peers<M>>, peer: NodeId, greeted: Greeted) {
    // Nobody waits for its end: the peer dials again by itself.
    drop(connected_until(peers, peer, greeted));
}

/// Puts a greeted connection to use. The receiver hears when it ends.
fn connected_until<M: Wire + 'static>(
    peers: &Rc<Peers<M>>,
    peer: NodeId,
    greeted: Greeted,
) -> oneshot::Receiver<()> {
    let (ended, until_ended) = oneshot::channel();
    let mut connections = peers.connections.borrow_mut();
    let (generation, former) = connections.entry(peer).or_default();
    *generation = generation.next();
    let generation = *generation;
    if let Some(former) = former.take() {
        // The peer comes anew before we noticed that it was gone.
        former.abort();
    }
    let task =
        tokio::task::spawn_local(run_link(Rc::clone(peers), peer, generation, greeted, ended));
    connections.get_mut(&peer).expect("entered just now").1 = Some(task.abort_handle());
    until_ended
}

/// Tells the driver that a connection is gone, however its task ends.
struct LinkGuard<M: Wire + 'static> {
    peers: Rc<Peers<M>>,
    peer: NodeId,
    generation: Generation,
    ended: Option<oneshot::Sender<()>>,
}

impl<M: Wire + 'static> Drop for LinkGuard<M> {
    fn drop(&mut self) {
        let Self { peers, peer, generation, ended } = self;
        let current = peers.connections.borrow().get(peer).map(|&(current, _)| current);
        if current == Some(*generation) {
            peers.shared.links.lock().expect("no holder of this lock panics").remove(peer);
        }
        // After the loop has ended there is nobody left to tell.
        let _ = peers.lost.send((*peer, *generation));
        if let Some(ended) = ended.take() {
            let _ = ended.send(());
        }
    }
}

async fn run_link<M: Wire + 'static>(
    peers: Rc<Peers<M>>,
    peer: NodeId,
    generation: Generation,
    greeted: Greeted,
    ended: oneshot::Sender<()>,
) {
    let Greeted { stream, rest, connection } = greeted;
    let (outgoing, to_send) = mpsc::channel(OUTGOING_CHUNKS_MAX);
    let (asked, questions) = mpsc::channel(QUESTIONS_MAX);
    let weak = outgoing.downgrade();
    let guard = LinkGuard { peers: Rc::clone(&peers), peer, generation, ended: Some(ended) };
    peers.shared.links.lock().expect("no holder of this lock panics").insert(peer, weak.clone());
    let observes = peers.shared.facts.observers.contains(&peer);
    let standing = if observes { Standing::Observer } else { Standing::Voter };
    let up = DriverInput::PeerConnected { peer, generation, standing, connection, outgoing };
    if peers.driver.send(up).await.is_err() {
        return;
    }
    info!("connected with peer {}", peer.0);
    let (reader, writer) = stream.into_split();
    let problem = tokio::select! {
        problem = receive(&peers, peer, generation, reader, rest, &asked) => problem,
        problem = send(writer, to_send, WRITE_TIMEOUT) => problem,
        problem = answer_questions(&peers.shared, questions, weak) => problem,
    };
    info!("lost the connection with peer {}: {problem}", peer.0);
    drop(guard);
}

/// Reads frames until the connection ends. Returns why it did.
async fn receive<M: Wire + 'static>(
    peers: &Peers<M>,
    peer: NodeId,
    generation: Generation,
    mut reader: OwnedReadHalf,
    mut buffer: BytesMut,
    questions: &mpsc::Sender<Asked>,
) -> String {
    let metrics = &peers.shared.metrics;
    loop {
        loop {
            let (kind, content) = match take_frame(&mut buffer, FRAME_BYTES_MAX) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(problem) => return problem,
            };
            metrics.frames_received.inc();
            let handled = match kind {
                FrameKind::Message => match PeerMessage::from_bytes(content) {
                    Ok(message) => {
                        let received = DriverInput::Received { peer, generation, message };
                        peers.driver.send(received).await.map_err(|_| "shutting down".to_owned())
                    }
                    Err(error) => Err(error.to_string()),
                },
                FrameKind::Question => peers.shared.question_received(content, questions),
                FrameKind::Reply => peers.shared.reply_received(content),
                FrameKind::Hello => Err("it greets twice".to_owned()),
            };
            if let Err(problem) = handled {
                return problem;
            }
        }
        buffer.reserve(READ_BUFFER_BYTES);
        if buffer.is_empty() && buffer.capacity() > READ_BUFFER_KEPT_BYTES_MAX {
            buffer = BytesMut::with_capacity(READ_BUFFER_BYTES);
        }
        match reader.read_buf(&mut buffer).await {
            Ok(0) => return "the peer closed it".to_owned(),
            Ok(read) => {
                metrics.peer_received_bytes.inc_by(read as u64);
            }
            Err(error) => return error.to_string(),
        }
    }
}

/// Writes chunks of frames until the connection ends: because it broke, because the driver let go of
/// it, or because the peer takes nothing any more. Returns why it did.
async fn send(
    mut writer: OwnedWriteHalf,
    mut to_send: mpsc::Receiver<Bytes>,
    write_timeout: Duration,
) -> String {
    while let Some(mut chunk) = to_send.recv().await {
        while !chunk.is_empty() {
            match timeout(write_timeout, writer.write_buf(&mut chunk)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return format!("the peer took nothing for {write_timeout:?}"),
            }
        }
    }
    "this node closed it".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connection() -> (TcpStream, OwnedWriteHalf) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_, writer) = accepted.expect("accepted").0.into_split();
        (dialled.expect("connected"), writer)
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_loses_its_connection() {
        let (silent, writer) = connection().await;
        let (outgoing, to_send) = mpsc::channel(64);
        for _ in 0..64 {
            outgoing.try_send(Bytes::from(vec![0; 1 << 20])).expect("there is room");
        }
        let problem = send(writer, to_send, Duration::from_millis(200)).await;
        assert!(problem.contains("took nothing"), "{problem}");
        drop(silent);
    }

    #[tokio::test]
    async fn a_connection_that_the_driver_lets_go_of_ends_after_what_it_had_to_send() {
        let (mut peer, writer) = connection().await;
        let (outgoing, to_send) = mpsc::channel(4);
        // As the other threads hold it: it does not keep the connection alive.
        let weak = outgoing.downgrade();
        outgoing.try_send(Bytes::from_static(b"last")).expect("there is room");
        drop(outgoing);
        assert_eq!(send(writer, to_send, WRITE_TIMEOUT).await, "this node closed it");
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.expect("closed");
        assert_eq!(received, b"last");
        assert!(weak.upgrade().is_none());
    }
}
