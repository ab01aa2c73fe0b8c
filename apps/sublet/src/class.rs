//! How a job's result will be checked: what its module wants, what the renter says, and which mediators there are.

use std::collections::BTreeSet;

use anyhow::Result;
use sublet_base::Amount;
use sublet_chain::{Ledger, MediatorSetRecord};
use sublet_market::{Class, MediatorSetId, sums};

use crate::offers::fitting;
use crate::output::refuse;
use crate::session::Session;
use crate::wish::{Check, Wish};

/// What the renter said about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) class: Option<Class>,
    pub(crate) mediators: Option<u64>,
}

/// Decides how a job of a module of class `wants` goes out. What the renter named is held to; else the set that the offers
/// on the book name, if there is one.
pub(crate) async fn choose(session: &Session, wish: &Wish, wants: Class, said: Said) -> Result<Check> {
    match (said.class.unwrap_or(wants), said.mediators) {
        (Class::None, None) => Ok(Check::none()),
        (Class::None, Some(set)) => refuse(
            format!("set {set} of mediators would have nothing to judge: the job is of class none"),
            "say `--class exact` if running it twice gives the same bytes",
        ),
        (Class::Exact, Some(set)) => {
            let set = MediatorSetId(set);
            let known = session.ledger.mediator_set(set).await?;
            serves(set, known.as_ref()).or_else(|why| {
                refuse(why, "name another set with --mediators, or say `--class none` to go without judges")
            })?;
            Ok(Check::exact(set, known.map_or(Amount::ZERO, |known| known.fees())))
        }
        (Class::Exact, None) => match offered(session, wish).await? {
            Ok(check) => Ok(check),
            Err(why) if said.class.is_some() => refuse(
                format!("class exact needs mediators, but {why}"),
                "name a set with --mediators, or say `--class none` to go without",
            ),
            Err(why) => Ok(Check { unchecked: Some(why), ..Check::none() }),
        },
    }
}

/// The mediators that the cheapest offer names whose mediators can judge, within the price; else why there are none. Offers without
/// mediators, however cheap, keep no job from being judged.
async fn offered(session: &Session, wish: &Wish) -> Result<Result<Check, String>> {
    let mut why = "no offer that fits names mediators".to_owned();
    let mut tried = BTreeSet::from([MediatorSetId(0)]);
    for listed in fitting(session, wish).await? {
        let set = listed.offer.mediator_set;
        if wish.max_price.is_some_and(|max| listed.offer.price > max) || tried.contains(&set) {
            continue;
        }
        let known = session.ledger.mediator_set(set).await?;
        let fees = known.as_ref().map_or(Amount::ZERO, MediatorSetRecord::fees);
        match serves(set, known.as_ref()) {
            // The contract opens no exact job whose pledge would not pay the panel.
            Ok(()) if listed.pledge(wish) < Some(fees) => {
                why = format!("the pledge for this job is less than the {fees} SUB of a panel");
            }
            Ok(()) => return Ok(Ok(Check::exact(set, fees))),
            Err(reason) => {
                tried.insert(set);
                why = reason;
            }
        }
    }
    Ok(Err(why))
}

/// Whether enough members serve for a dispute to have a verdict.
fn serves(set: MediatorSetId, known: Option<&MediatorSetRecord>) -> Result<(), String> {
    let Some(known) = known else { return Err(format!("there is no set {} of mediators", set.0)) };
    let majority = sums::majority(known.panel_size);
    let joined = known.joined.len();
    if joined >= majority {
        Ok(())
    } else {
        Err(format!(
            "of set {} only {joined} of {} mediators serve; a verdict takes {majority}",
            set.0,
            known.members.len()
        ))
    }
}

#[cfg(test)]
mod tests {
    use sublet_base::Address;

    use super::*;

    #[test]
    fn a_set_needs_as_many_as_a_verdict_takes() {
        let member = Address::repeat_byte;
        let set = |joined: &[Address]| MediatorSetRecord {
            members: (1..=5).map(member).collect(),
            joined: joined.to_vec(),
            panel_size: 3,
            fee: Amount(1),
        };
        let of = |joined: &[Address]| serves(MediatorSetId(4), Some(&set(joined)));
        assert_eq!(of(&[member(1), member(5)]), Ok(()));
        let why = of(&[member(1)]).expect_err("one is too few");
        assert_eq!(why, "of set 4 only 1 of 5 mediators serve; a verdict takes 2");
        assert!(serves(MediatorSetId(9), None).is_err());
    }
}
