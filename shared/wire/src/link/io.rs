//! Frames on an asynchronous stream.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::MAX_FRAME;

/// Why a frame could not be exchanged. The stream is out of step after any of these.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The stream ended or broke.
    #[error("the stream broke")]
    Stream(#[source] io::Error),
    /// Longer than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is too long; at most {MAX_FRAME} are taken")]
    TooLong(usize),
    /// Not the JSON of the expected message.
    #[error("a frame is not a message of this protocol version")]
    Message(#[source] serde_json::Error),
}

/// Writes one frame.
///
/// # Errors
/// [`FrameError`].
pub async fn write_frame<T: Serialize>(stream: &mut (impl AsyncWrite + Unpin), message: &T) -> Result<(), FrameError> {
    let body = serde_json::to_vec(message).map_err(FrameError::Message)?;
    if body.len() > MAX_FRAME {
        return Err(FrameError::TooLong(body.len()));
    }
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(&body);
    stream.write_all(&frame).await.map_err(FrameError::Stream)?;
    stream.flush().await.map_err(FrameError::Stream)
}

/// Reads one frame and not a byte more.
///
/// # Errors
/// [`FrameError`].
pub async fn read_frame<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<T, FrameError> {
    let length = stream.read_u32().await.map_err(FrameError::Stream)? as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    // Grows with what arrives: a stranger who claims a long frame and sends nothing costs nothing.
    let mut body = Vec::new();
    stream.take(length as u64).read_to_end(&mut body).await.map_err(FrameError::Stream)?;
    if body.len() < length {
        return Err(FrameError::Stream(io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&body).map_err(FrameError::Message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Request, Response};

    #[tokio::test]
    async fn a_frame_leaves_the_bytes_behind_it() {
        let mut wire = Vec::new();
        write_frame(&mut wire, &Response::Open).await.unwrap();
        wire.extend_from_slice(b"raw");
        let mut rest = wire.as_slice();
        assert_eq!(read_frame::<Response>(&mut rest).await.unwrap(), Response::Open);
        assert_eq!(rest, b"raw");
    }

    #[tokio::test]
    async fn hostile_frames_are_refused() {
        let long = (MAX_FRAME as u32 + 1).to_be_bytes();
        assert!(matches!(read_frame::<Request>(&mut long.as_slice()).await, Err(FrameError::TooLong(_))));
        for cut in [&b"\0\0"[..], b"\0\0\0\x05{}"] {
            assert!(matches!(read_frame::<Request>(&mut &*cut).await, Err(FrameError::Stream(_))), "{cut:?}");
        }
        for nonsense in [&b"\0\0\0\0"[..], b"\0\0\0\x02{}", b"\0\0\0\x01\xff"] {
            assert!(
                matches!(read_frame::<Request>(&mut &*nonsense).await, Err(FrameError::Message(_))),
                "{nonsense:?}"
            );
        }
        let mut out = Vec::new();
        assert!(matches!(write_frame(&mut out, &"x".repeat(MAX_FRAME)).await, Err(FrameError::TooLong(_))));
        assert!(out.is_empty());
    }
}
