//! Saying and checking for whom a dialler acts; see [`Hello`].

use std::io;

use iroh::endpoint::Connection;
use iroh::{PublicKey, SecretKey, Signature};
use sublet_base::PeerKey;
use sublet_wire::link::{FrameError, Hello, Mandate, MandateSignature, read_frame, write_frame};
use tokio::io::AsyncWriteExt;

/// Says for whom we dial: `person`, or ourselves.
pub(crate) async fn say(connection: &Connection, us: PeerKey, person: Option<&SecretKey>) -> Result<(), FrameError> {
    let provider = PeerKey(*connection.remote_id().as_bytes());
    let mandate = person.map(|person| Mandate {
        peer: PeerKey(*person.public().as_bytes()),
        signature: MandateSignature(person.sign(&Mandate::text(us, provider)).to_bytes()),
    });
    let mut stream = connection.open_uni().await.map_err(|e| FrameError::Stream(e.into()))?;
    write_frame(&mut stream, &Hello { mandate }).await?;
    stream.shutdown().await.map_err(FrameError::Stream)
}

/// Hears for whom the dialler acts, and believes only what is signed.
pub(crate) async fn hear(connection: &Connection, us: PeerKey) -> Result<PeerKey, FrameError> {
    let dialler = PeerKey(*connection.remote_id().as_bytes());
    let mut stream = connection.accept_uni().await.map_err(|e| FrameError::Stream(e.into()))?;
    let hello: Hello = read_frame(&mut stream).await?;
    let Some(mandate) = hello.mandate else { return Ok(dialler) };
    let signature = Signature::from_bytes(&mandate.signature.0);
    let good = PublicKey::from_bytes(&mandate.peer.0)
        .is_ok_and(|person| person.verify(&Mandate::text(dialler, us), &signature).is_ok());
    let forged = || io::Error::new(io::ErrorKind::PermissionDenied, "the mandate is not signed by the peer it names");
    if good { Ok(mandate.peer) } else { Err(FrameError::Stream(forged())) }
}
