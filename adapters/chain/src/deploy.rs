//! Putting the contracts on a chain, and the record of where they are.

use std::path::Path;
use std::sync::Arc;

use alloy::sol_types::SolConstructor;
use serde::{Deserialize, Serialize};
use sublet_base::{Address, B256, U256};
use sublet_daemon::{FileError, write_private};
use thiserror::Error;

use crate::bindings::{Sublet, SubletToken};
use crate::evm::SendAs;
use crate::node::{Node, ReadError};
use crate::sender::{Payload, Sender};
use crate::submit::{SubmitError, TxKey};

/// Where the contracts are on one chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The chain's id.
    pub chain_id: u64,
    /// Hash of the chain's first block: tells a local chain from one that started over.
    pub genesis: B256,
    /// The ERC-20 all amounts are in.
    pub token: Address,
    /// The Sublet contract.
    pub contract: Address,
    /// Who may pause opening.
    pub guardian: Address,
    /// Block of the contract: followers start here.
    pub block: u64,
}

/// Which token and guardian the contract gets.
#[derive(Clone, Debug)]
pub struct DeployOptions {
    /// An existing ERC-20; without one the test token with its open faucet is deployed.
    pub token: Option<Address>,
    /// Who may pause opening.
    pub guardian: Address,
}

/// Why the contracts could not be deployed, or their record not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeployError {
    /// The chain could not be asked.
    #[error("cannot deploy the contracts")]
    Chain(#[from] ReadError),
    /// A transaction did not land.
    #[error("cannot deploy {what}")]
    Submit {
        /// Which contract.
        what: &'static str,
        /// Why not.
        #[source]
        source: Box<SubmitError>,
    },
    /// The record is not one.
    #[error("{place} is not a deployment record")]
    Record {
        /// The file.
        place: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The record could not be read or written.
    #[error("cannot use the deployment record")]
    File(#[from] FileError),
    /// The record could not be read.
    #[error("cannot read the deployment record {place}")]
    Read {
        /// The file.
        place: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Deployment {
    /// Reads a record; `None` if there is none.
    ///
    /// # Errors
    /// [`DeployError::Record`], [`DeployError::Read`].
    pub fn load(path: &Path) -> Result<Option<Self>, DeployError> {
        let place = || path.display().to_string();
        match std::fs::read(path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(record) => Ok(Some(record)),
                Err(source) => Err(DeployError::Record { place: place(), source }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DeployError::Read { place: place(), source }),
        }
    }

    /// Writes the record, whole or not at all.
    ///
    /// # Errors
    /// [`DeployError::File`].
    pub fn save(&self, path: &Path) -> Result<(), DeployError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| DeployError::Record { place: path.display().to_string(), source })?;
        Ok(write_private(path, &text)?)
    }
}

/// Deploys the contracts to the chain at `url`. After a crash, the same account and journal continue where it stopped.
///
/// # Errors
/// [`DeployError`].
pub async fn deploy(url: &str, account: SendAs, options: &DeployOptions) -> Result<Deployment, DeployError> {
    let node = Node::connect(url).await?;
    deploy_to(node, account, options).await
}

/// The deployment recorded at `record` if it is on this very chain; otherwise deploys and records.
///
/// # Errors
/// [`DeployError`].
pub async fn ensure_deployed(
    url: &str,
    account: SendAs,
    options: &DeployOptions,
    record: &Path,
) -> Result<Deployment, DeployError> {
    let node = Node::connect(url).await?;
    if let Some(known) = Deployment::load(record)? {
        let same_chain = known.chain_id == node.chain_id && known.genesis == node.genesis;
        if same_chain && node.has_code(known.contract).await? {
            return Ok(known);
        }
    }
    let deployment = deploy_to(node, account, options).await?;
    deployment.save(record)?;
    Ok(deployment)
}

async fn deploy_to(node: Node, account: SendAs, options: &DeployOptions) -> Result<Deployment, DeployError> {
    let (chain_id, genesis) = (node.chain_id, node.genesis);
    let sender = Arc::new(Sender::new(node, account.wallet, account.journal, account.options));
    let token = match options.token {
        Some(token) => token,
        None => create(&sender, "the token", SubletToken::BYTECODE.to_vec()).await?.0,
    };
    let mut code = Sublet::BYTECODE.to_vec();
    code.extend(Sublet::constructorCall { token, guardian: options.guardian }.abi_encode());
    let (contract, block) = create(&sender, "the Sublet contract", code).await?;
    Ok(Deployment { chain_id, genesis, token, contract, guardian: options.guardian, block })
}

/// Address and block of the new contract.
async fn create(sender: &Arc<Sender>, what: &'static str, code: Vec<u8>) -> Result<(Address, u64), DeployError> {
    let key = TxKey::lasting(format!("deploy {what}"));
    let payload = Payload { to: None, value: U256::ZERO, data: code.into() };
    let failed = |source| DeployError::Submit { what, source: Box::new(source) };
    let receipt = sender.submit(&key, payload).await.map_err(failed)?;
    match (receipt.contract_address, receipt.block_number) {
        (Some(address), Some(block)) => Ok((address, block)),
        _ => Err(failed(SubmitError::Unknown { tx: receipt.transaction_hash, last: None })),
    }
}
