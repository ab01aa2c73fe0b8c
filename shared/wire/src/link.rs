//! What peers ask a provider, and a renter a mediator, over the link, version 1 (the version is part of [`ALPN`]).
//!
//! Whoever dials says for whom it acts ([`Hello`]). Then: one bidirectional stream a request. A frame is a big-endian `u32` length, at most [`MAX_FRAME`], then that many bytes
//! of JSON. The asker sends one [`Request`]; the provider answers with one [`Response`]; where the table says so, raw
//! bytes follow until the sender's end of stream.
//!
//! | request | who may ask | answer | then |
//! |---|---|---|---|
//! | `Handover` | the renter's peer key in the order | `Done` | |
//! | `Status` | the renter | `Status` | |
//! | `Connect` | the renter of a lease, while it is active | `Open` | both ways: the TCP stream |
//! | `Result` | the renter of a job; while it is disputed, the mediators drawn for it | `Result` | to the asker: exactly `length` bytes |
//! | `Document` | the same | `Document`: the workload, as it was handed over | |
//! | `Accept` | the renter of a job | `Done` once the provider has stored it | |
//! | `Logs` | the renter | `Open` | provider to asker: bytes |
//! | `SetKeys` | the renter of a lease | `Done` | |
//!
//! Who was drawn, and under which peer keys they dial, is on chain. A mediator serves one request only: `Result`, to the renter
//! of a job it ran again. Anyone else gets `Refused(Stranger)`, before anything about the agreement is said. All requests but `Connect` may be
//! repeated without harm. Both sides are hostile to each other: lengths are bounded, and text from the other side is
//! cleaned by its type before a person or a file sees it.

mod hello;
mod io;
mod port;
mod text;

use serde::{Deserialize, Serialize};
use sublet_base::{Amount, B256, JobId, LeaseId};
use sublet_market::canonical::MAX_DOCUMENT;
use sublet_market::{Acceptance, Signature};
use thiserror::Error;

pub use hello::{Hello, InvalidMandateSignature, Mandate, MandateSignature};
pub use io::{FrameError, read_frame, write_frame};
pub use port::{ByteSource, ByteStream, Duplex, OpenStream, PeerHandler, ResultArchive, TransportError};
pub use text::{HostKey, InvalidHostKey, Sentence};

/// The protocol's name and version, agreed on when a link is established.
pub const ALPN: &[u8] = b"sublet/link/1";
/// Largest frame, bytes.
pub const MAX_FRAME: usize = 512 << 10;
/// Most login keys of a machine.
pub const MAX_KEYS: usize = 64;
/// Longest login key, bytes.
pub const MAX_KEY: usize = 4096;

/// Which agreement a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agreement {
    /// A lease.
    Lease(LeaseId),
    /// A job.
    Job(JobId),
}

impl std::fmt::Display for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lease(id) => id.fmt(f),
            Self::Job(id) => id.fmt(f),
        }
    }
}

/// What a peer asks. See the table above for who may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Here is the workload whose hash is on chain.
    Handover {
        /// Of which agreement.
        agreement: Agreement,
        /// The canonical JSON, exactly the bytes that were hashed.
        document: String,
    },
    /// How far is it?
    Status {
        /// Of which agreement.
        agreement: Agreement,
    },
    /// Connect me to a TCP port inside the machine.
    Connect {
        /// Whose machine.
        lease: LeaseId,
        /// Which port, not 0.
        port: u16,
    },
    /// Give me the result archive.
    Result {
        /// Of which job.
        job: JobId,
    },
    /// Give me the job's workload, so that I can run it again.
    Document {
        /// Of which job.
        job: JobId,
    },
    /// The result is good; settle with this.
    Accept {
        /// What the renter signed.
        acceptance: Acceptance,
        /// The renter's signature over it.
        signature: Signature,
    },
    /// What the machine printed on its console, or the task on its outputs.
    Logs {
        /// Of which agreement.
        agreement: Agreement,
        /// Go on until the machine ends.
        follow: bool,
    },
    /// Replace the keys that may log in.
    SetKeys {
        /// Whose machine.
        lease: LeaseId,
        /// Lines of `authorized_keys`.
        authorized_keys: Vec<String>,
    },
}

impl Request {
    /// Which agreement it is about.
    #[must_use]
    pub fn agreement(&self) -> Agreement {
        match self {
            Self::Handover { agreement, .. } | Self::Status { agreement } | Self::Logs { agreement, .. } => *agreement,
            Self::Connect { lease, .. } | Self::SetKeys { lease, .. } => Agreement::Lease(*lease),
            Self::Result { job } | Self::Document { job } => Agreement::Job(*job),
            Self::Accept { acceptance, .. } => Agreement::Job(acceptance.job),
        }
    }

    /// Its name in logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Handover { .. } => "handover",
            Self::Status { .. } => "status",
            Self::Connect { .. } => "connect",
            Self::Result { .. } => "result",
            Self::Document { .. } => "document",
            Self::Accept { .. } => "accept",
            Self::Logs { .. } => "logs",
            Self::SetKeys { .. } => "set-keys",
        }
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A [`Refusal`] with [`RefusalReason::Invalid`].
    pub fn check(&self) -> Result<(), Refusal> {
        let invalid = |why: &str| Err(Refusal::new(RefusalReason::Invalid, why));
        match self {
            Self::Handover { document, .. } if document.len() > MAX_DOCUMENT => invalid("the document is too long"),
            Self::Connect { port: 0, .. } => invalid("there is no port 0"),
            Self::SetKeys { authorized_keys, .. } => {
                let bad = |key: &String| key.is_empty() || key.len() > MAX_KEY || key.contains(char::is_control);
                match authorized_keys {
                    keys if keys.len() > MAX_KEYS => invalid("too many login keys"),
                    keys if keys.iter().any(bad) => invalid("a login key is empty, too long or not one line"),
                    _ => Ok(()),
                }
            }
            Self::Handover { .. }
            | Self::Status { .. }
            | Self::Connect { .. }
            | Self::Result { .. }
            | Self::Document { .. }
            | Self::Accept { .. }
            | Self::Logs { .. } => Ok(()),
        }
    }
}

/// The answer of whoever was dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Response {
    /// No.
    Refused(Refusal),
    /// It is done, and stays done across a crash of the provider.
    Done,
    /// The state of things.
    Status(Status),
    /// Raw bytes follow.
    Open,
    /// The archive follows.
    Result {
        /// Bytes.
        length: u64,
        /// keccak256 of them.
        hash: B256,
    },
    /// The workload.
    Document {
        /// The canonical JSON, exactly the bytes whose hash is on chain.
        document: String,
    },
}

/// Why a request was refused, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalReason {
    /// The asking peer key is in no agreement here, or not in this one.
    Stranger,
    /// The provider has not seen this agreement on chain yet.
    NotSeen,
    /// It is too early for this; look at the status.
    NotReady,
    /// The agreement has ended.
    Ended,
    /// The document's hash is not the one on chain.
    HashDiffers,
    /// The request makes no sense.
    Invalid,
    /// The provider cannot or does not do this.
    Unsupported,
    /// The machine does not answer on that port.
    NoAnswer,
    /// Too many requests at once.
    Busy,
    /// The provider failed; it has logged why.
    Internal,
}

/// A refusal with a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("the provider refused: {message}")]
pub struct Refusal {
    /// For programs.
    pub reason: RefusalReason,
    /// For people.
    pub message: Sentence,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(reason: RefusalReason, message: &str) -> Self {
        Self { reason, message: Sentence::new(message) }
    }

    /// Whether the same request may succeed a little later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.reason {
            RefusalReason::NotSeen | RefusalReason::Busy | RefusalReason::Internal => true,
            RefusalReason::Stranger
            | RefusalReason::NotReady
            | RefusalReason::Ended
            | RefusalReason::HashDiffers
            | RefusalReason::Invalid
            | RefusalReason::Unsupported
            | RefusalReason::NoAnswer => false,
        }
    }
}

/// How far an agreement is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The machine.
    pub state: MachineState,
    /// What has accrued or was charged so far, where known.
    pub cost: Option<Amount>,
}

/// The machine of an agreement, as its renter sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum MachineState {
    /// The provider waits for the workload to be handed over.
    Waiting,
    /// The image is fetched and the machine made.
    Preparing {
        /// What is being done.
        progress: Sentence,
    },
    /// The machine starts.
    Booting {
        /// What it said last.
        progress: Sentence,
    },
    /// A machine to log in to is up.
    Ready {
        /// To pin before the first login.
        ssh_host_key: HostKey,
    },
    /// The task runs.
    Running,
    /// The task is over and its archive can be fetched.
    Finished {
        /// Exit code, or 128 + signal.
        exit_code: i32,
        /// keccak256 of the archive.
        result_hash: B256,
        /// What the provider asks for it.
        cost: Amount,
    },
    /// It could not be made, or broke.
    Failed {
        /// Why.
        reason: Sentence,
    },
    /// The agreement is over.
    Ended,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[&str]) -> Request {
        Request::SetKeys { lease: LeaseId(1), authorized_keys: keys.iter().map(|&k| k.to_owned()).collect() }
    }

    #[test]
    fn requests_are_checked_beyond_their_types() {
        let handover = |length| Request::Handover { agreement: Agreement::Job(JobId(1)), document: "x".repeat(length) };
        for good in [
            keys(&["ssh-ed25519 AAAA me@home"]),
            handover(MAX_DOCUMENT),
            Request::Connect { lease: LeaseId(1), port: 22 },
        ] {
            assert_eq!(good.check(), Ok(()), "{}", good.name());
        }
        let bad = [
            keys(&[""]),
            keys(&["ssh-ed25519 AAAA\nssh-rsa BBBB"]),
            keys(&[&"k".repeat(MAX_KEY + 1)]),
            keys(&["k"; MAX_KEYS + 1]),
            handover(MAX_DOCUMENT + 1),
            Request::Connect { lease: LeaseId(1), port: 0 },
        ];
        for bad in bad {
            assert_eq!(bad.check().map_err(|r| r.reason), Err(RefusalReason::Invalid), "{}", bad.name());
        }
    }

    #[test]
    fn the_json_is_what_version_1_says() {
        let ask = |text: &str| serde_json::from_str::<Request>(text);
        let connect = ask(r#"{"ask":"connect","lease":7,"port":22}"#).unwrap();
        assert_eq!(connect, Request::Connect { lease: LeaseId(7), port: 22 });
        assert_eq!(ask(r#"{"ask":"document","job":7}"#).unwrap(), Request::Document { job: JobId(7) });
        let status = ask(r#"{"ask":"status","agreement":{"job":8}}"#).unwrap();
        assert_eq!(status.agreement(), Agreement::Job(JobId(8)));
        for bad in [r#"{"ask":"shell"}"#, r#"{"ask":"status","agreement":{"job":8},"as":"root"}"#, "[]", "7", ""] {
            assert!(ask(bad).is_err(), "{bad} should be refused");
        }
        let refused = serde_json::to_string(&Response::Refused(Refusal::new(RefusalReason::NotSeen, "later"))).unwrap();
        assert_eq!(refused, r#"{"answer":"refused","reason":"not-seen","message":"later"}"#);
        let status = Status { state: MachineState::Running, cost: Some(Amount(5)) };
        let text = serde_json::to_string(&Response::Status(status.clone())).unwrap();
        assert_eq!(text, r#"{"answer":"status","state":{"is":"running"},"cost":"5"}"#);
        assert_eq!(serde_json::from_str::<Response>(&text).unwrap(), Response::Status(status));
    }
}
