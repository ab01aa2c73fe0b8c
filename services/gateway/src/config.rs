//! The `[gateway]` section.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How to run a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// TCP address to relay on; plain HTTP, the packets inside are sealed by the peers.
    pub listen: SocketAddr,
    /// TCP address of the status page (`GET /status`); none without it. Keep it private.
    pub status: Option<SocketAddr>,
    /// Folder for the key and the lock.
    pub data: PathBuf,
    /// File with access tokens, one a line, readable by its owner only. Unset: everyone is served.
    pub tokens_file: Option<PathBuf>,
    /// Most clients at once.
    pub clients: usize,
    /// Most clients at once from one address (of IPv6: from one /64); `clients` behind a proxy of your own.
    pub clients_per_address: usize,
    /// Most bytes a second taken from each client; unset: no limit.
    pub bytes_per_second: Option<NonZeroU32>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 3340).into(),
            status: None,
            data: "data/gateway".into(),
            tokens_file: None,
            clients: 1000,
            clients_per_address: 100,
            bytes_per_second: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_section_parses_and_slips_do_not() {
        let text = "listen = '0.0.0.0:3340'\nstatus = '127.0.0.1:3341'\ndata = 'd'\ntokens_file = 't'\nclients = 5\n\
                    clients_per_address = 2\nbytes_per_second = 1000000\n";
        let config: GatewayConfig = toml::from_str(text).unwrap();
        assert_eq!((config.clients, config.clients_per_address), (5, 2));
        assert_eq!(config.bytes_per_second, NonZeroU32::new(1_000_000));
        assert_eq!(toml::from_str::<GatewayConfig>("").unwrap(), GatewayConfig::default());
        for slip in ["listens = 'x'", "bytes_per_second = 0", "clients = -1", "listen = 'localhost'"] {
            assert!(toml::from_str::<GatewayConfig>(slip).is_err(), "{slip} should be refused");
        }
    }
}
