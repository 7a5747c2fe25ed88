//! Standing for a lock or an office, and waiting for one's turn.
//!
//! All of it happens in a task of its own, which outlives the request: should the client go away, in
//! whatever moment, it takes the key out of the queue that was stored for it. Only what this request stored:
//! another one with the same lease may have won before, or wait with the same key.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kvcore::{
    Compare, Delete, KeyValue, Keys, LeaseId, Operation, OperationOutcome, Put, PutLease, PutValue,
    Range, Revision, Transaction, TransactionOutcome,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::Instrument as _;

use super::{of_session, prefix, prefix_end};
use crate::http::App;
use crate::http::v3::context::TIMEOUT_DEFAULT;
use crate::http::v3::error::{Refusal, Refused};
use crate::http::v3::kv::look_through;
use crate::http::v3::message::{RangeRequest, signed};
use crate::node::handle::Consistency;

/// How long a lease lives that a request without one is given, in seconds, and how often it is renewed
/// until the request is answered.
const OWN_LEASE_SECONDS: i64 = 60;
const OWN_LEASE_RENEWAL: Duration = Duration::from_secs(20);
/// How long it is at least from one look at the keys to the next, and how much more for each request that
/// waits: so all of them together look a hundred thousand times a second at most, however much is written.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_EACH: Duration = Duration::from_micros(10);
/// How often it is tried to take a key out of the queue, and how long after a failure. Its lease takes it
/// out if nobody else can.
const WITHDRAWALS_MAX: usize = 4;
const WITHDRAWAL_PAUSE: Duration = Duration::from_secs(1);
/// How long an answer waits for that.
const WITHDRAWAL_TOLD_MAX: Duration = Duration::from_millis(200);

/// Who stands for what.
#[derive(Clone, Debug)]
pub(super) struct Candidacy {
    /// The name of the lock or the election.
    pub(super) name: Bytes,
    /// The number of the lease; 0 for one of its own.
    pub(super) lease: i64,
    /// What the key shall say; a lock says nothing.
    pub(super) proclaims: Option<Bytes>,
}

/// A lock or an office that was won.
#[derive(Clone, Debug)]
pub(super) struct Won {
    /// The key that has it.
    pub(super) key: Bytes,
    /// The revision that created the key.
    pub(super) created: Revision,
    /// The lease that it hangs on.
    pub(super) lease: LeaseId,
    /// A revision at which it was so.
    pub(super) revision: Revision,
}

/// Stands and waits, without end unless there is a time.
pub(super) async fn win(
    app: &Arc<App>,
    candidacy: Candidacy,
    time_max: Option<Duration>,
) -> Result<Won, Refused> {
    let place = app.budget.queue()?;
    let (sender, receiver) = oneshot::channel();
    let deadline = time_max.map(|time| Instant::now() + time);
    let app = Arc::clone(app);
    let run = async move {
        let _place = place;
        run(app, candidacy, deadline, sender).await;
    };
    tokio::spawn(run.in_current_span());
    let answer = async {
        let broke_off = || Refused::with(Refusal::Internal, "the wait for the lock broke off");
        receiver.await.unwrap_or_else(|_| Err(broke_off()))
    };
    let Some(deadline) = deadline else { return answer.await };
    // Without a leader what was left in the queue takes longer to be removed than a client waits.
    let told = timeout_at(deadline + WITHDRAWAL_TOLD_MAX, answer).await;
    told.unwrap_or_else(|_| Err(Refusal::DeadlineExceeded.into()))
}

async fn run(
    app: Arc<App>,
    candidacy: Candidacy,
    deadline: Option<Instant>,
    mut sender: oneshot::Sender<Result<Won, Refused>>,
) {
    // Whoever is not heard of is not told.
    let candidate = match Candidate::stand(&app, candidacy).await {
        Ok(candidate) => candidate,
        Err(refused) => {
            let _ = sender.send(Err(refused));
            return;
        }
    };
    let time_is_over = async {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    let won = tokio::select! {
        won = candidate.wait() => won,
        () = sender.closed() => return candidate.withdraw().await,
        () = time_is_over => Err(Refusal::DeadlineExceeded.into()),
        () = app.stopped() => Err(Refusal::Stopped.into()),
    };
    match won {
        Ok(won) => {
            if sender.send(Ok(won)).is_err() {
                candidate.withdraw().await;
            }
        }
        Err(refused) => {
            candidate.withdraw().await;
            let _ = sender.send(Err(refused));
        }
    }
}

/// A key in the queue.
struct Candidate {
    app: Arc<App>,
    name: Bytes,
    key: Bytes,
    created: Revision,
    /// Whether this request stored it.
    is_new: bool,
    lease: LeaseId,
    /// Whether the lease is for this request alone.
    owns_lease: bool,
}

impl Candidate {
    /// Stores the key, unless it is there.
    async fn stand(app: &Arc<App>, candidacy: Candidacy) -> Result<Self, Refused> {
        let Candidacy { name, lease, proclaims } = candidacy;
        let (lease, owns_lease) = match LeaseId::new(lease) {
            Some(lease) => (lease, false),
            None => (app.grant_lease(None, OWN_LEASE_SECONDS, TIMEOUT_DEFAULT).await?.0, true),
        };
        let key = key(&name, lease);
        let mut candidate = Self {
            app: Arc::clone(app),
            name,
            key,
            created: Revision(0),
            is_new: false,
            lease,
            owns_lease,
        };
        match candidate.enter(proclaims).await {
            Ok(()) => Ok(candidate),
            Err(refused) => {
                candidate.withdraw().await;
                Err(of_session(refused))
            }
        }
    }

    async fn enter(&mut self, proclaims: Option<Bytes>) -> Result<(), Refused> {
        let put = self.put(proclaims.clone().unwrap_or_default());
        let read = Operation::Read(Box::new(Range::of(Keys::One(self.key.clone()))));
        let transaction = Transaction {
            compares: vec![Compare::is_created_by(self.key.clone(), Revision(0))],
            success: vec![put],
            failure: vec![read],
        };
        let (outcome, revision) = self.app.transact(transaction, TIMEOUT_DEFAULT).await?;
        if outcome.succeeded {
            (self.created, self.is_new) = (revision, true);
            return Ok(());
        }
        let found = found(&self.app, outcome).await?;
        self.created = found.create_revision;
        match proclaims {
            Some(value) if value != found.value => self.proclaim(value).await,
            _ => Ok(()),
        }
    }

    fn put(&self, value: Bytes) -> Operation {
        Operation::Put(Put {
            value: PutValue::New(value),
            lease: PutLease::Attach(self.lease),
            ..Put::new(self.key.clone(), Bytes::new())
        })
    }

    /// Has a key say something else that was there before.
    async fn proclaim(&self, value: Bytes) -> Result<(), Refused> {
        let transaction = Transaction {
            compares: vec![Compare::is_created_by(self.key.clone(), self.created)],
            success: vec![self.put(value)],
            failure: vec![],
        };
        match self.app.transact(transaction, TIMEOUT_DEFAULT).await?.0.succeeded {
            true => Ok(()),
            false => Err(Refusal::ElectionNotLeader.into()),
        }
    }

    /// Waits until no key in the queue is before this one.
    async fn wait(&self) -> Result<Won, Refused> {
        let mut waited = false;
        while let Some(before) = self.predecessor().await? {
            waited = true;
            self.outwait(&before).await?;
        }
        if waited {
            self.confirm().await?;
        }
        let (key, revision) = (self.key.clone(), self.app.revision());
        Ok(Won { key, created: self.created, lease: self.lease, revision })
    }

    /// The last key before this one. This node knows it, because it applied what stored this one: whatever
    /// it does not find was deleted.
    async fn predecessor(&self) -> Result<Option<KeyValue>, Refused> {
        loop {
            let mut last: Option<KeyValue> = None;
            let look = |found: KeyValue| {
                if last.as_ref().is_none_or(|last| last.create_revision < found.create_revision) {
                    last = Some(found);
                }
            };
            let request = RangeRequest {
                key: prefix(&self.name),
                range_end: prefix_end(&self.name),
                keys_only: true,
                max_create_revision: signed(self.created.0 - 1),
                ..RangeRequest::default()
            };
            match look_through(&self.app, request, look).await {
                Ok(()) => return Ok(last),
                // The revision of the first page was compacted before the last page was read.
                Err(refused) if refused.refusal == Refusal::Compacted => {}
                Err(refused) => return Err(refused),
            }
        }
    }

    /// Waits until another key is deleted, as long as one's own is there.
    async fn outwait(&self, before: &KeyValue) -> Result<(), Refused> {
        let mut revisions = self.app.handle.revisions();
        let mut renewal = Instant::now() + OWN_LEASE_RENEWAL;
        loop {
            revisions.mark_unchanged();
            if !self.app.is_there(&self.key, self.created)? {
                return Err(Refusal::SessionExpired.into());
            }
            if !self.app.is_there(&before.key, before.create_revision)? {
                return Ok(());
            }
            tokio::select! {
                changed = revisions.changed() => {
                    changed.map_err(|_| Refusal::Stopped)?;
                    let queued = u32::try_from(self.app.budget.queued()).unwrap_or(u32::MAX);
                    sleep(PAUSE_MIN + PAUSE_EACH * queued).await;
                }
                () = sleep_until(renewal), if self.owns_lease => {
                    renewal += OWN_LEASE_RENEWAL;
                    // It is tried again long before the lease ends.
                    let _ = self.app.handle.keep_alive(self.lease, OWN_LEASE_RENEWAL).await;
                }
            }
        }
    }

    /// Makes sure that the key is still there after all the time, as every node sees it.
    async fn confirm(&self) -> Result<(), Refused> {
        if self.owns_lease {
            // Nobody renews it from now on, so it begins to count when the client hears of it.
            self.app.handle.keep_alive(self.lease, TIMEOUT_DEFAULT).await?;
        }
        self.app.handle.barrier(Consistency::Linearizable, TIMEOUT_DEFAULT).await?;
        match self.app.is_there(&self.key, self.created)? {
            true => Ok(()),
            false => Err(Refusal::SessionExpired.into()),
        }
    }

    /// Takes out of the queue what this request put there.
    async fn withdraw(&self) {
        if !self.owns_lease && !self.is_new {
            return;
        }
        for attempt in 1..=WITHDRAWALS_MAX {
            let withdrawn = if self.owns_lease {
                self.app.revoke_lease(self.lease, TIMEOUT_DEFAULT).await.map(|_| ())
            } else {
                let delete = Operation::Delete(Delete::of(Keys::One(self.key.clone())));
                let transaction = Transaction {
                    compares: vec![Compare::is_created_by(self.key.clone(), self.created)],
                    success: vec![delete],
                    failure: vec![],
                };
                self.app.transact(transaction, TIMEOUT_DEFAULT).await.map(|_| ())
            };
            match withdrawn {
                Err(refused) if refused.refusal != Refusal::LeaseNotFound => {
                    tracing::warn!(
                        "a key of a client that is gone stays in the queue: {refused} (attempt \
                         {attempt} of {WITHDRAWALS_MAX}); its lease {} ends it",
                        self.lease
                    );
                }
                _ => return,
            }
            tokio::select! {
                () = sleep(WITHDRAWAL_PAUSE) => {}
                () = self.app.stopped() => return,
            }
        }
    }
}

/// The key of a lease in the queue. The number is as Go writes it: negative ones have a sign.
fn key(name: &Bytes, lease: LeaseId) -> Bytes {
    let number = lease.get();
    let sign = if number < 0 { "-" } else { "" };
    let hex = format!("{sign}{:x}", number.unsigned_abs());
    Bytes::from([&prefix(name)[..], hex.as_bytes()].concat())
}

/// What the only read of a transaction found.
async fn found(app: &Arc<App>, mut outcome: TransactionOutcome) -> Result<KeyValue, Refused> {
    let Some(OperationOutcome::Read(Some(plan))) = outcome.results.pop() else {
        unreachable!("the transaction reads: {outcome:?}")
    };
    let fetched = app.off_thread(|app| plan.fetch(&*app.handle.store())).await?;
    let mut found = fetched.map_err(kvcore::ReadError::from)?.key_values;
    Ok(found.pop().expect("it exists, or it would have been created"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_name_and_the_number_of_the_lease_in_hex() {
        let of = |number: i64| key(&Bytes::from_static(b"n"), LeaseId::new(number).expect("not 0"));
        assert_eq!(of(255), "n/ff");
        assert_eq!(of(-255), "n/-ff");
        assert_eq!(of(i64::MIN), "n/-8000000000000000");
        let all = prefix(&Bytes::from_static(b"n"))..prefix_end(&Bytes::from_static(b"n"));
        assert!(all.contains(&of(1)) && all.contains(&of(-1)) && !all.contains("n".as_bytes()));
    }
}
