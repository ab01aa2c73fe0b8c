//! Takes connections: so many at once, and none that keeps a request's head back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sublet_daemon::CancellationToken;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::ServiceExt;

/// How long a request's head may take, and a connection may idle between two.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How soon a system without room for another socket is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Serves until `stop`, then lets the requests that are there end. A websocket has a seat of its own and no place here.
pub(crate) async fn serve(listener: TcpListener, router: Router, places: u32, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new((places as usize).max(1)));
    let mut connections = JoinSet::new();
    let accept = async || {
        // Never closed, so there always is one to come.
        let place = Arc::clone(&places).acquire_owned().await;
        (listener.accept().await, place)
    };
    while let Some((accepted, place)) = stop.run_until_cancelled(accept()).await {
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((socket, peer)) => {
                let serving = connection(socket, peer, router.clone(), stop.clone());
                connections.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(socket: TcpStream, peer: SocketAddr, router: Router, stop: CancellationToken) {
    let service = service_fn(move |request: hyper::Request<Incoming>| answer(router.clone(), peer, request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    // A connection that breaks has told nobody anything.
    if stop.run_until_cancelled(serving.as_mut()).await.is_none() {
        serving.as_mut().graceful_shutdown();
        let _ = serving.await;
    }
}

async fn answer(router: Router, peer: SocketAddr, request: hyper::Request<Incoming>) -> Result<Response, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}
