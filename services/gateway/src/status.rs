//! The status page: what a gateway is and has done, as JSON.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use sublet_base::PeerKey;
use sublet_daemon::{BoxError, CancellationToken};
use sublet_link::{Relay, RelayCounter, RelayCounts};
use tokio::net::TcpListener;

/// Answers `GET /status`.
pub(crate) struct Page {
    key: PeerKey,
    counter: RelayCounter,
    started: Instant,
}

#[derive(Serialize)]
struct Status {
    peer_key: PeerKey,
    version: &'static str,
    uptime_seconds: u64,
    #[serde(flatten)]
    counts: RelayCounts,
}

impl Page {
    pub(crate) fn new(key: PeerKey, relay: &Relay) -> Self {
        Self { key, counter: relay.counter(), started: Instant::now() }
    }

    pub(crate) async fn serve(self, listener: TcpListener, stop: CancellationToken) -> Result<(), BoxError> {
        let app = Router::new().route("/status", get(status)).with_state(Arc::new(self));
        Ok(axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await?)
    }
}

async fn status(State(page): State<Arc<Page>>) -> Json<Status> {
    Json(Status {
        peer_key: page.key,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: page.started.elapsed().as_secs(),
        counts: page.counter.counts(),
    })
}
