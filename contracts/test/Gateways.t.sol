// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {GatewayView} from "../src/Types.sol";
import {IBonds} from "../src/interfaces/IBonds.sol";
import {IGateways} from "../src/interfaces/IGateways.sol";
import {ITrunk} from "../src/interfaces/ITrunk.sol";
import {Fixture} from "./base/Fixture.sol";

/// @notice Gateways: their texts, beats and bonds, and the list of them.
contract GatewaysTest is Fixture {
    bytes32 private constant KEY = keccak256("gateway key");
    string private constant URL = "https://gateway.example:3340";
    string private constant REGION = "eu-north";

    address[] private _all;

    function setUp() public override {
        super.setUp();
        _all = ascending("gateway", 3);
        for (uint256 i; i < 3; ++i) {
            fund(_all[i]);
        }
    }

    function test_register_and_show() external {
        vm.expectEmit(address(gateways));
        emit IGateways.GatewayRegistered(stranger, KEY, URL, REGION);
        vm.expectEmit(address(gateways));
        emit IBonds.BondPosted(stranger, 100, 100);
        vm.expectEmit(address(sublet));
        emit ITrunk.Taken(address(gateways), stranger, 100);
        _register(stranger, 100);
        GatewayView memory v = gateways.gatewayOf(stranger);
        eq(v.gateway, stranger, "gateway");
        eq(v.peerKey, KEY, "key");
        eq(keccak256(bytes(v.url)), keccak256(bytes(URL)), "url");
        eq(keccak256(bytes(v.region)), keccak256(bytes(REGION)), "region");
        eq(v.bond, 100, "bond");
        eq(v.lastBeat, clock(), "registered is also beaten");
        yes(v.online, "online");
        moved(0, 0, 0, -100);
        eq(sublet.freeOf(address(gateways)), 100, "kept by the branch");
    }

    function test_register_again_replaces() external {
        _register(stranger, 100);
        pass(5);
        vm.prank(stranger);
        gateways.registerGateway(keccak256("new"), "u", "r", 0);
        GatewayView memory v = gateways.gatewayOf(stranger);
        eq(v.peerKey, keccak256("new"), "key");
        eq(keccak256(bytes(v.url)), keccak256("u"), "url");
        eq(keccak256(bytes(v.region)), keccak256("r"), "region");
        eq(v.lastBeat, clock(), "beat");
        eq(v.bond, 100, "the same bond");
        eq(gateways.gatewayCount(), 1, "listed once");
        _register(stranger, 7);
        eq(gateways.gatewayOf(stranger).bond, 107, "more bond");
    }

    function test_register_refusals() external {
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IGateways.GatewayZeroPeerKey.selector));
        gateways.registerGateway(0, URL, REGION, 1);
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondZero.selector));
        gateways.registerGateway(KEY, URL, REGION, 0);
        _lengthRefused("url", 0, 256);
        _lengthRefused("url", 257, 256);
        _lengthRefused("region", 0, 32);
        _lengthRefused("region", 33, 32);
        eq(gateways.gatewayCount(), 0, "none listed");
        gateways.registerGateway(KEY, string(new bytes(256)), string(new bytes(32)), 1);
        vm.stopPrank();
    }

    /// Online until the last second of `STALE_AFTER`.
    function test_beats_keep_it_online() external {
        _register(stranger, 1);
        pass(gateways.STALE_AFTER());
        yes(gateways.gatewayOf(stranger).online, "just in time");
        pass(1);
        yes(!gateways.gatewayOf(stranger).online, "stale");
        vm.expectEmit(address(gateways));
        emit IGateways.GatewayBeat(stranger);
        vm.prank(stranger);
        gateways.beat();
        yes(gateways.gatewayOf(stranger).online, "back");
        vm.prank(renter);
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondUnknown.selector, renter));
        gateways.beat();
    }

    function test_retire_unbond_and_withdraw() external {
        _register(stranger, 100);
        uint256 from = clock() + gateways.UNBONDING();
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondNotRetired.selector, stranger));
        gateways.withdrawBond();
        gateways.retireGateway();
        yes(!gateways.gatewayOf(stranger).online, "offline at once");
        eq(gateways.gatewayOf(stranger).retiredAt, clock(), "retired");
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondIsRetired.selector, stranger));
        gateways.beat();
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondIsRetired.selector, stranger));
        gateways.retireGateway();
        vm.warp(from - 1);
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondTooEarly.selector, stranger, from));
        gateways.withdrawBond();
        vm.warp(from);
        gateways.withdrawBond();
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondUnknown.selector, stranger));
        gateways.withdrawBond();
        vm.stopPrank();
        moved(0, 0, 0, 0);
        eq(gateways.gatewayOf(stranger).peerKey, 0, "forgotten");
        eq(gateways.gatewayCount() + sublet.freeOf(address(gateways)), 0, "nothing left");
        _register(stranger, 1);
        yes(gateways.gatewayOf(stranger).online, "welcome back");
    }

    function test_pages() external {
        for (uint256 i; i < 3; ++i) {
            _register(_all[i], uint128(i + 1));
        }
        eq(gateways.gatewayCount(), 3, "count");
        eq(gateways.gatewaysFrom(0, 10).length, 3, "all");
        eq(gateways.gatewaysFrom(1, 1)[0].gateway, _all[1], "one");
        eq(gateways.gatewaysFrom(2, type(uint256).max).length, 1, "the last");
        eq(gateways.gatewaysFrom(3, 1).length + gateways.gatewaysFrom(type(uint256).max, 1).length, 0, "beyond");
        eq(gateways.gatewaysFrom(0, 0).length, 0, "none asked for");
    }

    /// Whoever leaves, in any order: the list has the others, each once, and each finds its place again.
    function testFuzz_leaving(uint256 order) external {
        for (uint256 i; i < 3; ++i) {
            _register(_all[i], 1);
            vm.prank(_all[i]);
            gateways.retireGateway();
        }
        pass(gateways.UNBONDING());
        uint256 gone;
        for (uint256 left = 3; left != 0; --left) {
            uint256 who = order % 3;
            while (gone >> who & 1 != 0) who = (who + 1) % 3;
            order /= 3;
            gone |= 1 << who;
            vm.prank(_all[who]);
            gateways.withdrawBond();
            GatewayView[] memory rest = gateways.gatewaysFrom(0, 3);
            eq(rest.length, left - 1, "one less");
            uint256 seen = gone;
            for (uint256 i; i < rest.length; ++i) {
                for (uint256 j; j < 3; ++j) {
                    if (rest[i].gateway == _all[j]) seen += 1 << j;
                }
            }
            eq(seen, 7, "the others, each once");
        }
    }

    function _register(address who, uint128 bond) private {
        vm.prank(who);
        gateways.registerGateway(KEY, URL, REGION, bond);
    }

    function _lengthRefused(bytes32 what, uint256 length, uint256 max) private {
        string memory text = string(new bytes(length));
        vm.expectRevert(abi.encodeWithSelector(IGateways.GatewayBadLength.selector, what, length, max));
        gateways.registerGateway(KEY, what == "url" ? text : URL, what == "url" ? REGION : text, 1);
    }
}
