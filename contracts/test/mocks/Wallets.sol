// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {ISublet} from "../../src/interfaces/ISublet.sol";

/// @notice A contract account (ERC-1271) with one key; it has no way to receive ether, nor to be asked anything else.
contract Wallet {
    address private immutable _owner;

    constructor(address owner) {
        _owner = owner;
    }

    function deposit(ISublet sublet, IERC20 token, uint128 amount) external {
        token.approve(address(sublet), amount);
        sublet.deposit(amount);
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view virtual returns (bytes4) {
        return ECDSA.recover(hash, signature) == _owner ? this.isValidSignature.selector : bytes4(0);
    }
}

/// @notice Burns all the gas it is given when asked for its signature.
contract GasEater {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        while (true) {}
        return 0;
    }
}

/// @notice Forwards any call: what a victim might be talked into using.
contract Forwarder {
    function forward(address target, bytes calldata data) external returns (bool ok, bytes memory answer) {
        (ok, answer) = target.call(data);
    }
}
