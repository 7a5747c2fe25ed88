//! What clients were told of their writes, so that the store can be held to it afterwards.
//!
//! Each key is written by one client, one write after the other, and each value carries the number
//! of its write. So when all is over a key must have exactly as many versions as writes of it were
//! acknowledged, and the value of the last of them: a write that was lost shows even if later ones
//! have covered it, and so does one that was refused and happened all the same.
//!
//! A write of unknown outcome may happen late, even behind a later write of the same client. Its key
//! is written no more, so that only two states are right: the one without it and the one with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::KEYS_MAX;
use super::http::HttpConnection;
use super::request::{Freshness, Request, STAMP_BYTES};
use crate::Error;
use crate::cluster::Agreement;

/// How many clients read what was written.
const READERS: usize = 32;
/// How often a read is tried, as when a leader is just being elected, and the time between.
const READ_ATTEMPTS: usize = 50;
const READ_PAUSE: Duration = Duration::from_millis(100);
/// How many broken promises are told one by one.
const EXAMPLES_MAX: usize = 5;

/// What was acknowledged, by key.
#[derive(Debug)]
pub struct Ledger {
    /// The number of the first key; those before it belong to somebody else.
    first: u64,
    accounts: Mutex<Vec<Account>>,
}

/// One key.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// Writes begun; the number of the next is one more.
    begun: u64,
    /// Writes acknowledged, and the number of the last of them.
    acknowledged: u64,
    last: u64,
    /// The number of the write of unknown outcome, behind which there is no other.
    uncertain: Option<u64>,
}

/// What was found under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    version: u64,
    /// The number of the write; `None` when the value is too short for it.
    number: Option<u64>,
}

/// What became of acknowledged writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Keys that were read.
    pub keys: u64,
    /// Writes that were acknowledged, all of which must be there.
    pub acknowledged: u64,
    /// Keys whose last write is of unknown outcome.
    pub uncertain_keys: u64,
    /// Keys that are not as they must be.
    pub broken_keys: u64,
    /// The first of them, in words.
    pub examples: Vec<String>,
}

impl Ledger {
    /// A ledger of so many keys, none of which is written yet.
    #[must_use]
    pub fn new(keys: u64) -> Self {
        Self::behind(0, keys)
    }

    /// A ledger of so many keys that leaves the first ones alone.
    #[must_use]
    pub fn behind(first: u64, keys: u64) -> Self {
        assert!(first + keys <= KEYS_MAX, "the number of keys was checked before");
        let keys = usize::try_from(keys).expect("at most a million");
        Self { first, accounts: Mutex::new(vec![Account::default(); keys]) }
    }

    /// The keys that can be written on.
    pub(super) fn writable_keys(&self) -> Vec<u64> {
        let accounts = self.lock();
        let numbered = (self.first..).zip(accounts.iter());
        numbered.filter(|(_, one)| one.uncertain.is_none()).map(|(key, _)| key).collect()
    }

    /// One more key; `None` when there can be no more.
    pub(super) fn new_key(&self) -> Option<u64> {
        let mut accounts = self.lock();
        let key = self.first + accounts.len() as u64;
        (key < KEYS_MAX).then(|| {
            accounts.push(Account::default());
            key
        })
    }

    /// A write of a key begins; returns its number.
    pub(super) fn begin(&self, key: u64) -> u64 {
        self.change(key, |account| {
            assert!(account.uncertain.is_none(), "a key of uncertain state is written no more");
            account.begun += 1;
            account.begun
        })
    }

    /// A write was acknowledged.
    pub(super) fn acknowledge(&self, key: u64, number: u64) {
        self.change(key, |account| {
            account.acknowledged += 1;
            account.last = number;
        });
    }

    /// Nobody knows of a write whether it happened or will happen.
    pub(super) fn doubt(&self, key: u64, number: u64) {
        self.change(key, |account| account.uncertain = Some(number));
    }

    fn change<T>(&self, key: u64, change: impl FnOnce(&mut Account) -> T) -> T {
        change(&mut self.lock()[usize::try_from(key - self.first).expect("at most a million")])
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Account>> {
        self.accounts.lock().expect("no holder panics")
    }

    /// Reads every key that was written, linearizably, and compares it with what was acknowledged.
    /// To be called when all writes are answered or given up.
    ///
    /// # Errors
    /// [`Error::Node`] when a key can not be read.
    pub async fn verify(
        self: &Arc<Self>,
        endpoints: &[SocketAddr],
        bar: &ProgressBar,
    ) -> Result<Verdict, Error> {
        let accounts: Arc<Vec<(u64, Account)>> = Arc::new(
            (self.first..).zip(self.lock().clone()).filter(|(_, one)| one.begun > 0).collect(),
        );
        bar.set_length(accounts.len() as u64);
        bar.set_position(0);
        let next = Arc::new(AtomicUsize::new(0));
        let mut readers = JoinSet::new();
        for number in 0..READERS.min(accounts.len()) {
            let endpoint = endpoints[number % endpoints.len()];
            let reader = Reader {
                endpoint,
                connection: None,
                get: Request::get("duorum", Freshness::Linearizable),
            };
            readers.spawn(reader.read_all(Arc::clone(&accounts), Arc::clone(&next), bar.clone()));
        }
        let mut verdict = Verdict::default();
        while let Some(joined) = readers.join_next().await {
            verdict.merge(joined.expect("a reader does not panic")?);
        }
        Ok(verdict)
    }
}

impl Account {
    /// Whether what was found is what must be there; if not, why.
    fn judge(&self, found: Option<Found>) -> Result<(), String> {
        let Self { acknowledged, last, uncertain, .. } = *self;
        let Some(Found { version, number }) = found else {
            return match acknowledged {
                0 => Ok(()),
                _ => {
                    Err(format!("it is not there, though {acknowledged} writes were acknowledged"))
                }
            };
        };
        if version < acknowledged {
            return Err(format!(
                "it has {version} versions, though {acknowledged} writes were acknowledged"
            ));
        }
        if version > acknowledged + u64::from(uncertain.is_some()) {
            return Err(format!(
                "it has {version} versions, but {acknowledged} writes were acknowledged and the \
                 others certainly did not happen"
            ));
        }
        let expected = if version == acknowledged { Some(last) } else { uncertain };
        match number {
            Some(number) if Some(number) != expected => Err(format!(
                "its value is of write {number}, not of write {}",
                expected.expect("a version comes from a write")
            )),
            _ => Ok(()),
        }
    }
}

impl Verdict {
    fn add(&mut self, key: u64, account: &Account, found: Option<Found>) {
        self.keys += 1;
        self.acknowledged += account.acknowledged;
        self.uncertain_keys += u64::from(account.uncertain.is_some());
        if let Err(why) = account.judge(found) {
            self.broken_keys += 1;
            if self.examples.len() < EXAMPLES_MAX {
                self.examples.push(format!("key bench/{key:06}: {why}"));
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.keys += other.keys;
        self.acknowledged += other.acknowledged;
        self.uncertain_keys += other.uncertain_keys;
        self.broken_keys += other.broken_keys;
        let room = EXAMPLES_MAX.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
    }

    /// The promise that is broken, if one is.
    #[must_use]
    pub fn broken(&self) -> Option<String> {
        (self.broken_keys > 0).then(|| {
            format!(
                "{} of {} keys are not as they were acknowledged: {}",
                self.broken_keys,
                self.keys,
                self.examples.join("; ")
            )
        })
    }

    /// The promises that are broken, of those that every measurement holds a cluster to: what was
    /// acknowledged is there, and the same on all nodes.
    #[must_use]
    pub fn broken_promises(&self, agreement: &Agreement) -> Vec<String> {
        self.broken().into_iter().chain(agreement.broken()).collect()
    }
}

/// One client that reads.
struct Reader {
    endpoint: SocketAddr,
    connection: Option<HttpConnection>,
    get: Request,
}

impl Reader {
    async fn read_all(
        mut self,
        accounts: Arc<Vec<(u64, Account)>>,
        next: Arc<AtomicUsize>,
        bar: ProgressBar,
    ) -> Result<Verdict, Error> {
        let mut verdict = Verdict::default();
        while let Some((key, account)) = accounts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = self.read(*key).await?;
            verdict.add(*key, account, found);
            bar.inc(1);
        }
        Ok(verdict)
    }

    async fn read(&mut self, key: u64) -> Result<Option<Found>, Error> {
        self.get.set_key(key);
        let mut problem = String::new();
        for attempt in 0..READ_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(READ_PAUSE).await;
            }
            match self.try_read().await {
                Ok(found) => return Ok(found),
                Err(why) => problem = why,
            }
            self.connection = None;
        }
        Err(Error::node(format!(
            "key bench/{key:06} can not be read from http://{}, in {READ_ATTEMPTS} attempts: \
             {problem}",
            self.endpoint
        )))
    }

    async fn try_read(&mut self) -> Result<Option<Found>, String> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => HttpConnection::connect(self.endpoint).await.map_err(|why| why.to_string())?,
        };
        let answer = connection.exchange(self.get.bytes()).await.map_err(|why| why.to_string())?;
        let body = connection.body(&answer);
        let found = match answer.status {
            200 => Some(parse(body)?),
            404 => None,
            status => return Err(format!("{status} {}", String::from_utf8_lossy(body))),
        };
        if !answer.closes {
            self.connection = Some(connection);
        }
        Ok(found)
    }
}

/// The version of a key and the number in its value.
fn parse(body: &[u8]) -> Result<Found, String> {
    #[derive(Deserialize)]
    struct Body<'a> {
        version: u64,
        #[serde(borrow)]
        value: std::borrow::Cow<'a, str>,
    }
    let Body { version, value } =
        serde_json::from_slice(body).map_err(|error| format!("no key and value: {error}"))?;
    let number = value.get(..STAMP_BYTES).map(|digits| u64::from_str_radix(digits, 16));
    let number = number.transpose().map_err(|_| "the value is not of these clients".to_owned())?;
    Ok(Found { version, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(version: u64, number: u64) -> Option<Found> {
        Some(Found { version, number: Some(number) })
    }

    #[test]
    fn every_acknowledged_write_must_be_there_and_nothing_else() {
        let ledger = Ledger::new(1);
        for _ in 0..3 {
            let number = ledger.begin(0);
            ledger.acknowledge(0, number);
        }
        // The fourth was refused.
        assert_eq!(ledger.begin(0), 4);
        let account = ledger.lock()[0];
        account.judge(found(3, 3)).expect("as acknowledged");
        for (wrong, why) in [
            (None, "it is not there, though 3 writes"),
            (found(2, 3), "it has 2 versions"),
            (found(4, 4), "certainly did not happen"),
            (found(3, 2), "of write 2, not of write 3"),
            (found(3, 4), "of write 4, not of write 3"),
        ] {
            let error = account.judge(wrong).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_write_of_unknown_outcome_may_be_there_or_not() {
        let ledger = Ledger::new(2);
        let number = ledger.begin(1);
        ledger.acknowledge(1, number);
        let number = ledger.begin(1);
        ledger.doubt(1, number);
        assert_eq!(ledger.writable_keys(), [0], "such a key is written no more");
        assert_eq!(ledger.new_key(), Some(2));
        let account = ledger.lock()[1];
        account.judge(found(1, 1)).expect("without it");
        account.judge(found(2, 2)).expect("with it");
        for wrong in [None, found(1, 2), found(2, 1), found(3, 2)] {
            account.judge(wrong).expect_err("neither");
        }
        let ledger = Ledger::new(1);
        let number = ledger.begin(0);
        ledger.doubt(0, number);
        let account = ledger.lock()[0];
        account.judge(None).expect("without it");
        account.judge(found(1, 1)).expect("with it");
    }

    #[test]
    fn a_verdict_counts_all_and_tells_a_few() {
        let ledger = Ledger::new(1);
        let number = ledger.begin(0);
        ledger.acknowledge(0, number);
        let account = ledger.lock()[0];
        let (mut one, mut other) = (Verdict::default(), Verdict::default());
        assert_eq!(one.broken(), None);
        for key in 0..10 {
            one.add(key, &account, None);
            other.add(key, &account, found(1, 1));
        }
        other.merge(one);
        assert_eq!((other.keys, other.acknowledged, other.broken_keys), (20, 20, 10));
        assert_eq!(other.examples.len(), EXAMPLES_MAX);
        assert!(other.broken().expect("broken").starts_with("10 of 20 keys"));
    }

    #[test]
    fn a_key_is_read_from_its_answer() {
        let body = br#"{"key":"k","value":"00000000000000ffrest","version":3,"revision":9}"#;
        assert_eq!(parse(body), Ok(Found { version: 3, number: Some(255) }));
        let body = br#"{"value":"ff","version":3}"#;
        assert_eq!(parse(body), Ok(Found { version: 3, number: None }));
        parse(br#"{"value":"something else, longer","version":3}"#).expect_err("not a number");
        parse(b"a value").expect_err("no JSON");
    }
}
