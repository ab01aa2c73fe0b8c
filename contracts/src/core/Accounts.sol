// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {ISublet} from "../interfaces/ISublet.sol";

/// @notice Free balances, and the only place where tokens come in and go out.
abstract contract Accounts is ISublet, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    IERC20 private immutable _token;

    mapping(address account => uint256) private _free;

    constructor(IERC20 token_) {
        if (address(token_) == address(0)) revert AccountZeroAddress();
        _token = token_;
    }

    /// @inheritdoc ISublet
    function deposit(uint128 amount) external nonReentrant {
        _deposit(msg.sender, amount);
    }

    /// @inheritdoc ISublet
    function depositFor(address account, uint128 amount) external nonReentrant {
        _requireSomebody(account);
        _deposit(account, amount);
    }

    /// @inheritdoc ISublet
    function depositWithPermit(uint128 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external nonReentrant {
        // Anyone may have sent the permit first; then the allowance is there, or the transfer below fails.
        try IERC20Permit(address(_token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        _deposit(msg.sender, amount);
    }

    /// @inheritdoc ISublet
    function withdraw(uint128 amount) external nonReentrant {
        _withdraw(msg.sender, amount);
    }

    /// @inheritdoc ISublet
    function withdrawTo(address to, uint128 amount) external nonReentrant {
        _requireSomebody(to);
        _withdraw(to, amount);
    }

    /// @inheritdoc ISublet
    function freeOf(address account) public view returns (uint256) {
        return _free[account];
    }

    /// @inheritdoc ISublet
    function token() external view returns (address) {
        return address(_token);
    }

    function _credit(address account, uint256 amount) internal {
        if (amount != 0) _free[account] += amount;
    }

    function _debit(address account, uint256 amount) internal {
        uint256 free = _free[account];
        if (free < amount) revert AccountShort(account, free, amount);
        unchecked {
            _free[account] = free - amount;
        }
    }

    function _requireSomebody(address account) private view {
        if (account == address(0)) revert AccountZeroAddress();
        if (account == address(this)) revert AccountIsSublet(account);
    }

    function _deposit(address account, uint128 amount) private {
        if (amount == 0) revert AccountZeroAmount();
        uint256 before = _token.balanceOf(address(this));
        _token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 credited = _token.balanceOf(address(this)) - before;
        if (credited != amount) revert AccountDepositDiffers(amount, credited);
        // After the call on purpose: nothing is credited that did not arrive, and the guard keeps re-entry out.
        _credit(account, amount);
        emit Deposited(account, msg.sender, amount);
    }

    function _withdraw(address to, uint128 amount) private {
        if (amount == 0) revert AccountZeroAmount();
        _debit(msg.sender, amount);
        emit Withdrawn(msg.sender, to, amount);
        _token.safeTransfer(to, amount);
    }
}
