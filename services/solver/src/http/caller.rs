//! Whose request it is, and how much of the solver one address may have.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::InvalidHeaderName;
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::Response;
use thiserror::Error;

use super::Context;
use super::reply::Refused;
use crate::config::SolverConfig;
use crate::rate::Buckets;
use crate::refuse;

/// The address a request comes from, as far as it counts; see [`household`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub(super) IpAddr);

/// The configured header cannot exist.
#[derive(Debug, Error)]
#[error("client_address_header: `{name}` is no name of a header")]
pub(crate) struct BadHeader {
    name: String,
    #[source]
    source: InvalidHeaderName,
}

/// Tells callers apart and counts their requests.
pub(super) struct Callers {
    requests: Buckets<IpAddr>,
    /// Where a trusted proxy puts the address.
    header: Option<HeaderName>,
}

impl Callers {
    pub(super) fn new(config: &SolverConfig) -> Result<Self, BadHeader> {
        let parse = |name: &String| name.parse().map_err(|source| BadHeader { name: name.clone(), source });
        let header = config.client_address_header.as_ref().map(parse).transpose()?;
        Ok(Self { requests: Buckets::new(config.requests_per_minute), header })
    }

    fn caller(&self, peer: SocketAddr, headers: &HeaderMap) -> Caller {
        let named = self.header.as_ref().and_then(|header| headers.get_all(header).iter().next_back());
        // The proxy appends what it saw to whatever the client claimed.
        let last = named.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        Caller(household(last.unwrap_or(peer.ip())))
    }
}

/// What counts as one address. Of IPv6, a customer has 2^64 at least.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

/// Holds back those that ask too often, and tells the handlers who asks.
pub(super) async fn limit(
    State(context): State<Context>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refused> {
    let caller = context.callers.caller(peer, request.headers());
    context.callers.requests.take(caller.0, Instant::now()).map_err(refuse::too_many)?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// Subscribers there are, and may be.
pub(super) struct Subscribers {
    in_all: usize,
    of_address: usize,
    seats: Mutex<HashMap<IpAddr, usize>>,
}

/// A subscriber's place, given back when dropped.
pub(super) struct Seat {
    subscribers: Arc<Subscribers>,
    address: IpAddr,
}

impl Subscribers {
    pub(super) fn new(config: &SolverConfig) -> Self {
        let (in_all, of_address) = (config.max_subscribers as usize, config.max_subscribers_per_address as usize);
        Self { in_all, of_address, seats: Mutex::default() }
    }

    /// A place for one more subscriber at this address.
    pub(super) fn seat(self: &Arc<Self>, Caller(address): Caller) -> Result<Seat, Refused> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = seats.get(&address).copied().unwrap_or(0);
        if taken >= self.of_address || seats.values().sum::<usize>() >= self.in_all {
            return Err(Refused(refuse::too_many(Duration::from_secs(5))));
        }
        seats.insert(address, taken + 1);
        Ok(Seat { subscribers: Arc::clone(self), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.subscribers.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = seats.get_mut(&self.address) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn neighbours_in_one_64_are_one_caller() {
        for (one, other, same) in [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
        ] {
            assert_eq!(household(address(one)) == household(address(other)), same, "{one} and {other}");
        }
    }

    #[test]
    fn only_a_configured_header_names_the_caller_and_its_last_entry_counts() {
        let proxy: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "203.0.113.7".parse().unwrap());
        headers.append("x-forwarded-for", "203.0.113.8, 198.51.100.1".parse().unwrap());
        let caller = |header: Option<&str>, headers: &HeaderMap| {
            let config = SolverConfig { client_address_header: header.map(str::to_owned), ..SolverConfig::default() };
            Callers::new(&config).unwrap().caller(proxy, headers).0
        };
        assert_eq!(caller(None, &headers), proxy.ip());
        assert_eq!(caller(Some("X-Forwarded-For"), &headers), address("198.51.100.1"));
        assert_eq!(caller(Some("x-real-ip"), &headers), proxy.ip());
        headers.append("x-forwarded-for", "nonsense".parse().unwrap());
        assert_eq!(caller(Some("x-forwarded-for"), &headers), proxy.ip());
        let bad = SolverConfig { client_address_header: Some("no header".to_owned()), ..SolverConfig::default() };
        assert!(Callers::new(&bad).is_err());
    }

    #[test]
    fn one_address_has_its_share_of_the_seats() {
        let config = SolverConfig { max_subscribers: 3, max_subscribers_per_address: 2, ..SolverConfig::default() };
        let subscribers = Arc::new(Subscribers::new(&config));
        let (one, other) = (Caller(address("192.0.2.1")), Caller(address("192.0.2.2")));
        let first = subscribers.seat(one);
        let _second = subscribers.seat(one);
        assert!(subscribers.seat(one).is_err());
        let _third = subscribers.seat(other);
        assert!(subscribers.seat(other).is_err(), "no more in all");
        drop(first);
        assert!(subscribers.seat(one).is_ok());
    }
}
