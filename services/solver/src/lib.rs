//! The solver: keeps the book of signed offers and orders, matches them, opens agreements on chain.
//!
//! ```text
//!            HTTP + websocket                       ┌─ matcher ── plan() ── opener ──▶ chain: open, openMany
//! providers ──offers──▶ intake ──▶ desk (the book) ◀┤
//! renters ────orders──▶  checks     SQLite + memory └─ follower ◀── chain: placed orders, fills, cancellations, time
//! ```
//! Untrusted by design: both signatures are checked on chain, so a solver can refuse or delay, never cheat. Everything
//! acknowledged is stored before it is answered; a restart loses nothing and never opens twice.

mod batch;
mod config;
mod desk;
mod disk_full;
mod facts;
mod feed;
mod follower;
mod http;
mod intake;
mod live;
mod matcher;
mod opener;
mod rate;
mod refuse;
mod shares;
mod unfilled;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

pub use config::SolverConfig;
pub use http::openapi_json;

use axum::Router;
use sublet_chain::{FollowOptions, Ledger};
use sublet_daemon::{BoxError, CancellationToken, SuperviseError, Supervisor};
use sublet_store::Store;
use thiserror::Error;
use tokio::net::TcpListener;

use crate::desk::Desk;
use crate::follower::Follower;
use crate::matcher::Matcher;

/// Why a solver does not run, or stopped.
#[derive(Debug, Error)]
pub enum SolverError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}; is another solver running, or is the port taken?")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The book or the chain could not be taken up.
    #[error("the solver cannot start")]
    Start(#[source] BoxError),
    /// A part failed.
    #[error("the solver stopped")]
    Stopped(#[from] SuperviseError),
}

impl SolverError {
    /// True if another address to listen on would help.
    #[must_use]
    pub fn is_address(&self) -> bool {
        matches!(self, Self::Listen { .. })
    }
}

/// What a solver stands on.
#[derive(Clone, Debug)]
pub struct Ports {
    /// The chain, with the account openings are sent from.
    pub ledger: Arc<dyn Ledger>,
    /// The book and the cursor.
    pub store: Store,
    /// How the chain's events are followed.
    pub follow: FollowOptions,
}

/// A solver that is listening but has not started to serve.
pub struct Solver {
    desk: Arc<Desk>,
    follower: Follower,
    listener: TcpListener,
    router: Router,
    address: SocketAddr,
}

impl Solver {
    /// Takes up the book and starts to listen.
    ///
    /// # Errors
    /// [`SolverError::Listen`], [`SolverError::Start`].
    pub async fn bind(config: SolverConfig, ports: Ports) -> Result<Self, SolverError> {
        let listen = |source| SolverError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let start = |error: BoxError| SolverError::Start(error);
        let book = ports.store.book();
        let desk = Arc::new(Desk::open(ports.ledger, config, book).await.map_err(|e| start(e.into()))?);
        follower::refresh_all(&desk).await.map_err(|e| start(e.into()))?;
        let follower =
            Follower::new(Arc::clone(&desk), &ports.store, ports.follow).await.map_err(|e| start(e.into()))?;
        let router = http::router(Arc::clone(&desk)).map_err(|e| start(e.into()))?;
        Ok(Self { desk, follower, listener, router, address })
    }

    /// Where it listens; the port is known even if the configuration left it open.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`: then takes no more requests, stops matching, and stops following, in that order.
    ///
    /// # Errors
    /// [`SolverError::Stopped`] if a part failed.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), SolverError> {
        tracing::info!(address = %self.address, "the solver listens");
        let mut tasks = Supervisor::new();
        tasks.spawn("follower", |stop| async move { self.follower.run(stop).await.map_err(BoxError::from) });
        let places = self.desk.config.max_connections;
        let matcher = Matcher::new(self.desk);
        tasks.spawn("matcher", |stop| async move { matcher.run(stop).await.map_err(BoxError::from) });
        let (listener, router) = (self.listener, self.router);
        tasks.spawn("http", move |stop| async move {
            http::serve(listener, router, places, stop).await;
            Ok(())
        });
        Ok(tasks.run(shutdown).await?)
    }
}

/// Binds and serves.
///
/// # Errors
/// As [`Solver::bind`] and [`Solver::serve`].
pub async fn run(config: SolverConfig, ports: Ports, shutdown: CancellationToken) -> Result<(), SolverError> {
    Solver::bind(config, ports).await?.serve(shutdown).await
}
