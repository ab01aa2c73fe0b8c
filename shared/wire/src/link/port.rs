//! The ports on both ends: what carries streams, and what answers requests. The link implements the first with QUIC;
//! tests use pipes.

use std::io;

use async_trait::async_trait;
use sublet_base::{B256, JobId, LeaseId, PeerKey};
use sublet_market::{Acceptance, Signature};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Agreement, Refusal, Sentence, Status};

/// Both directions of a byte stream; either can be closed alone.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An owned byte stream.
pub type ByteStream = Box<dyn Duplex>;

/// An owned source of bytes.
pub type ByteSource = Box<dyn AsyncRead + Send + Unpin>;

/// Why there is no stream to a peer.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The peer could not be reached, or the connection broke.
    #[error("cannot reach the peer")]
    Unreachable(#[source] io::Error),
    /// The peer answered and does not want to talk to us.
    #[error("the peer refused the connection: {0}")]
    Refused(Sentence),
}

impl TransportError {
    /// Finds a refusal that a broken stream's error carries.
    #[must_use]
    pub fn from_io(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
            Some(Self::Refused(why)) => Self::Refused(why.clone()),
            Some(Self::Unreachable(_)) | None => Self::Unreachable(error),
        }
    }
}

/// Opens streams to one peer, (re)connecting as needed.
#[async_trait]
pub trait OpenStream: Send + Sync {
    /// A new stream.
    ///
    /// # Errors
    /// [`TransportError`]; the next call tries again.
    async fn open(&self) -> Result<ByteStream, TransportError>;

    /// The last stream got no answer in time: whatever it shared with others may be dead, so start afresh next time.
    async fn suspect(&self);
}

/// A job's result, to be sent.
pub struct ResultArchive {
    /// Bytes in all.
    pub length: u64,
    /// keccak256 of them.
    pub hash: B256,
    /// The bytes.
    pub content: ByteSource,
}

/// Answers what peers ask. `peer` is proven by the link; whether it may ask this is for the handler to decide.
#[async_trait]
pub trait PeerHandler: Send + Sync + 'static {
    /// Whether this peer may talk to us at all: it is named in some agreement that has not ended.
    /// Asked for each connection and each request, so keep it quick.
    ///
    /// # Errors
    /// A [`Refusal`], sent to the peer.
    async fn admit(&self, peer: PeerKey) -> Result<(), Refusal>;

    /// Takes and stores a workload.
    ///
    /// # Errors
    /// A [`Refusal`], sent to the peer.
    async fn handover(&self, peer: PeerKey, agreement: Agreement, document: String) -> Result<(), Refusal>;

    /// Says how far an agreement is.
    ///
    /// # Errors
    /// A [`Refusal`], sent to the peer.
    async fn status(&self, peer: PeerKey, agreement: Agreement) -> Result<Status, Refusal>;

    /// Connects to a port inside a lease's machine.
    ///
    /// # Errors
    /// A [`Refusal`], sent to the peer.
    async fn connect(&self, peer: PeerKey, lease: LeaseId, port: u16) -> Result<ByteStream, Refusal>;

    /// Opens a job's result.
    ///
    /// # Errors
    /// A [`Refusal`], sent to the peer.
    async fn result(&self, peer: PeerKey, job: JobId) -> Result<ResultArchive, Refusal>;

    /// The job's workload as it was handed over.
    ///
    /// # Errors
    /// A [`Refusal`], sent to the peer.
    async fn document(&self, peer: PeerKey, job: JobId) -> Result<String, Refusal>;

    /// Checks and stores the renter's acceptance.
    ///
    /// # Errors
    /// A [`Refusal`], sent to the peer.
    async fn accept(&self, peer: PeerKey, acceptance: Acceptance, signature: Signature) -> Result<(), Refusal>;

    /// Opens an agreement's log.
    ///
    /// # Errors
    /// A [`Refusal`], sent to the peer.
    async fn logs(&self, peer: PeerKey, agreement: Agreement, follow: bool) -> Result<ByteSource, Refusal>;

    /// Replaces the keys that may log in to a lease's machine.
    ///
    /// # Errors
    /// A [`Refusal`], sent to the peer.
    async fn set_keys(&self, peer: PeerKey, lease: LeaseId, authorized_keys: Vec<String>) -> Result<(), Refusal>;
}
