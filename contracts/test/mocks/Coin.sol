// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice Six decimals, as much of it as anybody asks for, and a list of accounts that are neither paid nor charged.
contract Coin is ERC20("Coin", "COIN") {
    error CoinBlocked(address account);

    mapping(address account => bool) public blocked;

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function setBlocked(address account, bool to) external {
        blocked[account] = to;
    }

    function _update(address from, address to, uint256 value) internal override {
        if (blocked[from]) revert CoinBlocked(from);
        if (blocked[to]) revert CoinBlocked(to);
        super._update(from, to, value);
    }
}
