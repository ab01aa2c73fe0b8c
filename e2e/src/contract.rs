//! The contract as anybody may read it: bare `eth_call`s, decoded by hand, so that no code of the product vouches for its own sums.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::network::Network;
use crate::rpc::Rpc;

// First four bytes of keccak256 of the signature, as `forge selectors` lists them.
const FREE_OF: &str = "33e25bb9";
const BALANCE_OF: &str = "70a08231";
const AGREEMENT_COUNT: &str = "bb7bb278";
const LENS: &str = "112666b7";
const COURT: &str = "00971a30";
const LEASE: &str = "51d9f900";
pub(crate) const JOB: &str = "8514801e";

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
    pub(crate) lens: String,
    /// Where disputes are.
    pub(crate) court: String,
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
        let known = network.known()?;
        let address = |name: &str| Ok::<_, anyhow::Error>(known[name].as_str().context("no address")?.to_owned());
        let (rpc, contract, token) = (network.rpc()?, address("contract")?, address("token")?);
        let lens = branch(&rpc, &contract, LENS)?;
        let court = branch(&rpc, &contract, COURT)?;
        Ok(Self { rpc, contract, token, lens, court })
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

    pub(crate) fn read(&self, to: &str, selector: &str, argument: &str) -> Result<Vec<u128>> {
        Ok(self.words(to, selector, argument)?.iter().map(|word| low_half(word)).collect())
    }

    /// What a call returns, each word as 64 hex digits.
    pub(crate) fn words(&self, to: &str, selector: &str, argument: &str) -> Result<Vec<String>> {
        let hex = ask(&self.rpc, to, selector, argument)?;
        Ok((0..hex.len()).step_by(64).map(|at| hex[at..at + 64].to_owned()).collect())
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
pub(crate) fn low_half(word: &str) -> u128 {
    u128::from_str_radix(&word[32..], 16).expect("the node answers in hex")
}

fn first(words: &[u128]) -> Result<u128> {
    words.first().copied().context("an empty answer")
}

pub(crate) fn address(text: &str) -> Result<String> {
    let hex = text.strip_prefix("0x").context("not an address")?;
    ensure!(hex.len() == 40, "not an address: {text}");
    Ok(format!("{:0>64}", hex.to_lowercase()))
}
