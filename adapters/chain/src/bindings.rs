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
    Court,
    "../../contracts/abi/Court.json"
);

sol!(
    #[derive(Debug, PartialEq, Eq)]
    Gateways,
    "../../contracts/abi/Gateways.json"
);

sol!(
    #[derive(Debug, PartialEq, Eq)]
    Orders,
    "../../contracts/abi/Orders.json"
);

sol!(
    #[derive(Debug, PartialEq, Eq)]
    Lens,
    "../../contracts/abi/Lens.json"
);

sol!(
    #[derive(Debug, PartialEq, Eq)]
    SubletToken,
    "../../contracts/abi/SubletToken.json"
);

sol!(
    #[derive(Debug, PartialEq, Eq)]
    OnChainCowsay,
    "../../contracts/abi/OnChainCowsay.json"
);

sol! {
    /// A contract that signs (ERC-1271).
    interface Erc1271 {
        function isValidSignature(bytes32 hash, bytes signature) external view returns (bytes4 magic);
    }
}
