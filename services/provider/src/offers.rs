//! The provider's offers: what should be on the books, and whether what is signed still says so.

use serde::{Deserialize, Serialize};
use sublet_base::{Address, B256, Seconds, UnixTime};
use sublet_market::{Offer, SignedOffer};
use sublet_wire::host::HostReport;
use sublet_wire::workload::room;

use crate::config::OfferConfig;

/// An offer that was signed. Kept by its hash for as long as an agreement may refer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Signed {
    /// As posted.
    pub(crate) offer: SignedOffer,
    /// What the contract calls it.
    pub(crate) hash: B256,
    /// Which of the configured offers it is.
    pub(crate) name: String,
}

/// What to do about one configured offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// What is signed still stands.
    Keep,
    /// Sign this one; cancel the other first, so that both together never promise more than there is.
    Replace {
        /// To sign.
        with: Box<Offer>,
        /// To cancel on chain, if it still counts.
        cancel: Option<B256>,
    },
    /// The host has no room for even one.
    NoRoom,
}

/// How many agreements a host has room for, when `shares` offers divide it; none if no driver of it works.
pub(crate) fn capacity(host: &HostReport, wanted: &OfferConfig, shares: usize) -> u32 {
    if !host.drivers.is_empty() && host.drivers.iter().all(|driver| driver.state.is_err()) {
        return 0;
    }
    let shares = u32::try_from(shares.max(1)).unwrap_or(u32::MAX);
    let room = room(&host.total, &wanted.resources, wanted.kind);
    // A small host serves whichever comes first; the agent rejects what then finds no room.
    if room == 0 { 0 } else { (room / shares).max(1) }
}

/// Who signs, in which epoch, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signing {
    pub(crate) provider: Address,
    pub(crate) epoch: u64,
    pub(crate) now: UnixTime,
    pub(crate) validity: Seconds,
}

/// Compares what is signed with what is wanted.
pub(crate) fn step(config: &OfferConfig, capacity: u32, signing: Signing, signed: Option<&Signed>) -> Step {
    let capacity = config.capacity.unwrap_or(capacity);
    if capacity == 0 {
        return Step::NoRoom;
    }
    let wanted = offer(config, capacity, signing);
    let Some(signed) = signed else {
        return Step::Replace { with: Box::new(wanted), cancel: None };
    };
    let old = &signed.offer.offer;
    let same = Offer { valid_until: wanted.valid_until, ..old.clone() } == wanted;
    let fresh = old.valid_until.since(signing.now) > u64::from(signing.validity.0 / 4);
    if same && fresh {
        return Step::Keep;
    }
    let counts = old.epoch == signing.epoch && old.valid_until >= signing.now;
    Step::Replace { with: Box::new(wanted), cancel: counts.then_some(signed.hash) }
}

/// The offer a configuration stands for.
pub(crate) fn offer(config: &OfferConfig, capacity: u32, signing: Signing) -> Offer {
    Offer {
        provider: signing.provider,
        kind: config.kind,
        resources: config.resources,
        price: config.price,
        pledge_bps: config.pledge_bps,
        capacity,
        min_duration: config.min_duration,
        max_duration: config.max_duration,
        start_within: config.start_within,
        notice: config.notice,
        min_charge: config.min_charge,
        mediator_set: config.mediator_set,
        max_challenge_window: config.max_challenge_window,
        valid_until: signing.now.plus(signing.validity),
        epoch: signing.epoch,
    }
}

#[cfg(test)]
mod tests {
    use sublet_base::{GiB, MiB, Price, Vcpus};
    use sublet_market::Kind;

    use super::*;

    fn config() -> OfferConfig {
        let json = serde_json::json!({ "name": "small", "kind": "lease", "price": "5",
            "resources": { "vcpus": 1, "memory_mib": 512, "disk_gib": 4 } });
        serde_json::from_value(json).expect("a configuration")
    }

    fn signing(now: u64) -> Signing {
        Signing { provider: Address::repeat_byte(1), epoch: 0, now: UnixTime(now), validity: Seconds(1_000) }
    }

    fn sign(step: Step) -> Signed {
        let Step::Replace { with, .. } = step else { panic!("{step:?}") };
        let signature = "0x00".parse().expect("hex");
        Signed { offer: SignedOffer { offer: *with, signature }, hash: B256::repeat_byte(9), name: "small".into() }
    }

    #[test]
    fn an_offer_is_signed_once_and_renewed_in_time() {
        let signed = sign(step(&config(), 3, signing(10_000), None));
        assert_eq!((signed.offer.offer.capacity, signed.offer.offer.valid_until), (3, UnixTime(11_000)));
        assert_eq!(signed.offer.offer.check(), Ok(()));
        assert_eq!(step(&config(), 3, signing(10_700), Some(&signed)), Step::Keep);
        let renewed = step(&config(), 3, signing(10_750), Some(&signed));
        assert!(matches!(renewed, Step::Replace { cancel: Some(hash), .. } if hash == signed.hash), "{renewed:?}");
    }

    #[test]
    fn what_changed_replaces_and_cancels_what_was_signed() {
        let signed = sign(step(&config(), 3, signing(10_000), None));
        let dearer = OfferConfig { price: Price(6), ..config() };
        assert!(matches!(step(&dearer, 3, signing(10_001), Some(&signed)), Step::Replace { cancel: Some(_), .. }));
        assert!(matches!(step(&config(), 4, signing(10_001), Some(&signed)), Step::Replace { cancel: Some(_), .. }));
        let next_epoch = Signing { epoch: 1, ..signing(10_001) };
        assert!(matches!(step(&config(), 3, next_epoch, Some(&signed)), Step::Replace { cancel: None, .. }));
        assert_eq!(step(&config(), 0, signing(10_001), Some(&signed)), Step::NoRoom);
        assert_eq!(config().kind, Kind::Lease);
    }

    #[test]
    fn shares_of_a_host_never_add_up_to_more_than_it() {
        let size = |vcpus, memory| sublet_machine::Resources {
            vcpus: Vcpus(vcpus),
            memory: MiB(memory),
            disk: GiB(100),
            pids: 1 << 20,
        };
        let host = HostReport { total: size(8, 4096), free: size(0, 0), drivers: vec![] };
        assert_eq!(capacity(&host, &config(), 1), 8);
        assert_eq!(capacity(&host, &config(), 3), 2);
        let mut huge = config();
        huge.resources.vcpus = Vcpus(9);
        assert_eq!(capacity(&host, &huge, 1), 0);
        let no = sublet_machine::Unusable { reason: "no".into(), remedy: "none".into() };
        let driver = sublet_wire::host::DriverReport { kind: sublet_machine::DriverKind::Qemu, state: Err(no) };
        assert_eq!(capacity(&HostReport { drivers: vec![driver], ..host }, &config(), 1), 0);
    }
}
