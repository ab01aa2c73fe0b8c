// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {GatewayView} from "../Types.sol";
import {IBonds} from "./IBonds.sol";

/// @title Gateways: relays with a public address, their bonds and beats
/// @notice A list to choose from, not a promise: what `url` and `region` say is never trusted, links are encrypted end
/// to end, and how large a bond must be is for whoever chooses to say.
interface IGateways is IBonds {
    /// @notice `gateway` said where it is; also a beat.
    event GatewayRegistered(address indexed gateway, bytes32 peerKey, string url, string region);
    /// @notice `gateway` was alive.
    event GatewayBeat(address indexed gateway);

    error GatewayZeroPeerKey();
    /// @notice `what` is "url" or "region".
    error GatewayBadLength(bytes32 what, uint256 length, uint256 max);

    /// @notice Registers the caller, or replaces its key, url and region and adds `bond` (which may then be zero); ends
    /// a retirement. Also a beat. Neither text is empty.
    function registerGateway(bytes32 peerKey, string calldata url, string calldata region, uint128 bond) external;
    /// @notice Proof of life.
    function beat() external;
    /// @notice The caller is offline from now on.
    function retireGateway() external;
    /// @notice Empty for an account that is no gateway. One that withdrew its bond is no gateway any more.
    function gatewayOf(address gateway) external view returns (GatewayView memory);
    /// @notice Gateways listed, offline ones included.
    function gatewayCount() external view returns (uint256);
    /// @notice Up to `most` gateways from index `start` on, offline ones included. An index changes only when a bond is
    /// withdrawn: the last one moves into its place.
    function gatewaysFrom(uint256 start, uint256 most) external view returns (GatewayView[] memory);
    /// @notice Silence after which a gateway counts as offline.
    function STALE_AFTER() external view returns (uint40);
    /// @notice Most bytes of a gateway's url.
    function MAX_URL() external view returns (uint256);
    /// @notice Most bytes of a gateway's region.
    function MAX_REGION() external view returns (uint256);
}
