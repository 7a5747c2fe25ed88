//! What a call is: what it takes, what it answers, and which errors it can give, said once.
//!
//! Every endpoint has one [`Call`] beside it, and the table of routes names both. The query of a
//! request is parsed by it ([`super::parameters`]), and `/openapi.json` is written from it
//! ([`super::openapi`]): what is allowed and what is described can not differ.
//!
//! It is not: the code that carries a call out.

pub(super) mod kind;

use schemars::{JsonSchema, Schema, SchemaGenerator};

pub(super) use self::kind::{Kind, words};
use super::error::{ErrorName, ErrorName as E};
use super::parameters::{CONSISTENCIES, TIMEOUT_MAX, TIMEOUT_MIN};

/// A call: a method of a path.
pub(super) struct Call {
    /// Its name for programs.
    pub(super) id: &'static str,
    /// What it belongs to.
    pub(super) tag: Tag,
    /// What it does, in one sentence.
    pub(super) summary: &'static str,
    /// What else there is to know; may be empty.
    pub(super) about: &'static str,
    /// The parameters that its query may have.
    pub(super) query: &'static [Parameter],
    /// The headers that it looks at.
    pub(super) headers: &'static [RequestHeader],
    /// The body that it reads.
    pub(super) body: Option<RequestBody>,
    /// Its answers when all goes well.
    pub(super) answers: &'static [Answer],
    /// The errors that it can give, besides those of every call.
    pub(super) errors: &'static [&'static [ErrorName]],
}

/// What a call belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tag {
    Keys,
    Leases,
    Cluster,
    Protocol,
    Faults,
    Operations,
}

impl Tag {
    /// All of them, in the order of the description.
    pub(super) const ALL: [Self; 6] =
        [Self::Keys, Self::Leases, Self::Cluster, Self::Protocol, Self::Faults, Self::Operations];

    /// Its name and what belongs to it.
    pub(super) fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Keys => ("keys", "Store, read, delete, watch."),
            Self::Leases => {
                ("leases", "A time that a client keeps from running out; keys go when it does.")
            }
            Self::Cluster => ("cluster", "Who belongs to the cluster, who leads, do they agree?"),
            Self::Protocol => ("protocol", "What the consensus protocol did lately, and why."),
            Self::Faults => ("faults", "Let things go wrong on purpose, where that is enabled."),
            Self::Operations => ("operations", "Health, metrics, and this description."),
        }
    }
}

/// A parameter of a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// What it may be.
    pub(super) kind: Kind,
    /// What it means, and what holds when it is left out.
    pub(super) meaning: &'static str,
}

/// A header that a call looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestHeader {
    pub(super) name: &'static str,
    /// What its value matches.
    pub(super) pattern: &'static str,
    pub(super) meaning: &'static str,
}

/// A body that a call reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestBody {
    pub(super) meaning: &'static str,
    /// Whether there must be one.
    pub(super) required: bool,
    pub(super) content: Content,
}

/// An answer when all goes well, or as well as was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) meaning: &'static str,
    /// The forms that its body can have; none when it has no body.
    pub(super) contents: &'static [Content],
    /// The headers that it can have, besides those of every answer.
    pub(super) headers: &'static [AnswerHeader],
}

/// The form of a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// One JSON object.
    Json(SchemaOf),
    /// Many JSON objects, in a stream of this media type.
    Lines(&'static str, SchemaOf),
    /// Text of this media type.
    Text(&'static str),
    /// Any bytes.
    Bytes,
}

/// How to write the schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The schema of a type.
pub(super) fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A header of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerHeader {
    pub(super) name: &'static str,
    /// What its value matches.
    pub(super) pattern: &'static str,
    /// Whether every answer of this kind has it.
    pub(super) always: bool,
    pub(super) meaning: &'static str,
}

impl Answer {
    /// An answer of JSON with status 200.
    pub(super) const fn ok(meaning: &'static str, contents: &'static [Content]) -> Self {
        Self { status: 200, meaning, contents, headers: &[] }
    }

    /// The same answer with another status.
    pub(super) const fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The same answer with these headers.
    pub(super) const fn with_headers(self, headers: &'static [AnswerHeader]) -> Self {
        Self { headers, ..self }
    }
}

/// How long a request may take.
pub(super) const TIMEOUT: Parameter = Parameter {
    name: "timeout",
    kind: Kind::Duration { least: TIMEOUT_MIN, most: TIMEOUT_MAX },
    meaning: "How long the request may take, from 1ms to 10m; 5s when it is left out.",
};

/// How long a call may take that asks all nodes, or a probe.
pub(super) const SHORT_TIMEOUT: Parameter = Parameter {
    name: "timeout",
    kind: Kind::Duration { least: TIMEOUT_MIN, most: std::time::Duration::from_secs(60) },
    meaning: "How long the others are waited for, from 1ms to 1m; 2s when it is left out, and 1s for \
              a probe of health.",
};

/// How fresh a read is.
pub(super) const CONSISTENCY: Parameter = Parameter {
    name: "consistency",
    kind: Kind::Words(&words(&CONSISTENCIES)),
    meaning: "How fresh the read must be. `linearizable`, the default: a quorum confirms it. `sync`: \
              the leader's word, not confirmed by a quorum, then this replica. `local`: this replica \
              as it is, perhaps stale; answers without a quorum.",
};

/// The first bytes of keys.
pub(super) const PREFIX: Parameter = Parameter {
    name: "prefix",
    kind: Kind::KeyPart,
    meaning: "All keys that begin with these bytes. Not together with `from` or `to`.",
};

/// Where keys begin.
pub(super) const FROM: Parameter = Parameter {
    name: "from",
    kind: Kind::KeyPart,
    meaning: "The first key, itself included; the very first when it is left out.",
};

/// Where keys end.
pub(super) const TO: Parameter = Parameter {
    name: "to",
    kind: Kind::KeyPart,
    meaning: "Where the keys end, itself excluded; the end of all keys when it is empty or left out.",
};

/// A condition on a write.
pub(super) const IF_ABSENT: Parameter =
    Parameter { name: "if_absent", kind: Kind::Flag, meaning: "Only if the key does not exist." };

/// A condition on a write.
pub(super) const IF_VERSION: Parameter = Parameter {
    name: "if_version",
    kind: Kind::Number { least: 0, most: u64::MAX },
    meaning: "Only if the key has this version; 0 means that it does not exist.",
};

/// A condition on a write.
pub(super) const IF_MOD_REVISION: Parameter = Parameter {
    name: "if_mod_revision",
    kind: Kind::Number { least: 0, most: u64::MAX },
    meaning: "Only if the key was last written at this revision; 0 means that it does not exist.",
};

/// A condition on a write.
pub(super) const IF_VALUE: Parameter =
    Parameter { name: "if_value", kind: Kind::Bytes, meaning: "Only if the key has this value." };

/// What was there before a write.
pub(super) const PREV: Parameter = Parameter {
    name: "prev",
    kind: Kind::Flag,
    meaning: "Whether the answer tells what was there before.",
};

/// The past.
pub(super) const REVISION: Parameter = Parameter {
    name: "revision",
    kind: Kind::Number { least: 1, most: u64::MAX },
    meaning: "What was there at this revision; now when it is left out.",
};

/// The header that names a write.
pub(super) const IDEMPOTENCY_KEY: RequestHeader = RequestHeader {
    name: "Idempotency-Key",
    pattern: "^[!-~]{1,255}$",
    meaning: "Names this write, so that it takes effect at most once however often it is sent.",
};

/// The header of an answer that was given before.
pub(super) const REPLAYED: AnswerHeader = AnswerHeader {
    name: "Idempotency-Replayed",
    pattern: "^true$",
    always: false,
    meaning: "This is the answer to an earlier request with the same Idempotency-Key.",
};

/// What every call can answer: what is wrong with the request as such.
pub(super) const EVERY: &[ErrorName] = &[
    E::NotHttp,
    E::HeadersTooLarge,
    E::PathTooLong,
    E::InvalidParameter,
    E::UnsupportedParameter,
    E::InvalidEncoding,
    E::TooManyConnections,
    E::Internal,
];

/// The errors of a key in a path or a query.
pub(super) const KEY_ERRORS: &[ErrorName] = &[E::KeyEmpty, E::KeyTooLarge];

/// The errors of a read barrier.
pub(super) const BARRIER_ERRORS: &[ErrorName] =
    &[E::Corrupt, E::NoLeader, E::NoQuorum, E::Overloaded, E::ShuttingDown];

/// The errors of a look into the store, as of a revision or now.
pub(super) const READ_ERRORS: &[ErrorName] =
    &[E::FutureRevision, E::Compacted, E::Overloaded, E::StoreFailed];

/// The errors of a write, conditions aside.
pub(super) const WRITE_ERRORS: &[ErrorName] = &[
    E::IdempotencyConflict,
    E::Corrupt,
    E::Overloaded,
    E::NoLeader,
    E::LeaderChanged,
    E::ShuttingDown,
    E::UnknownOutcome,
];

/// The errors of a write that hangs keys on leases, or grants some.
pub(super) const LEASE_ERRORS: &[ErrorName] = &[E::LeaseNotFound, E::LeaseFull, E::TooManyLeases];

/// The errors of a write that stores something.
pub(super) const STORE_ERRORS: &[ErrorName] = &[E::NoSpace];

/// The errors of a body that is read, whatever it is.
pub(super) const BODY_ERRORS: &[ErrorName] = &[E::BodyTruncated, E::BodyTimeout, E::Overloaded];

/// The errors of a body of JSON.
pub(super) const JSON_ERRORS: &[ErrorName] = &[E::InvalidBody, E::BodyTooLarge];
