//! A QUIC stream as a byte stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use iroh::endpoint::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use sublet_wire::link::{Sentence, TransportError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Close code of a connection whose peer key is not wanted; the reason is a sentence.
pub(crate) const REFUSED: VarInt = VarInt::from_u32(1);
/// Close code of a program that stops.
pub(crate) const STOPPING: VarInt = VarInt::from_u32(2);
/// Close code of a connection for which there is no place now.
pub(crate) const FULL: VarInt = VarInt::from_u32(4);
/// Reset code of a stream that was dropped before its end was sent.
const DROPPED: VarInt = VarInt::from_u32(3);

/// One stream. Dropping it before `shutdown` resets it, so that the other side never takes a cut for the end.
pub(crate) struct LinkStream {
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
    finished: bool,
}

impl LinkStream {
    pub(crate) fn new(connection: Connection, (send, recv): (SendStream, RecvStream)) -> Self {
        Self { connection, send, recv, finished: false }
    }

    /// A broken connection says why it broke; a stream's own error does not.
    fn explain(&self, error: io::Error) -> io::Error {
        match self.connection.close_reason() {
            Some(reason) => connection_error(reason),
            None => error,
        }
    }
}

/// A refusal keeps its sentence, wrapped so that [`TransportError`] can be found inside.
pub(crate) fn connection_error(error: ConnectionError) -> io::Error {
    match error {
        ConnectionError::ApplicationClosed(close) if close.error_code == REFUSED => io::Error::new(
            io::ErrorKind::PermissionDenied,
            TransportError::Refused(Sentence::new(&String::from_utf8_lossy(&close.reason))),
        ),
        other => other.into(),
    }
}

impl AsyncRead for LinkStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let result = ready!(AsyncRead::poll_read(Pin::new(&mut self.recv), cx, buf));
        Poll::Ready(result.map_err(|e| self.explain(e)))
    }
}

impl AsyncWrite for LinkStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(AsyncWrite::poll_write(Pin::new(&mut self.send), cx, buf));
        Poll::Ready(result.map_err(|e| self.explain(e)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished = true;
        AsyncWrite::poll_shutdown(Pin::new(&mut self.send), cx)
    }
}

impl Drop for LinkStream {
    fn drop(&mut self) {
        if !self.finished {
            // Fails only if the stream is closed already, which is as good.
            let _ = self.send.reset(DROPPED);
        }
    }
}
