// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title Play money for local and test networks
/// @notice ERC-20 with ERC-2612 permits. Anybody may mint up to `FAUCET_CAP` to any account, in one go or many.
contract SubletToken is ERC20, ERC20Permit {
    /// @notice Most an account can ever get from the faucet: a million tokens.
    uint256 public constant FAUCET_CAP = 1_000_000e18;

    /// @notice What an account got from the faucet so far.
    mapping(address account => uint256) public minted;

    error FaucetCapExceeded(address account, uint256 left, uint256 asked);

    constructor() ERC20("Sublet", "SUB") ERC20Permit("Sublet") {}

    /// @notice Mints `amount` to `to`, within its cap.
    function mint(address to, uint256 amount) external {
        uint256 left = FAUCET_CAP - minted[to];
        if (amount > left) revert FaucetCapExceeded(to, left, amount);
        minted[to] += amount;
        _mint(to, amount);
    }
}
