// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ProviderView} from "../Types.sol";
import {ISublet} from "../interfaces/ISublet.sol";

/// @notice Who rents out, and for how many seconds it was provably up. A beat is one storage write, whatever is leased.
abstract contract Providers is ISublet {
    /// @inheritdoc ISublet
    uint40 public constant MAX_GAP = 10 minutes;
    /// @inheritdoc ISublet
    uint40 public constant FAULT_AFTER = 1 hours;
    /// @inheritdoc ISublet
    uint256 public constant MAX_INFO = 512;

    /// All but the key share a slot, which is all that beats and `open` need.
    struct Standing {
        uint40 uptime;
        uint40 lastBeat;
        uint40 registeredAt;
        uint64 epoch;
        bool online;
        bytes32 peerKey;
    }

    mapping(address provider => Standing) private _providers;

    /// @inheritdoc ISublet
    function registerProvider(bytes32 peerKey, string calldata info) external {
        if (peerKey == 0) revert ProviderZeroPeerKey();
        if (bytes(info).length > MAX_INFO) revert ProviderInfoTooLong(bytes(info).length, MAX_INFO);
        Standing storage p = _providers[msg.sender];
        if (p.registeredAt == 0) {
            p.registeredAt = uint40(block.timestamp);
            p.lastBeat = uint40(block.timestamp);
        }
        p.peerKey = peerKey;
        emit ProviderRegistered(msg.sender, peerKey, info);
    }

    /// @inheritdoc ISublet
    function setOnline(bool online) external {
        _beat(msg.sender);
        _providers[msg.sender].online = online;
        emit ProviderOnline(msg.sender, online);
    }

    /// @inheritdoc ISublet
    function beat() external {
        _beat(msg.sender);
    }

    /// @inheritdoc ISublet
    function bumpEpoch() external {
        uint64 epoch = ++_known(msg.sender).epoch;
        emit EpochBumped(msg.sender, epoch);
    }

    /// @inheritdoc ISublet
    function providerOf(address provider) external view returns (ProviderView memory) {
        Standing storage p = _providers[provider];
        return ProviderView({
            peerKey: p.peerKey,
            online: p.online,
            registeredAt: p.registeredAt,
            lastBeat: p.lastBeat,
            uptime: _uptime(provider),
            epoch: p.epoch
        });
    }

    /// @inheritdoc ISublet
    function uptimeOf(address provider) external view returns (uint64) {
        return _uptime(provider);
    }

    /// Credits the time since the last beat, at most `MAX_GAP`, and returns U(now).
    function _beat(address provider) internal returns (uint40 uptime) {
        Standing storage p = _known(provider);
        uptime = _credited(p.uptime, p.lastBeat);
        p.uptime = uptime;
        p.lastBeat = uint40(block.timestamp);
        emit Beat(provider, uptime);
    }

    /// U(now).
    function _uptime(address provider) internal view returns (uint40) {
        Standing storage p = _providers[provider];
        return p.registeredAt == 0 ? 0 : _credited(p.uptime, p.lastBeat);
    }

    /// When the provider last beat, and U at that time.
    function _lastBeat(address provider) internal view returns (uint40 when, uint40 uptime) {
        Standing storage p = _providers[provider];
        return (p.lastBeat, p.uptime);
    }

    /// Refuses a provider that cannot take an agreement under an offer of `epoch` now.
    function _requireTaking(address provider, uint64 epoch) internal view {
        Standing storage p = _known(provider);
        if (!p.online) revert ProviderIsOffline(provider);
        _requireFresh(provider);
        if (epoch != p.epoch) revert OfferEpochOver(epoch, p.epoch);
    }

    /// Refuses a provider whose last beat vouches for nothing any more.
    function _requireFresh(address provider) internal view {
        uint40 lastBeat = _providers[provider].lastBeat;
        if (block.timestamp - lastBeat > MAX_GAP) revert ProviderStale(provider, lastBeat);
    }

    function _known(address provider) private view returns (Standing storage p) {
        p = _providers[provider];
        if (p.registeredAt == 0) revert ProviderUnknown(provider);
    }

    function _credited(uint40 uptime, uint40 lastBeat) private view returns (uint40) {
        uint256 gap = block.timestamp - lastBeat;
        return uptime + uint40(gap < MAX_GAP ? gap : MAX_GAP);
    }
}
