//! The contract as anybody may read it: bare `eth_call`s, decoded by hand, so that no code of the product vouches for its own sums.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::network::Network;
use crate::rpc::Rpc;

// First four bytes of keccak256 of the signature, as `forge selectors` lists them.
const FREE_OF: &str = "33e25bb9";
const BALANCE_OF: &str = "70a08231";
const AGREEMENT_COUNT: &str = "bb7bb278";
const LENS: &str = "112666b7";
const LEASE: &str = "51d9f900";
const JOB: &str = "8514801e";

/// Positions in what `lease` and `job` return, in words of 32 bytes; both have what is still held in the same places.
const STATE: usize = 0;
const HELD: std::ops::Range<usize> = 16..19;
const LEASE_ENDED: u128 = 3;
const JOB_ENDED: u128 = 4;

/// The contracts of one network.
pub struct Contract {
    rpc: Rpc,
    contract: String,
    token: String,
    /// Where `lease` and `job` are read.
    lens: String,
}

/// One agreement as the chain has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Nothing can change any more.
    pub ended: bool,
    /// Escrow, pledge and fee still held, token units.
    pub held: u128,
}

impl Contract {
    /// Of a running network.
    pub fn of(network: &Network) -> Result<Self> {
        let text = std::fs::read_to_string(network.sublet.home().join("network.json"))?;
        let known: Value = serde_json::from_str(&text)?;
        let address = |name: &str| Ok::<_, anyhow::Error>(known[name].as_str().context("no address")?.to_owned());
        let (rpc, contract, token) = (network.rpc()?, address("contract")?, address("token")?);
        let lens = branch(&rpc, &contract, LENS)?;
        Ok(Self { rpc, contract, token, lens })
    }

    /// Token units an account may withdraw.
    pub fn free_of(&self, account: &str) -> Result<u128> {
        first(&self.read(&self.contract, FREE_OF, &address(account)?)?)
    }

    /// Token units the contract itself owns: all that anybody has in it.
    pub fn holdings(&self) -> Result<u128> {
        first(&self.read(&self.token, BALANCE_OF, &address(&self.contract)?)?)
    }

    /// How many agreements were ever opened; they are numbered from 1.
    pub fn agreements(&self) -> Result<u64> {
        Ok(u64::try_from(first(&self.read(&self.contract, AGREEMENT_COUNT, "")?)?)?)
    }

    /// Lease or job `id`.
    pub fn agreement(&self, id: u64) -> Result<Agreement> {
        let argument = format!("{id:064x}");
        for (selector, ended) in [(LEASE, LEASE_ENDED), (JOB, JOB_ENDED)] {
            let words = self.read(&self.lens, selector, &argument)?;
            let state = *words.get(STATE).context("no state")?;
            if state != 0 {
                let held = words.get(HELD).context("too short")?.iter().sum();
                return Ok(Agreement { ended: state == ended, held });
            }
        }
        anyhow::bail!("the contract knows no agreement {id}")
    }

    fn read(&self, to: &str, selector: &str, argument: &str) -> Result<Vec<u128>> {
        Ok(ask(&self.rpc, to, selector, argument)?.as_bytes().chunks(64).map(low_half).collect())
    }
}

/// What a call returns: words of 64 hex digits.
fn ask(rpc: &Rpc, to: &str, selector: &str, argument: &str) -> Result<String> {
    let call = json!([{ "to": to, "data": format!("0x{selector}{argument}") }, "latest"]);
    let answer = rpc.call("eth_call", call)?;
    let hex = answer.as_str().and_then(|text| text.strip_prefix("0x")).context("not hex")?;
    ensure!(!hex.is_empty() && hex.len().is_multiple_of(64), "not words: {hex}");
    Ok(hex.to_owned())
}

/// The address of a contract that the contract deployed itself.
fn branch(rpc: &Rpc, contract: &str, selector: &str) -> Result<String> {
    let word = ask(rpc, contract, selector, "")?;
    Ok(format!("0x{}", &word[24..64]))
}

/// The lower 16 bytes of a word; amounts, states and times never need more.
fn low_half(word: &[u8]) -> u128 {
    std::str::from_utf8(&word[32..]).ok().and_then(|text| u128::from_str_radix(text, 16).ok()).unwrap_or(0)
}

fn first(words: &[u128]) -> Result<u128> {
    words.first().copied().context("an empty answer")
}

fn address(text: &str) -> Result<String> {
    let hex = text.strip_prefix("0x").context("not an address")?;
    ensure!(hex.len() == 40, "not an address: {text}");
    Ok(format!("{:0>64}", hex.to_lowercase()))
}
