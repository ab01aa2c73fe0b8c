// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Bonds} from "./Bonds.sol";
import {Disputes} from "./court/Disputes.sol";
import {ITrunk} from "./interfaces/ITrunk.sol";

/// @title Court
/// @notice The branch that hears disputed jobs; see `ICourt` for every rule and `court/` for the parts.
contract Court is Disputes {
    constructor(ITrunk trunk) Bonds(trunk) {
        // Where no hash is ever known, no panel could be drawn and a disputed job would hold its money for ever.
        if (blockhash(block.number - 1) == 0) revert CourtWithoutBlockHashes();
    }
}
