// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Court} from "../Court.sol";
import {Fit} from "../Fit.sol";
import {Gateways} from "../Gateways.sol";
import {Lens} from "../Lens.sol";
import {Orders} from "../Orders.sol";
import {ICourt} from "../interfaces/ICourt.sol";
import {IFit} from "../interfaces/IFit.sol";
import {IOrders} from "../interfaces/IOrders.sol";
import {ISublet} from "../interfaces/ISublet.sol";
import {ITrunk} from "../interfaces/ITrunk.sol";
import {Accounts} from "./Accounts.sol";

/// @notice Deploys the contracts that do not have to be this one, and keeps their money. They come and go with this
/// contract: no order of deployment, no later wiring, nobody who could replace one.
abstract contract Branches is ISublet, Accounts {
    ICourt internal immutable _court;
    IOrders internal immutable _orders;
    IFit internal immutable _fit;
    address private immutable _gateways;
    address private immutable _lens;

    constructor() {
        ISublet trunk = ISublet(address(this));
        _court = new Court(trunk);
        _orders = new Orders(trunk);
        _fit = new Fit();
        _gateways = address(new Gateways(trunk));
        _lens = address(new Lens(trunk));
    }

    /// @inheritdoc ITrunk
    function take(address account, uint128 amount) external {
        _requireBranch();
        _debit(account, amount);
        _credit(msg.sender, amount);
        emit Taken(msg.sender, account, amount);
    }

    /// @inheritdoc ITrunk
    function give(address account, uint128 amount) external {
        _requireBranch();
        _debit(msg.sender, amount);
        _credit(account, amount);
        emit Given(msg.sender, account, amount);
    }

    /// @inheritdoc ISublet
    function court() external view returns (address) {
        return address(_court);
    }

    /// @inheritdoc ISublet
    function gateways() external view returns (address) {
        return _gateways;
    }

    /// @inheritdoc ISublet
    function orders() external view returns (address) {
        return address(_orders);
    }

    /// @inheritdoc ISublet
    function lens() external view returns (address) {
        return _lens;
    }

    /// @inheritdoc ISublet
    function fit() external view returns (address) {
        return address(_fit);
    }

    function _requireCourt() internal view {
        if (msg.sender != address(_court)) revert BranchOnly(msg.sender);
    }

    /// The two that hold money.
    function _requireBranch() private view {
        if (msg.sender != address(_court) && msg.sender != _gateways) revert BranchOnly(msg.sender);
    }
}
