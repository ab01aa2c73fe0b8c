//! Both sides count their enums alike: the order in `contracts/src/Types.sol` is the one we read numbers by.

use std::fmt::Debug;

use sublet_chain::{DisputeStage, JobEnd, JobState, LeaseEnd, LeaseState, SeatStage};
use sublet_market::{Class, Kind, Verdict};

const TYPES: &str = include_str!("../../../contracts/src/Types.sol");

/// Every enum of the contracts with its words, in order.
fn enums() -> Vec<(String, Vec<String>)> {
    let code: String = TYPES.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let after = code.split("enum ").skip(1);
    after
        .map(|text| {
            let (name, rest) = text.split_once('{').expect("an enum has a body");
            let (body, _) = rest.split_once('}').expect("a body ends");
            (name.trim().to_owned(), body.split(',').map(|word| word.trim().to_owned()).collect())
        })
        .collect()
}

/// True if the enum of this name is counted as the contract counts it.
fn agrees<T: TryFrom<u8> + Debug>(words: &[String]) -> bool {
    let read = |code: usize| u8::try_from(code).ok().and_then(|code| T::try_from(code).ok());
    let ours: Vec<String> = (0..words.len()).filter_map(read).map(|word| format!("{word:?}")).collect();
    ours == words && read(words.len()).is_none()
}

#[test]
fn every_enum_has_the_contracts_words_in_the_contracts_order() {
    let enums = enums();
    assert_eq!(enums.len(), 9, "{enums:?}");
    for (name, words) in &enums {
        let agrees = match name.as_str() {
            "Kind" => agrees::<Kind>(words),
            "Class" => agrees::<Class>(words),
            "LeaseState" => agrees::<LeaseState>(words),
            "LeaseEnd" => agrees::<LeaseEnd>(words),
            "JobState" => agrees::<JobState>(words),
            "JobEnd" => agrees::<JobEnd>(words),
            "Verdict" => agrees::<Verdict>(words),
            "DisputeStage" => agrees::<DisputeStage>(words),
            "SeatStage" => agrees::<SeatStage>(words),
            _ => panic!("an enum nobody reads: {name}"),
        };
        assert!(agrees, "{name} is {words:?} in the contracts");
    }
}
