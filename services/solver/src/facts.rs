//! What the chain says of accounts and of sets of mediators, asked once a block.

use std::collections::{BTreeSet, HashMap};

use futures_util::{StreamExt, TryStreamExt, stream};
use sublet_base::{Address, Amount};
use sublet_chain::{BlockRef, Ledger, ReadError};
use sublet_market::MediatorSetId;
use sublet_matching::{Account, Provider};

/// Questions to the chain at once.
const QUESTIONS: usize = 8;

/// Answers as of one block.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    at: Option<BlockRef>,
    accounts: HashMap<Address, Account>,
    /// With what a panel costs; nothing for a set that does not exist.
    sets: HashMap<MediatorSetId, Option<Amount>>,
}

impl Facts {
    /// Forgets what is older than this block.
    pub(crate) fn renew(&mut self, head: BlockRef) {
        if self.at != Some(head) {
            *self = Self { at: Some(head), ..Self::default() };
        }
    }

    /// The accounts, those of `providers` with their records.
    pub(crate) async fn accounts(
        &mut self,
        ledger: &dyn Ledger,
        renters: &BTreeSet<Address>,
        providers: &BTreeSet<Address>,
    ) -> Result<impl Iterator<Item = (Address, Account)> + '_, ReadError> {
        // One that was only a renter when it was asked about is asked about again.
        let unknown = |address: &&Address| match self.accounts.get(*address) {
            Some(known) => known.provider.is_none() && providers.contains(*address),
            None => true,
        };
        let unknown: Vec<Address> = renters.union(providers).filter(unknown).copied().collect();
        let asking = stream::iter(unknown).map(|address| ask(ledger, address, providers.contains(&address)));
        let answers: Vec<_> = asking.buffer_unordered(QUESTIONS).try_collect().await?;
        self.accounts.extend(answers);
        Ok(self.accounts.iter().map(|(address, account)| (*address, *account)))
    }

    /// What a panel of each of these sets costs; those that do not exist are left out.
    pub(crate) async fn panel_fees(
        &mut self,
        ledger: &dyn Ledger,
        sets: BTreeSet<MediatorSetId>,
    ) -> Result<Vec<(MediatorSetId, Amount)>, ReadError> {
        let mut fees = Vec::new();
        for set in sets {
            let known = match self.sets.get(&set) {
                Some(known) => *known,
                None => ledger.mediator_set(set).await?.map(|record| record.fees()),
            };
            self.sets.insert(set, known);
            fees.extend(known.map(|fee| (set, fee)));
        }
        Ok(fees)
    }
}

async fn ask(ledger: &dyn Ledger, address: Address, provides: bool) -> Result<(Address, Account), ReadError> {
    let free = ledger.free_of(address).await?;
    let record = if provides { ledger.provider(address).await? } else { None };
    let provider = record.map(|r| Provider { online: r.online, last_beat: r.last_beat, epoch: r.epoch });
    Ok((address, Account { free, provider }))
}
