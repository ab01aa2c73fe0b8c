//! How a job's result will be checked: what its module wants, what the renter says, and which mediators there are.

use anyhow::Result;
use serde::Serialize;
use sublet_base::{Amount, Bps};
use sublet_chain::{Ledger, MediatorSetRecord};
use sublet_market::{Class, MediatorSetId, sums};
use sublet_wire::solver::OfferView;

use crate::ordering::{Wish, fitting};
use crate::output::Advise;
use crate::session::Session;

/// How a job goes out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// The order's class.
    pub(crate) class: Class,
    /// Who judges; 0 for nobody.
    pub(crate) mediator_set: MediatorSetId,
    /// Why nobody judges a result that its module would have judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unchecked: Option<String>,
}

/// What the renter said about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) class: Option<Class>,
    pub(crate) mediators: Option<u64>,
}

impl Check {
    /// Nobody judges, and nobody was meant to.
    pub(crate) fn none() -> Self {
        Self { class: Class::None, mediator_set: MediatorSetId(0), unchecked: None }
    }

    fn exact(mediator_set: MediatorSetId) -> Self {
        Self { class: Class::Exact, mediator_set, unchecked: None }
    }

    /// For people, as one line.
    pub(crate) fn describe(&self) -> String {
        match (&self.unchecked, self.class) {
            (Some(why), _) => format!("judged by nobody: {why}"),
            (None, Class::Exact) => format!("judged by mediators of set {}", self.mediator_set.0),
            (None, Class::None) => "judged by nobody: a result of class none is accepted or refused".to_owned(),
        }
    }
}

/// Decides how a job of a module of class `wants` goes out. What the renter named is held to; else the set that the offers
/// on the book name, if there is one.
pub(crate) async fn choose(session: &Session, wish: &Wish, wants: Class, said: Said) -> Result<Check> {
    match (said.class.unwrap_or(wants), said.mediators) {
        (Class::None, None) => Ok(Check::none()),
        (Class::None, Some(set)) => {
            let idle: Result<Check> =
                Err(anyhow::anyhow!("set {set} of mediators would have nothing to judge: the job is of class none"));
            idle.advise(|| "say `--class exact` if running it twice gives the same bytes".to_owned())
        }
        (Class::Exact, Some(set)) => {
            let set = MediatorSetId(set);
            let known = session.ledger.mediator_set(set).await?;
            serves(set, known.as_ref()).map_err(|why| anyhow::anyhow!(why)).advise(|| {
                "name another set with --mediators, or say `--class none` to go without judges".to_owned()
            })?;
            Ok(Check::exact(set))
        }
        (Class::Exact, None) => match common(session, wish).await? {
            Ok(set) => Ok(Check::exact(set)),
            Err(why) if said.class.is_some() => {
                let nobody: Result<Check> = Err(anyhow::anyhow!("class exact needs mediators, but {why}"));
                nobody.advise(|| "name a set with --mediators, or say `--class none` to go without".to_owned())
            }
            Err(why) => Ok(Check { unchecked: Some(why), ..Check::none() }),
        },
    }
}

/// The set that the cheapest fitting offer names, if all of them name one and it can judge.
async fn common(session: &Session, wish: &Wish) -> Result<Result<MediatorSetId, String>> {
    let offers = fitting(session, wish).await?;
    let sets: Vec<MediatorSetId> = offers.iter().map(|o| MediatorSetId(o.offer.mediator_set)).collect();
    if sets.is_empty() || sets.contains(&MediatorSetId(0)) {
        return Ok(Err("not every offer that fits names mediators".to_owned()));
    }
    let set = sets[0];
    let known = session.ledger.mediator_set(set).await?;
    if let Err(why) = serves(set, known.as_ref()) {
        return Ok(Err(why));
    }
    let fees = known.map_or(Amount::ZERO, |known| known.fees());
    if !covers(&offers[0], wish, fees) {
        return Ok(Err(format!("the pledge for this job is less than the {fees} SUB of a panel")));
    }
    Ok(Ok(set))
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

/// The contract opens no exact job whose pledge would not pay the panel.
fn covers(offer: &OfferView, wish: &Wish, fees: Amount) -> bool {
    let escrow = offer.offer.price.over(wish.duration);
    escrow.and_then(|escrow| sums::pledge(escrow, Bps(offer.offer.pledge_bps))).is_ok_and(|pledge| pledge >= fees)
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

    #[test]
    fn what_is_unchecked_says_so() {
        let check = Check { unchecked: Some("because".into()), ..Check::none() };
        assert_eq!(check.describe(), "judged by nobody: because");
        let json = serde_json::to_value(&check).expect("JSON");
        assert_eq!(json, serde_json::json!({ "class": "none", "mediator_set": 0, "unchecked": "because" }));
        assert_eq!(serde_json::to_value(Check::none()).expect("JSON").get("unchecked"), None);
    }
}
