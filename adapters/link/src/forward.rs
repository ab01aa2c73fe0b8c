//! Moving bytes between a link stream and something local.

use std::io;
use std::time::Duration;

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

/// How long the remote side may go on once our input has ended: whoever started us is done, or gone.
const LINGER: Duration = Duration::from_secs(5);

/// Connects a stream to standard input and output, as an ssh `ProxyCommand` does, until the remote side has ended.
///
/// The end of standard input closes our direction, and gives the remote side a last moment. A read of the terminal cannot
/// be cancelled, so leave the program by `std::process::exit` afterwards.
///
/// # Errors
/// The remote side's, or standard output's.
pub async fn pipe_stdio(stream: ByteStream) -> io::Result<()> {
    let (mut from, mut to) = tokio::io::split(stream);
    let upload = async move {
        if copy(&mut tokio::io::stdin(), &mut to).await.is_err() {
            // The remote side takes no more, but may still have something to say.
            std::future::pending::<()>().await;
        }
        let _ = to.shutdown().await;
        tokio::time::sleep(LINGER).await;
    };
    let mut out = tokio::io::stdout();
    let download = async {
        copy(&mut from, &mut out).await?;
        out.flush().await
    };
    tokio::select! {
        result = download => result,
        () = upload => Ok(()),
    }
}
