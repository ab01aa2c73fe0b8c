//! The websocket of live events.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use serde::Deserialize;
use sublet_wire::solver::{Event, Refusal};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, interval_at, timeout};
use utoipa::IntoParams;

use super::Context;
use super::caller::Caller;
use super::input::Asked;
use super::reply::Refused;
use crate::feed::Subscription;
use crate::refuse;

const PING_EVERY: Duration = Duration::from_secs(20);
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// Nobody has anything to say here but pongs.
const MAX_FRAME: usize = 1_024;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct From {
    /// Id of the last event seen; without it, only what happens from now on is sent.
    after: Option<u64>,
}

/// Live events over a websocket: one `Event` as JSON in each text message.
#[utoipa::path(get, path = "/v1/events", params(From),
    responses((status = SWITCHING_PROTOCOLS, description = "websocket", body = Event), (status = "default", body = Refusal)))]
pub(super) async fn events(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Asked(from): Asked<From>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, Refused> {
    let upgrade = upgrade.map_err(|_| Refused(refuse::malformed("connect to this path with a websocket")))?;
    let seat = context.subscribers.seat(caller)?;
    Ok(upgrade.max_message_size(MAX_FRAME).max_frame_size(MAX_FRAME).on_upgrade(move |socket| async move {
        let subscription = context.desk.feed.subscribe(from.after);
        serve(socket, subscription).await;
        drop(seat);
    }))
}

/// Sends until the subscriber leaves, sleeps or falls too far behind; it then reconnects with its last id.
async fn serve(mut socket: WebSocket, mut subscription: Subscription) {
    for event in &subscription.missed {
        if !send(&mut socket, text(event)).await {
            return;
        }
    }
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    loop {
        let message = tokio::select! {
            event = subscription.live.recv() => match event {
                Ok(event) => text(&event),
                Err(RecvError::Lagged(_) | RecvError::Closed) => break,
            },
            _ = pings.tick() => Message::Ping(Vec::new().into()),
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        };
        if !send(&mut socket, message).await {
            return;
        }
    }
    let _ = timeout(SEND_WITHIN, socket.send(Message::Close(None))).await;
}

fn text(event: &Event) -> Message {
    // An event has string keys only, so it always is JSON.
    Message::Text(serde_json::to_string(event).unwrap_or_default().into())
}

async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(SEND_WITHIN, socket.send(message)).await, Ok(Ok(())))
}
