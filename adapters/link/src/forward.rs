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
    pipe(stream, tokio::io::stdin(), tokio::io::stdout()).await
}

async fn pipe<I, O>(stream: ByteStream, mut input: I, mut output: O) -> io::Result<()>
where
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    let (mut from, mut to) = tokio::io::split(stream);
    let upload = async move {
        if copy(&mut input, &mut to).await.is_err() {
            // The remote side takes no more, but may still have something to say.
            std::future::pending::<()>().await;
        }
        let _ = to.shutdown().await;
        tokio::time::sleep(LINGER).await;
    };
    let download = async {
        copy(&mut from, &mut output).await?;
        output.flush().await
    };
    tokio::select! {
        result = download => result,
        () = upload => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex, empty};
    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_remote_side_that_says_nothing_is_left_soon_after_our_input_ended() {
        let (ours, mut theirs) = duplex(64);
        let piped = timeout(2 * LINGER, pipe(Box::new(ours), empty(), Vec::new())).await;
        piped.expect("it waits for ever").expect("nothing failed");
        assert_eq!(theirs.read(&mut [0]).await.expect("an end"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_remote_side_says_last_is_heard() {
        let (ours, mut theirs) = duplex(64);
        let remote = async {
            let mut heard = String::new();
            theirs.read_to_string(&mut heard).await.expect("heard");
            sleep(LINGER / 2).await;
            theirs.write_all(b"bye").await.expect("said");
            drop(theirs);
            heard
        };
        let mut said = Vec::new();
        let (heard, piped) = tokio::join!(remote, pipe(Box::new(ours), &b"over"[..], &mut said));
        piped.expect("nothing failed");
        assert_eq!((heard.as_str(), said.as_slice()), ("over", &b"bye"[..]));
    }
}
