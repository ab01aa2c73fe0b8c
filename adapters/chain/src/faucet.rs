//! Gas and play money for accounts of a local network, and moving tokens into a balance.

use sublet_base::{Address, Amount, U256};

use crate::call::Call;
use crate::evm::{EvmLedger, EvmOptions, SendAs};
use crate::ledger::{Landed, Ledger};
use crate::node::ReadError;
use crate::submit::{SubmitError, TxKey};
use crate::wallet::{InvalidKey, Wallet};

/// The first account of every anvil: its key is public knowledge and its coins are worth nothing.
const DEV_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// An account with less than this gets [`GAS_GIFT`], wei.
const GAS_LOW: u128 = 1_000_000_000_000_000_000;
/// Ten coins, wei.
const GAS_GIFT: u128 = 10 * GAS_LOW;

/// Gives gas and test tokens away.
#[derive(Debug)]
pub struct Faucet {
    ledger: EvmLedger,
}

impl Faucet {
    /// The wallet every local anvil is born with.
    ///
    /// # Errors
    /// None in practice; the key is a constant.
    pub fn dev_wallet() -> Result<Wallet, InvalidKey> {
        Wallet::from_hex(DEV_KEY)
    }

    /// A faucet that gives from `account`, usually the [`Faucet::dev_wallet`].
    ///
    /// # Errors
    /// As [`EvmLedger::connect`].
    pub async fn connect(options: &EvmOptions, account: SendAs) -> Result<Self, ReadError> {
        Ok(Self { ledger: EvmLedger::connect(options, Some(account)).await? })
    }

    /// Mints `tokens` into the account's wallet and tops up its gas if that is low.
    ///
    /// # Errors
    /// As [`Ledger::submit`]; [`crate::Refusal::FaucetCap`] once the account has had its share.
    pub async fn give(&self, to: Address, tokens: Amount) -> Result<(), SubmitError> {
        let gift = uuid::Uuid::new_v4();
        if self.ledger.gas_balance(to).await.map_err(SubmitError::NotSent)? < U256::from(GAS_LOW) {
            let key = TxKey::passing(format!("gas {gift}"));
            self.ledger.pay_gas(&key, to, U256::from(GAS_GIFT)).await?;
        }
        if tokens != Amount::ZERO {
            let call = Call::Mint { to, amount: tokens };
            self.ledger.submit(&TxKey::passing(format!("mint {gift}")), &call).await?;
        }
        Ok(())
    }
}

/// Moves tokens from the account's wallet into its balance: approves what is missing, then deposits.
///
/// `key` names the effect as in [`Ledger::submit`]; the approval's key is derived from it.
///
/// # Errors
/// As [`Ledger::submit`]. After an error the same call with the same key goes on where it stopped.
pub async fn deposit(ledger: &dyn Ledger, key: &str, amount: Amount) -> Result<Landed, SubmitError> {
    let account = ledger.account().ok_or(SubmitError::NoAccount)?;
    let done = TxKey::lasting(format!("{key}/deposit"));
    let approve = TxKey::lasting(format!("{key}/approve"));
    if let Some(landed) = ledger.find(&done).await? {
        return Ok(landed);
    }
    if ledger.allowance(account).await.map_err(SubmitError::NotSent)? < amount {
        ledger.submit(&approve, &Call::Approve(amount)).await?;
    }
    let landed = ledger.submit(&done, &Call::Deposit(amount)).await?;
    ledger.forget(&approve).await?;
    Ok(landed)
}
