//! The checks a document passes before it is on the book: cheap ones first, then what the chain knows.

use sublet_base::{Address, Amount, B256, Seconds, UnixTime};
use sublet_chain::ReadError;
use sublet_market::{Order, Signature, SignedOffer, SignedOrder, TypedData, check_key_signature};
use sublet_wire::solver::Refusal;

use crate::desk::Desk;
use crate::refuse;

/// Checks on behalf of a desk.
pub(crate) struct Intake<'a> {
    pub(crate) desk: &'a Desk,
}

fn lost(error: ReadError) -> Refusal {
    refuse::chain_unavailable(&error)
}

impl Intake<'_> {
    /// Checks an offer; returns how many agreements it has open.
    pub(crate) async fn check_offer(&self, hash: B256, signed: &SignedOffer) -> Result<u32, Refusal> {
        let ledger = &self.desk.ledger;
        let offer = &signed.offer;
        let now = self.check_validity(offer.valid_until, self.desk.config.max_offer_validity).await?;
        self.check_signature(offer, &signed.signature, offer.provider).await?;
        self.desk.take_turn(offer.provider)?;
        let facts = ledger.provider(offer.provider).await.map_err(lost)?;
        let registered = facts.is_some();
        let heard = |last_beat: UnixTime| now.since(last_beat) <= u64::from(ledger.rules().max_gap.0);
        let Some(facts) = facts.filter(|facts| facts.online && heard(facts.last_beat)) else {
            return Err(refuse::provider_offline(offer.provider, registered));
        };
        if facts.epoch != offer.epoch {
            return Err(refuse::old_epoch(offer.epoch, facts.epoch));
        }
        if ledger.is_offer_cancelled(offer.provider, hash).await.map_err(lost)? {
            return Err(refuse::cancelled());
        }
        let open = ledger.open_count(hash).await.map_err(lost)?;
        // One agreement of the shortest kind must be possible; more is looked at when matching.
        let shortest = offer.min_duration.max(Seconds(1));
        let needed = offer.pledge(shortest).map_err(|e| refuse::malformed(e.to_string()))?;
        let free = ledger.free_of(offer.provider).await.map_err(lost)?;
        if open == 0 && free < needed {
            return Err(refuse::balance_too_low(offer.provider, free, needed));
        }
        Ok(open)
    }

    /// Checks an order; returns what its renter has free.
    pub(crate) async fn check_order(&self, signed: &SignedOrder) -> Result<Amount, Refusal> {
        let ledger = &self.desk.ledger;
        let order = &signed.order;
        self.check_validity(order.valid_until, self.desk.config.max_order_validity).await?;
        if order.solver != Address::ZERO && order.solver != self.desk.account {
            return Err(refuse::other_solver(order.solver, self.desk.account));
        }
        if order.solver_fee < self.desk.config.min_fee {
            return Err(refuse::fee_too_low(order.solver_fee, self.desk.config.min_fee));
        }
        self.check_signature(order, &signed.signature, order.renter).await?;
        self.desk.take_turn(order.renter)?;
        if ledger.is_nonce_used(order.renter, order.nonce).await.map_err(lost)? {
            return Err(refuse::nonce_used());
        }
        let needed = order.most_locked().map_err(|e| refuse::malformed(e.to_string()))?;
        let free = ledger.free_of(order.renter).await.map_err(lost)?;
        if free < needed { Err(refuse::balance_too_low(order.renter, free, needed)) } else { Ok(free) }
    }

    async fn check_validity(&self, valid_until: UnixTime, longest: Seconds) -> Result<UnixTime, Refusal> {
        let now = self.desk.ledger.head().await.map_err(lost)?.time;
        if valid_until <= now {
            Err(refuse::expired(valid_until, now))
        } else if valid_until > now.plus(longest) {
            Err(refuse::too_far_ahead(longest))
        } else {
            Ok(now)
        }
    }

    /// By the contract's rule: a key's signature first, then what the account's own contract says (ERC-1271).
    pub(crate) async fn check_signature(
        &self,
        document: &impl TypedData,
        signature: &Signature,
        author: Address,
    ) -> Result<(), Refusal> {
        let ledger = &self.desk.ledger;
        let domain = ledger.domain();
        if check_key_signature(document, &domain, signature, author).is_ok() {
            return Ok(());
        }
        let digest = document.signing_hash(&domain);
        match ledger.is_contract_signature(author, digest, signature).await.map_err(lost)? {
            true => Ok(()),
            false => Err(refuse::wrong_signature(author, &domain)),
        }
    }

    /// Why an order that was placed on chain is not for this book, if it is not. Its money is looked at when matching:
    /// nobody is there to be told.
    pub(crate) async fn misplaced(&self, order: &Order) -> Result<Option<String>, ReadError> {
        let ledger = &self.desk.ledger;
        if let Err(error) = order.check() {
            return Ok(Some(error.to_string()));
        }
        if order.solver != Address::ZERO && order.solver != self.desk.account {
            return Ok(Some(format!("it names the solver {}", order.solver)));
        }
        if order.solver_fee < self.desk.config.min_fee {
            return Ok(Some(format!(
                "it pays {}, this solver asks for {}",
                order.solver_fee, self.desk.config.min_fee
            )));
        }
        // It cost gas, and nobody posts it again when it has come closer: it may wait as long as an offer.
        let (now, longest) = (ledger.head().await?.time, self.desk.config.max_offer_validity);
        if order.valid_until <= now {
            return Ok(Some("it is past its validity".to_owned()));
        }
        if order.valid_until > now.plus(longest) {
            return Ok(Some(format!("it is valid for longer than the {longest} this solver keeps documents")));
        }
        let used = ledger.is_nonce_used(order.renter, order.nonce).await?;
        Ok(used.then(|| "it is filled or cancelled".to_owned()))
    }
}
