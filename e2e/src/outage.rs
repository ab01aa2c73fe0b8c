//! A way to somewhere that can be cut and mended: to everybody behind it, the other end is away for a while.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

const TICK: Duration = Duration::from_millis(10);

/// A TCP port that leads to another one.
pub struct Way {
    address: SocketAddr,
    target: String,
    open: Option<Open>,
}

/// What listens and carries until it is cut.
struct Open {
    stop: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    thread: JoinHandle<()>,
}

impl Way {
    /// To an `http://` URL, open.
    pub fn to(url: &str) -> Result<Self> {
        let target = url.strip_prefix("http://").context("the way leads to plain http only")?.trim_end_matches('/');
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut way = Self { address: listener.local_addr()?, target: target.to_owned(), open: None };
        way.carry(listener)?;
        Ok(way)
    }

    /// What to use instead of the URL behind it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on connections are refused, and those there are break.
    pub fn cut(&mut self) {
        let Some(open) = self.open.take() else { return };
        open.stop.store(true, Ordering::Relaxed);
        // The thread hands the port back before it ends.
        let _ = open.thread.join();
        for stream in open.streams.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// As before the cut.
    pub fn mend(&mut self) -> Result<()> {
        if self.open.is_none() {
            let listener = TcpListener::bind(self.address)?;
            self.carry(listener)?;
        }
        Ok(())
    }

    fn carry(&mut self, listener: TcpListener) -> Result<()> {
        listener.set_nonblocking(true)?;
        let (stop, streams) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (told, kept, target) = (stop.clone(), streams.clone(), self.target.clone());
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        // One that cannot be carried on is closed, as a node that is gone would.
                        let _ = couple(stream, &target, &kept);
                    }
                    Err(_) => std::thread::sleep(TICK),
                }
            }
        });
        self.open = Some(Open { stop, streams, thread });
        Ok(())
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Carries both directions, each by a thread that ends with its stream.
fn couple(near: TcpStream, target: &str, kept: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    let far = TcpStream::connect(target)?;
    near.set_nonblocking(false)?;
    let mut streams = kept.lock().unwrap_or_else(PoisonError::into_inner);
    streams.extend([near.try_clone()?, far.try_clone()?]);
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        std::thread::spawn(move || pour(from, to));
    }
    Ok(())
}

fn pour(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let Ok(to) = stream.try_clone() else { return };
                    pour(stream, to);
                });
            }
        });
        Ok(url)
    }

    #[test]
    fn a_way_carries_is_cut_and_is_mended() -> Result<()> {
        let mut way = Way::to(&echo()?)?;
        let mut byte = [0];
        let mut first = TcpStream::connect(way.address)?;
        first.write_all(b"a")?;
        first.read_exact(&mut byte)?;
        assert_eq!(&byte, b"a");
        way.cut();
        assert!(TcpStream::connect(way.address).is_err(), "still open");
        assert!(matches!(first.read(&mut byte), Ok(0) | Err(_)), "still carried");
        way.mend()?;
        let mut second = TcpStream::connect(way.address)?;
        second.write_all(b"b")?;
        second.read_exact(&mut byte)?;
        assert_eq!(&byte, b"b");
        Ok(())
    }
}
