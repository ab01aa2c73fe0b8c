//! `$SUBLET_HOME`: where a person's accounts, keys and known network live, and the paths of everything in it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sublet_base::Address;
use sublet_chain::{Depth, EvmOptions};
use sublet_daemon::{create_private_dir, write_private};

use crate::output::{Advise, refuse};

/// The home directory.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    root: PathBuf,
}

/// A network this home talks to; `network.json`. Private, because the node's address may hold a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    /// JSON-RPC over http.
    pub(crate) rpc: String,
    /// The chain's id; everything signed binds it.
    pub(crate) chain_id: u64,
    /// The Sublet contract.
    pub(crate) contract: Address,
    /// The token it was deployed with.
    pub(crate) token: Address,
    /// How deep a block must lie before anybody here acts on it: `newest`, `safe`, `finalized`, or a number of confirmations.
    #[serde(default)]
    pub(crate) depth: Depth,
    /// The solvers' base URLs, asked in this order.
    pub(crate) solvers: Vec<String>,
    /// The gateways' relay URLs.
    pub(crate) relays: Vec<String>,
}

impl Network {
    /// Where the chain is reached, which contract counts there, and when.
    pub(crate) fn chain(&self) -> EvmOptions {
        EvmOptions { url: self.rpc.clone(), contract: self.contract, depth: self.depth }
    }
}

impl Home {
    /// The named directory, else `~/.sublet`.
    pub(crate) fn locate(named: Option<PathBuf>) -> Result<Self> {
        let root = match named {
            Some(root) => root,
            None => std::env::home_dir()
                .context("there is no home directory")
                .advise(|| "name a directory with --home or SUBLET_HOME".to_owned())?
                .join(".sublet"),
        };
        Ok(Self { root: std::path::absolute(root)? })
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Encrypted keystore files, one an account.
    pub(crate) fn accounts(&self) -> PathBuf {
        self.root.join("accounts")
    }

    /// Passphrase file of an account that `sublet up` made for a local network.
    pub(crate) fn passphrase(&self, account: &str) -> PathBuf {
        self.accounts().join(format!("{account}.passphrase"))
    }

    /// Transactions an account has under way, so that a crash loses none.
    pub(crate) fn transactions(&self, account: Address) -> PathBuf {
        self.root.join("transactions").join(account.to_string())
    }

    /// The secret key of this person's link endpoint.
    pub(crate) fn peer_key(&self) -> PathBuf {
        self.root.join("peer.key")
    }

    /// The client's own records: orders, names given to leases, documents handed over.
    pub(crate) fn records(&self) -> PathBuf {
        self.root.join("client.db")
    }

    /// Pinned ssh host keys, one file a lease.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.root.join("known_hosts.d")
    }

    /// Job results, one folder a job.
    pub(crate) fn results(&self) -> PathBuf {
        self.root.join("results")
    }

    /// Data of a role that runs from this home: `chain`, `gateway`, `solver`, a host's name, `provider-NAME`, `mediator-NAME`.
    pub(crate) fn role(&self, name: &str) -> PathBuf {
        self.root.join("roles").join(name)
    }

    /// The network, or what to do when none is known.
    pub(crate) fn network(&self) -> Result<Network> {
        let path = self.root.join("network.json");
        if !path.exists() {
            return refuse(
                format!("no network is known in {}", self.root.display()),
                "start a local network with `sublet up`, in another terminal",
            );
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Remembers the network.
    pub(crate) fn remember(&self, network: &Network) -> Result<()> {
        create_private_dir(&self.root)?;
        write_private(&self.root.join("network.json"), &serde_json::to_vec_pretty(network)?)?;
        Ok(())
    }
}
