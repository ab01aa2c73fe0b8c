//! The door of a relay: who comes in, and how many from where.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::header::HeaderName;
use iroh::EndpointId;
use iroh_relay::server::{Access, AccessControl, ClientRequest, ConnectionId};
use sublet_base::{B256, keccak256};

use crate::places::{Full, Place, Places};

/// Where a client comes from. Set by us on each request, whatever the client says: nothing else of a connection is
/// shown to the door.
pub(crate) const ADDRESS: HeaderName = HeaderName::from_static("x-sublet-address");

/// Who may use a relay.
#[derive(Clone, Default)]
pub enum RelayAccess {
    /// Anyone.
    #[default]
    Open,
    /// Whoever presents one of these tokens. Kept as hashes.
    Tokens(Vec<B256>),
}

impl RelayAccess {
    /// Access with any of `tokens`.
    #[must_use]
    pub fn tokens<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Tokens(tokens.into_iter().map(|token| keccak256(token.as_bytes())).collect())
    }

    fn admits(&self, token: Option<&str>) -> bool {
        match self {
            Self::Open => true,
            // Comparing hashes tells a guesser nothing by its timing.
            Self::Tokens(hashes) => token.is_some_and(|token| hashes.contains(&keccak256(token.as_bytes()))),
        }
    }
}

/// Lets clients in and counts them.
pub(crate) struct Door {
    access: RelayAccess,
    places: Places<IpAddr>,
    inside: Mutex<HashMap<ConnectionId, Place<IpAddr>>>,
    admitted: AtomicU64,
    refused: AtomicU64,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("places", &self.places).finish_non_exhaustive()
    }
}

impl Door {
    pub(crate) fn new(access: RelayAccess, places: Places<IpAddr>) -> Self {
        let (admitted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { access, places, inside: Mutex::default(), admitted, refused }
    }

    pub(crate) fn clients(&self) -> usize {
        self.places.taken()
    }

    pub(crate) fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts somebody who did not get as far as the door.
    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, request: &ClientRequest) -> Result<Place<IpAddr>, &'static str> {
        if !self.access.admits(request.auth_token().as_deref()) {
            return Err("this gateway wants a token that it knows");
        }
        let address = request.headers().get(ADDRESS).and_then(|text| text.to_str().ok()?.parse().ok());
        let address = address.ok_or("this gateway does not know where you come from")?;
        self.places.enter(address).map_err(|full| match full {
            Full::All => "this gateway is full",
            Full::Each => "this gateway has too many clients from your address",
        })
    }

    fn inside(&self) -> MutexGuard<'_, HashMap<ConnectionId, Place<IpAddr>>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccessControl for Door {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        match self.enter(request) {
            Ok(place) => {
                self.inside().insert(request.connection_id(), place);
                self.admitted.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(client = %request.endpoint_id().fmt_short(), "client connected");
                Access::Allow
            }
            Err(why) => {
                self.count_refused();
                Access::Deny { reason: Some(why.to_owned()) }
            }
        }
    }

    fn on_disconnect(&self, client: EndpointId, connection: ConnectionId) {
        self.inside().remove(&connection);
        tracing::debug!(client = %client.fmt_short(), "client disconnected");
    }
}
