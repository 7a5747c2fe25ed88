//! Making, keeping and losing the connections to the other nodes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use consensus::codec::Wire;
use consensus::{Generation, NodeId};
use kvcore::replica::PeerMessage;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::ask::{Asked, QUESTIONS_MAX, answer_questions};
use super::frame::{FRAME_BYTES_MAX, FrameKind, take_frame};
use super::greeting::{GreetError, Greeted, Greeting, greet, greet_back};
use super::hello::HelloPurpose;
use super::lab::answer_lab;
use super::lane::{Broken, Lane, Straggler, linger};
use super::outgoing::send;
use crate::node::driver::DriverInput;
use crate::node::giving_way::spawn_giving_way;
use crate::node::shared::Shared;
use crate::node::snapshots::{CancelOnDrop, Cancellation, Incoming, receive};

/// How long a connection may take to be made and to greet.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait before dialling again: at first, and at most.
const REDIAL_WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));
/// How long to wait at most before a node that waits for its cluster to form says what it knows
/// again, and hears what the other knows.
const FORMING_WAIT_MAX: Duration = Duration::from_millis(50);
/// Greetings in progress. One more turns the oldest away: a member greets at once, so whoever has
/// been silent the longest is none.
const GREETINGS_MAX: usize = 64;
/// The chunks that may wait for a connection to take them; one that takes none for so long is dead.
const OUTGOING_CHUNKS_MAX: usize = 8192;
/// How long a peer may take nothing of what is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read at a time.
const READ_BUFFER_BYTES: usize = 64 << 10;
/// The messages of a peer that are to arrive behind the ends of their connections, and their bytes; of
/// more the oldest never do.
const STRAGGLERS_MAX: usize = 64;
const STRAGGLER_BYTES_MAX: usize = 16 << 20;
/// A buffer that a large frame made larger than this is given back when it is empty.
const READ_BUFFER_KEPT_BYTES_MAX: usize = 1 << 20;

/// The live connections as other threads see them: where to put a frame for each peer. The driver
/// alone keeps a connection alive; when it lets go of its sender, the connection ends.
pub(crate) type Links = Arc<Mutex<BTreeMap<NodeId, mpsc::WeakSender<Bytes>>>>;

/// Everything that the connections of one node share.
pub(crate) struct Peers<M> {
    pub(crate) members: BTreeMap<NodeId, String>,
    pub(crate) driver: mpsc::Sender<DriverInput<M>>,
    /// Which connections broke. Apart from the driver's bounded inbox, because it is told from
    /// places that can not wait.
    pub(crate) lost: mpsc::UnboundedSender<(NodeId, Generation)>,
    pub(crate) shared: Arc<Shared>,
    /// The last link to each peer.
    pub(crate) connections: RefCell<BTreeMap<NodeId, Connection>>,
    /// The snapshot that is being received, and the link that it belongs to. Another takes its place.
    pub(crate) incoming: RefCell<Option<(NodeId, Generation, CancelOnDrop)>>,
    /// The number of the last link that was dialled here.
    pub(crate) dialled: Cell<u64>,
    /// Tells why the node can not go on.
    pub(crate) failed: mpsc::UnboundedSender<String>,
    /// What faults have made late: messages of connections that are gone, which arrive on the next.
    pub(crate) stragglers: RefCell<BTreeMap<NodeId, VecDeque<(Generation, Bytes)>>>,
    /// What was last logged of each node that was turned away.
    pub(crate) turned_away: RefCell<BTreeMap<NodeId, String>>,
}

impl<M> Peers<M> {
    /// The number for a connection that is dialled here.
    pub(super) fn next_connection(&self) -> u64 {
        self.dialled.set(self.dialled.get().wrapping_add(1));
        self.dialled.get()
    }

    /// Whether a node may be the one that dials.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn dials_here(&self, peer: NodeId, purpose: HelloPurpose) -> Result<(), String> {
        let dials = peer > self.shared.facts.id || purpose != HelloPurpose::Link;
        if dials && self.members.contains_key(&peer) {
            Ok(())
        } else {
            Err(format!("it says that it is node {}, which does not dial here", peer.0))
        }
    }

    /// Says why the node can not go on.
    pub(super) fn fail(&self, problem: &str) {
        // After the loop has ended there is nobody left to tell.
        let _ = self.failed.send(problem.to_owned());
    }
}

/// The last link to a peer.
#[derive(Default)]
pub(crate) struct Connection {
    generation: Generation,
    /// What both ends call it.
    number: u64,
    /// How to end it; `None` once it has ended.
    task: Option<AbortHandle>,
}

/// Accepts the peers with larger numbers, and the snapshots of all. Ends with the runtime.
pub(crate) async fn accept_peers<M: Wire + Send + 'static>(
    peers: Rc<Peers<M>>,
    listener: TcpListener,
) {
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
                Ok(Ok((peer, Greeting::Connected(greeted)))) => match greeted.purpose {
                    HelloPurpose::Link => connected(&peers, peer, greeted),
                    HelloPurpose::Snapshot => snapshot_comes(&peers, peer, greeted),
                    HelloPurpose::Lab => {
                        let shared = Arc::clone(&peers.shared);
                        answer_lab(shared, greeted.stream, greeted.rest).await;
                    }
                },
                Ok(Ok((peer, Greeting::Forming { .. }))) => {
                    debug!("told peer {} what is known of the cluster, which is forming", peer.0);
                }
                Ok(Err(error)) => tell_turned_away(&peers, address, error),
                Err(_) => {
                    info!("turned away a connection to the peer port from {address}: no greeting");
                }
            }
        });
        greetings.push_back(greeting.abort_handle());
    }
}

/// Logs why somebody was turned away; of a member, which comes again and again, each cause once.
fn tell_turned_away<M>(peers: &Peers<M>, address: SocketAddr, error: GreetError) {
    let GreetError { problem, misfit } = error;
    let Some(peer) = misfit else {
        info!("turned away a connection to the peer port from {address}: {problem}");
        return;
    };
    let mut turned_away = peers.turned_away.borrow_mut();
    if turned_away.get(&peer) != Some(&problem) {
        warn!("turned away peer {} from {address}: {problem}", peer.0);
        turned_away.insert(peer, problem);
    }
}

/// Dials the peers with smaller numbers, again and again. Ends with the runtime.
pub(crate) fn dial_peers<M: Wire + Send + 'static>(peers: &Rc<Peers<M>>) {
    for (&peer, address) in peers.members.range(..peers.shared.facts.id) {
        tokio::task::spawn_local(keep_dialled(Rc::clone(peers), peer, address.clone()));
    }
}

async fn keep_dialled<M: Wire + Send + 'static>(
    peers: Rc<Peers<M>>,
    peer: NodeId,
    address: String,
) {
    let (shortest, longest) = REDIAL_WAIT;
    let mut wait = shortest;
    let mut last_problem = String::new();
    loop {
        match timeout(GREETING_TIMEOUT, greet(&peers, peer, &address)).await {
            Ok(Ok(Greeting::Forming { progress })) => {
                last_problem.clear();
                wait = if progress { shortest } else { (wait * 2).min(FORMING_WAIT_MAX) };
            }
            Ok(Ok(Greeting::Connected(greeted))) => {
                last_problem.clear();
                let ended = connected_until(&peers, peer, greeted);
                let _ = ended.await;
                wait = shortest;
            }
            failed => {
                let GreetError { problem, misfit } = match failed {
                    Ok(Err(error)) => error,
                    _ => GreetError::from("no answer".to_owned()),
                };
                if problem != last_problem {
                    if misfit.is_some() {
                        warn!("turned away from peer {} at {address}: {problem}", peer.0);
                    } else {
                        info!("cannot reach peer {} at {address}: {problem}; still trying", peer.0);
                    }
                    last_problem = problem;
                }
                wait = (wait * 2).min(longest);
            }
        }
        sleep(wait).await;
    }
}

fn connected<M: Wire + Send + 'static>(peers: &Rc<Peers<M>>, peer: NodeId, greeted: Greeted) {
    // Nobody waits for its end: the peer dials again by itself.
    drop(connected_until(peers, peer, greeted));
}

/// Puts a greeted connection to use. The receiver hears when it ends.
fn connected_until<M: Wire + Send + 'static>(
    peers: &Rc<Peers<M>>,
    peer: NodeId,
    greeted: Greeted,
) -> oneshot::Receiver<()> {
    let (ended, until_ended) = oneshot::channel();
    let mut connections = peers.connections.borrow_mut();
    let connection = connections.entry(peer).or_default();
    if let Some(former) = connection.task.take() {
        // The peer comes anew before we noticed that it was gone.
        former.abort();
    }
    connection.generation = connection.generation.next();
    connection.number = greeted.connection;
    let link = run_link(Rc::clone(peers), peer, connection.generation, greeted, ended);
    connection.task = Some(tokio::task::spawn_local(link).abort_handle());
    until_ended
}

/// Receives a snapshot, if the link that it belongs to is the present one.
fn snapshot_comes<M: Wire + Send + 'static>(peers: &Rc<Peers<M>>, peer: NodeId, greeted: Greeted) {
    let Greeted { stream, rest, connection, .. } = greeted;
    let generation = match peers.connections.borrow().get(&peer) {
        Some(link) if link.number == connection && link.task.is_some() => link.generation,
        _ => return info!("turned away a snapshot of {peer} that belongs to an earlier link"),
    };
    let stream = match stream.into_std() {
        Ok(stream) => stream,
        Err(error) => return warn!("cannot receive a snapshot of {peer}: {error}"),
    };
    let cancellation = Cancellation::default();
    let cancel = CancelOnDrop(cancellation.clone());
    // Whatever was being received before ends: the newer sender knows more.
    drop(peers.incoming.replace(Some((peer, generation, cancel))));
    let incoming = Incoming { peer, generation, stream, rest, cancellation };
    let (shared, driver) = (Arc::clone(&peers.shared), peers.driver.clone());
    spawn_giving_way("snapshot-receive", move || {
        if let Err(problem) = receive(&shared, incoming, &driver) {
            info!("the snapshot from {peer} broke off: {problem}");
        }
    });
}

/// Tells the driver that a connection is gone, however its task ends.
struct LinkGuard<M: Wire + Send + 'static> {
    peers: Rc<Peers<M>>,
    peer: NodeId,
    generation: Generation,
    ended: Option<oneshot::Sender<()>>,
}

impl<M: Wire + Send + 'static> Drop for LinkGuard<M> {
    fn drop(&mut self) {
        let Self { peers, peer, generation, ended } = self;
        let mut connections = peers.connections.borrow_mut();
        let current = connections.get_mut(peer).filter(|link| link.generation == *generation);
        if let Some(current) = current {
            current.task = None;
            peers.shared.links.lock().expect("no holder of this lock panics").remove(peer);
        }
        peers.incoming.borrow_mut().take_if(|(from, with, _)| from == peer && with == generation);
        // After the loop has ended there is nobody left to tell.
        let _ = peers.lost.send((*peer, *generation));
        if let Some(ended) = ended.take() {
            let _ = ended.send(());
        }
    }
}

async fn run_link<M: Wire + Send + 'static>(
    peers: Rc<Peers<M>>,
    peer: NodeId,
    generation: Generation,
    greeted: Greeted,
    ended: oneshot::Sender<()>,
) {
    let Greeted { stream, rest, connection, directory, .. } = greeted;
    let (outgoing, to_send) = mpsc::channel(OUTGOING_CHUNKS_MAX);
    let (asked, questions) = mpsc::channel(QUESTIONS_MAX);
    let weak = outgoing.downgrade();
    let guard = LinkGuard { peers: Rc::clone(&peers), peer, generation, ended: Some(ended) };
    peers.shared.links.lock().expect("no holder of this lock panics").insert(peer, weak.clone());
    let standing = peers.shared.formation.peer_standing(peer, directory);
    let up = DriverInput::PeerConnected { peer, generation, standing, connection, outgoing };
    if peers.driver.send(up).await.is_err() {
        return;
    }
    info!("connected with peer {}, {standing}", peer.0);
    let (reader, writer) = stream.into_split();
    let lane = Lane::new(&peers.shared.faults, peers.shared.facts.id, peer);
    let problem = tokio::select! {
        problem = receive_frames(&peers, peer, generation, reader, rest, &asked) => problem,
        problem = send(writer, to_send, WRITE_TIMEOUT, lane) => problem,
        problem = answer_questions(&peers.shared, questions, weak) => problem,
    };
    info!("lost the connection with peer {}: {problem}", peer.0);
    drop(guard);
}

/// Reads frames until the connection ends. Returns why it did.
async fn receive_frames<M: Wire + Send + 'static>(
    peers: &Peers<M>,
    peer: NodeId,
    generation: Generation,
    mut reader: OwnedReadHalf,
    mut buffer: BytesMut,
    questions: &mpsc::Sender<Asked>,
) -> String {
    let metrics = &peers.shared.metrics;
    let mut lane = Lane::new(&peers.shared.faults, peer, peers.shared.facts.id);
    loop {
        while let Some(content) = lane.next() {
            if let Err(problem) = hear(peers, peer, generation, content).await {
                return problem;
            }
        }
        loop {
            let (kind, content) = match take_frame(&mut buffer, FRAME_BYTES_MAX) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(problem) => return problem,
            };
            metrics.frames_received.inc();
            let handled = match kind {
                FrameKind::Message if lane.is_clear() => {
                    hear(peers, peer, generation, content).await
                }
                FrameKind::Message => match lane.take(content.clone()) {
                    // Mostly the same one: of another link's faults it is not even late.
                    Ok(()) => match lane.next() {
                        Some(content) => hear(peers, peer, generation, content).await,
                        None => Ok(()),
                    },
                    Err(Broken::Now(problem)) => Err(problem),
                    Err(Broken::Behind(mut straggler)) => {
                        // Nothing of a connection arrives before what it is behind.
                        straggler.again &= !lane.is_holding();
                        return strayed(peers, peer, generation, content, straggler).await;
                    }
                },
                FrameKind::Question => peers.shared.question_received(content, questions),
                FrameKind::Reply => peers.shared.reply_received(content),
                FrameKind::Hello => Err("it greets twice".to_owned()),
                FrameKind::Snapshot => Err("a snapshot does not belong here".to_owned()),
                FrameKind::Lab => Err("a word about faults does not belong here".to_owned()),
            };
            if let Err(problem) = handled {
                return problem;
            }
        }
        buffer.reserve(READ_BUFFER_BYTES);
        if buffer.is_empty() && buffer.capacity() > READ_BUFFER_KEPT_BYTES_MAX {
            buffer = BytesMut::with_capacity(READ_BUFFER_BYTES);
        }
        let read = if lane.is_holding() {
            tokio::select! {
                read = reader.read_buf(&mut buffer) => read,
                () = lane.changed() => continue,
            }
        } else {
            reader.read_buf(&mut buffer).await
        };
        match read {
            Ok(0) => return "the peer closed it".to_owned(),
            Ok(read) => {
                metrics.peer_received_bytes.inc_by(read as u64);
            }
            Err(error) => return error.to_string(),
        }
    }
}

/// A message arrives: it goes to the loop.
async fn hear<M: Wire + Send + 'static>(
    peers: &Peers<M>,
    peer: NodeId,
    generation: Generation,
    content: Bytes,
) -> Result<(), String> {
    let message = PeerMessage::from_bytes(content).map_err(|error| error.to_string())?;
    let received = DriverInput::Received { peer, generation, message };
    peers.driver.send(received).await.map_err(|_| "shutting down".to_owned())?;
    if peers.stragglers.borrow().is_empty() {
        return Ok(());
    }
    // What an earlier connection still had for this node: only the number of that connection is left
    // of it, and by that the loop knows what to make of it.
    let stragglers = peers.stragglers.borrow_mut().remove(&peer).unwrap_or_default();
    for (generation, content) in stragglers {
        info!("a message of an earlier connection with peer {} arrives late", peer.0);
        let message = PeerMessage::from_bytes(content).map_err(|error| error.to_string())?;
        let late = DriverInput::Received { peer, generation, message };
        peers.driver.send(late).await.map_err(|_| "shutting down".to_owned())?;
    }
    Ok(())
}

/// A message arrives that is to arrive late: its connection breaks. Returns why.
async fn strayed<M: Wire + Send + 'static>(
    peers: &Peers<M>,
    peer: NodeId,
    generation: Generation,
    content: Bytes,
    straggler: Straggler,
) -> String {
    let Straggler { fault, again } = straggler;
    if again {
        if let Err(problem) = hear(peers, peer, generation, content.clone()).await {
            return problem;
        }
        linger().await;
    }
    let mut stragglers = peers.stragglers.borrow_mut();
    let of_peer = stragglers.entry(peer).or_default();
    of_peer.push_back((generation, content));
    let bytes =
        |all: &VecDeque<(_, Bytes)>| all.iter().map(|(_, content)| content.len()).sum::<usize>();
    while of_peer.len() > STRAGGLERS_MAX || bytes(of_peer) > STRAGGLER_BYTES_MAX {
        of_peer.pop_front();
    }
    format!("{fault} made a message late")
}
