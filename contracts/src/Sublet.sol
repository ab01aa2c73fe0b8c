// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {Accounts} from "./core/Accounts.sol";
import {Guardian} from "./core/Guardian.sol";
import {Opening} from "./core/Opening.sol";

/// @title Sublet
/// @notice The whole market at one address. Not upgradeable, no owner; see `ISublet` for every rule and `core/` for the
/// parts. `guardian` may pause `open` only; pass zero for none.
contract Sublet is Opening {
    constructor(IERC20 token, address guardian) Accounts(token) Guardian(guardian) {}
}
