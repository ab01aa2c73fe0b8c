//! Moving bytes between a link stream and something local.

use std::io;

use sublet_wire::link::ByteStream;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, copy_bidirectional_with_sizes};

/// Large enough that one read fills many packets.
const BUFFER: usize = 64 << 10;

/// Copies both ways until both directions have ended; each end is passed on alone (half-close).
/// Returns the bytes that went from `a` to `b` and from `b` to `a`.
///
/// # Errors
/// The first error of either side; both streams are then broken.
pub async fn forward<A, B>(a: &mut A, b: &mut B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    copy_bidirectional_with_sizes(a, b, BUFFER, BUFFER).await
}

/// Connects a stream to standard input and output, as an ssh `ProxyCommand` does, until the remote side has ended.
///
/// The end of standard input only closes our direction. A read of the terminal cannot be cancelled, so leave the
/// program by `std::process::exit` afterwards.
///
/// # Errors
/// The remote side's, or standard output's.
pub async fn pipe_stdio(stream: ByteStream) -> io::Result<()> {
    let (mut from, mut to) = tokio::io::split(stream);
    let upload = tokio::spawn(async move {
        copy(&mut tokio::io::stdin(), &mut to).await?;
        to.shutdown().await
    });
    let mut out = tokio::io::stdout();
    let result = async {
        copy(&mut from, &mut out).await?;
        out.flush().await
    };
    let result = result.await;
    upload.abort();
    result
}
