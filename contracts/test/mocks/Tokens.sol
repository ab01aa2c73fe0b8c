// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

import {ISublet} from "../../src/interfaces/ISublet.sol";

/// @notice Takes one unit of every transfer.
contract FeeToken is ERC20("Fee", "FEE") {
    constructor(address to) {
        _mint(to, 1e18);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (from != address(0) && to != address(0)) super._update(to, address(0xFEE), 1);
    }
}

/// @notice Six decimals, and refuses to pay blocked accounts.
contract BlockToken is ERC20("Block", "BLK") {
    mapping(address => bool) public blocked;

    constructor(address to) {
        _mint(to, 1e18);
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function block_(address account) external {
        blocked[account] = true;
    }

    function _update(address from, address to, uint256 value) internal override {
        require(!blocked[to], "blocked");
        super._update(from, to, value);
    }
}

/// @notice Calls back into the market in the middle of a transfer, as tokens with hooks do.
contract HookToken is ERC20("Hook", "HOO") {
    address public target;
    bytes public data;
    bytes public answer;

    constructor(address to) {
        _mint(to, 1e18);
    }

    function hook(address target_, bytes calldata data_) external {
        (target, data) = (target_, data_);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (target == address(0)) return;
        (address called, bytes memory sent) = (target, data);
        target = address(0);
        bool ok;
        (ok, answer) = called.call(sent);
        require(!ok, "re-entered");
    }
}

/// @notice Says that every transfer went well, and credits what it likes.
contract LyingToken is ERC20("Liar", "LIE") {
    uint256 private _credit;

    function setCredit(uint256 credit) external {
        _credit = credit;
    }

    function transferFrom(address, address to, uint256) public override returns (bool) {
        _mint(to, _credit);
        return true;
    }
}
