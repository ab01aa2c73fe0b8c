//! A result on its way, and word of when its last byte was taken.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::oneshot;

/// Reads `source`, and tells once the reader has taken all of it.
pub(crate) struct Taken<R> {
    source: R,
    left: u64,
    tell: Option<oneshot::Sender<()>>,
}

impl<R> Taken<R> {
    /// A reader of `length` bytes. The other half resolves when they are taken, and fails if they never are.
    pub(crate) fn new(source: R, length: u64) -> (Self, oneshot::Receiver<()>) {
        let (tell, taken) = oneshot::channel();
        (Self { source, left: length, tell: Some(tell) }, taken)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Taken<R> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.source).poll_read(context, buffer))?;
        this.left = this.left.saturating_sub((buffer.filled().len() - before) as u64);
        if this.left == 0
            && let Some(tell) = this.tell.take()
        {
            // Whoever gave it out need not care.
            tell.send(()).ok();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn only_the_last_byte_tells() {
        let (mut reader, mut taken) = Taken::new(&[7u8; 10][..], 10);
        let mut some = [0; 9];
        reader.read_exact(&mut some).await.expect("nine bytes");
        assert!(taken.try_recv().is_err(), "one is left");
        reader.read_exact(&mut some[..1]).await.expect("the last");
        assert_eq!(taken.try_recv(), Ok(()));
        let (mut short, mut never) = Taken::new(&[7u8; 9][..], 10);
        assert_eq!(short.read_to_end(&mut vec![]).await.expect("nine bytes"), 9);
        drop(short);
        assert!(never.try_recv().is_err(), "the host broke off");
    }
}
