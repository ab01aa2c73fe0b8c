//! The contracts as the chain sees them, generated from the committed `contracts/abi`. Nothing outside this package sees these types.
#![allow(missing_docs, unreachable_pub, clippy::too_many_arguments, clippy::pub_underscore_fields)]

use alloy::sol;

sol!(
    #[derive(Debug, PartialEq, Eq)]
    Sublet,
    "../../contracts/abi/Sublet.json"
);

sol!(
    #[derive(Debug, PartialEq, Eq)]
    SubletToken,
    "../../contracts/abi/SubletToken.json"
);
