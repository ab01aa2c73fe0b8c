//! Where a peer may be found.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use iroh::{EndpointAddr, EndpointId, RelayUrl};
use serde::{Deserialize, Serialize};
use sublet_base::PeerKey;
use thiserror::Error;

use crate::PathPolicy;

const MAX_URL: usize = 256;

/// A gateway's address: `http://host:port` or `https://host[:port]`, nothing else. Strangers publish these.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GatewayUrl(pub(crate) RelayUrl);

/// Text that is not a gateway's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a gateway's address looks like http://host:port or https://host, at most {MAX_URL} characters")]
pub struct InvalidGatewayUrl;

impl FromStr for GatewayUrl {
    type Err = InvalidGatewayUrl;

    fn from_str(text: &str) -> Result<Self, InvalidGatewayUrl> {
        if text.len() > MAX_URL || text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(InvalidGatewayUrl);
        }
        let url = RelayUrl::from_str(text).map_err(|_| InvalidGatewayUrl)?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.username().is_empty()
            && url.password().is_none()
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none();
        if plain { Ok(Self(url)) } else { Err(InvalidGatewayUrl) }
    }
}

impl TryFrom<String> for GatewayUrl {
    type Error = InvalidGatewayUrl;

    fn try_from(text: String) -> Result<Self, InvalidGatewayUrl> {
        text.parse()
    }
}

impl From<GatewayUrl> for String {
    fn from(url: GatewayUrl) -> Self {
        url.to_string()
    }
}

impl fmt::Display for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatewayUrl({self})")
    }
}

/// A peer and the places to look for it. At least one place is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddr {
    /// Who.
    pub key: PeerKey,
    /// Gateways it may be connected to, all of them tried at once.
    pub gateways: Vec<GatewayUrl>,
    /// Where it may be reached directly.
    pub direct: Vec<SocketAddr>,
}

impl PeerAddr {
    /// A peer behind a gateway.
    #[must_use]
    pub fn behind(key: PeerKey, gateway: GatewayUrl) -> Self {
        Self::behind_one_of(key, vec![gateway])
    }

    /// A peer behind one of these gateways; nobody knows which.
    #[must_use]
    pub fn behind_one_of(key: PeerKey, gateways: Vec<GatewayUrl>) -> Self {
        Self { key, gateways, direct: Vec::new() }
    }

    /// The same in iroh's words; `None` if the key is not a curve point or nothing says where to look.
    pub(crate) fn endpoint_addr(&self, policy: PathPolicy) -> Option<EndpointAddr> {
        let mut addr = EndpointAddr::new(EndpointId::from_bytes(&self.key.0).ok()?);
        for gateway in &self.gateways {
            addr = addr.with_relay_url(gateway.0.clone());
        }
        if policy == PathPolicy::Auto {
            addr = self.direct.iter().fold(addr, |addr, &direct| addr.with_ip_addr(direct));
        }
        (!addr.is_empty()).then_some(addr)
    }
}

/// What of an address counts as one caller: of IPv6 its network, since whoever has one address there has them all.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_addresses_are_plain() {
        for good in ["http://127.0.0.1:3340", "https://gateway.example", "http://[::1]:1"] {
            assert_eq!(good.parse::<GatewayUrl>().unwrap().to_string(), good);
        }
        let long = format!("http://{}", "a".repeat(MAX_URL));
        for bad in [
            "",
            "gateway",
            "ftp://a",
            "http://",
            "http://u:p@a",
            "http://a/b",
            "http://a?x",
            "http://a#x",
            "http://a b",
            &long,
        ] {
            assert!(bad.parse::<GatewayUrl>().is_err(), "{bad:?} should be refused");
        }
    }

    #[test]
    fn relay_only_forgets_direct_addresses() {
        let key = crate::LinkKey::generate().peer_key();
        let direct = vec!["127.0.0.1:1".parse().unwrap()];
        let addr = PeerAddr { key, gateways: vec![], direct };
        assert!(addr.endpoint_addr(PathPolicy::Auto).is_some());
        assert!(addr.endpoint_addr(PathPolicy::RelayOnly).is_none());
    }

    #[test]
    fn one_network_is_one_caller() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!((of("203.0.113.7"), of("::ffff:203.0.113.7")), ("203.0.113.7".into(), "203.0.113.7".into()));
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
