// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Bonds} from "./Bonds.sol";
import {GatewayView} from "./Types.sol";
import {IGateways} from "./interfaces/IGateways.sol";
import {ITrunk} from "./interfaces/ITrunk.sol";

/// @title Gateways
/// @notice The branch that lists relays; see `IGateways`.
contract Gateways is IGateways, Bonds {
    /// @inheritdoc IGateways
    uint40 public constant STALE_AFTER = 10 minutes;
    /// @inheritdoc IGateways
    uint256 public constant MAX_URL = 256;
    /// @inheritdoc IGateways
    uint256 public constant MAX_REGION = 32;

    struct Gateway {
        uint40 lastBeat;
        /// Place in `_all`, from 1.
        uint40 place;
        bytes32 peerKey;
        string url;
        string region;
    }

    mapping(address gateway => Gateway) private _gateways;
    address[] private _all;

    constructor(ITrunk trunk) Bonds(trunk) {}

    /// @inheritdoc IGateways
    function registerGateway(bytes32 peerKey, string calldata url, string calldata region, uint128 bond) external {
        if (peerKey == 0) revert GatewayZeroPeerKey();
        _requireLength("url", bytes(url).length, MAX_URL);
        _requireLength("region", bytes(region).length, MAX_REGION);
        Gateway storage g = _gateways[msg.sender];
        if (g.place == 0) {
            _all.push(msg.sender);
            g.place = uint40(_all.length);
        }
        (g.lastBeat, g.peerKey, g.url, g.region) = (uint40(block.timestamp), peerKey, url, region);
        emit GatewayRegistered(msg.sender, peerKey, url, region);
        _post(bond);
    }

    /// @inheritdoc IGateways
    function beat() external {
        _requireActive();
        _gateways[msg.sender].lastBeat = uint40(block.timestamp);
        emit GatewayBeat(msg.sender);
    }

    /// @inheritdoc IGateways
    function retireGateway() external {
        _retire();
    }

    /// @inheritdoc IGateways
    function gatewayOf(address gateway) public view returns (GatewayView memory v) {
        Gateway storage g = _gateways[gateway];
        if (g.place == 0) return v;
        Bond storage b = _bonds[gateway];
        (v.gateway, v.peerKey, v.url, v.region) = (gateway, g.peerKey, g.url, g.region);
        (v.bond, v.lastBeat, v.retiredAt) = (b.amount, g.lastBeat, b.retiredAt);
        v.online = b.retiredAt == 0 && block.timestamp - g.lastBeat <= STALE_AFTER;
    }

    /// @inheritdoc IGateways
    function gatewayCount() external view returns (uint256) {
        return _all.length;
    }

    /// @inheritdoc IGateways
    function gatewaysFrom(uint256 start, uint256 most) external view returns (GatewayView[] memory some) {
        uint256 count = _all.length;
        uint256 left = start < count ? count - start : 0;
        some = new GatewayView[](most < left ? most : left);
        for (uint256 i; i < some.length; ++i) {
            some[i] = gatewayOf(_all[start + i]);
        }
    }

    function _requireLength(bytes32 what, uint256 length, uint256 max) private pure {
        if (length == 0 || length > max) revert GatewayBadLength(what, length, max);
    }

    /// The last of the list moves into the free place, so that no reading of it grows with those that left.
    function _forget(address account) internal override {
        uint40 place = _gateways[account].place;
        address last = _all[_all.length - 1];
        (_all[place - 1], _gateways[last].place) = (last, place);
        _all.pop();
        delete _gateways[account];
    }
}
