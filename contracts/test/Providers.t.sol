// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ProviderView} from "../src/Types.sol";
import {ISublet} from "../src/interfaces/ISublet.sol";
import {Fixture} from "./base/Fixture.sol";

contract ProvidersTest is Fixture {
    function test_register_beat_and_show() external {
        vm.startPrank(stranger);
        sublet.registerProvider(bytes32(uint256(1)), "{\"relay\":\"http://localhost:1\"}");
        ProviderView memory v = sublet.providerOf(stranger);
        yes(!v.online, "offline at first");
        eq(v.registeredAt, START, "registered");
        pass(7);
        sublet.setOnline(true);
        pass(3);
        vm.expectEmit();
        emit ISublet.Beat(stranger, 10);
        sublet.beat();
        vm.expectEmit();
        emit ISublet.ProviderRegistered(stranger, bytes32(uint256(2)), "{}");
        sublet.registerProvider(bytes32(uint256(2)), "{}");
        vm.stopPrank();
        v = sublet.providerOf(stranger);
        yes(v.online, "online");
        eq(v.registeredAt, START, "first registration");
        eq(v.lastBeat, START + 10, "last beat");
        eq(v.peerKey, bytes32(uint256(2)), "key replaced");
    }

    function test_refusals() external {
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ISublet.ProviderZeroPeerKey.selector));
        sublet.registerProvider(0, "");
        vm.expectRevert(abi.encodeWithSelector(ISublet.ProviderInfoTooLong.selector, 513, 512));
        sublet.registerProvider(bytes32(uint256(1)), string(new bytes(513)));
        bytes memory unknown = abi.encodeWithSelector(ISublet.ProviderUnknown.selector, stranger);
        vm.expectRevert(unknown);
        sublet.beat();
        vm.expectRevert(unknown);
        sublet.setOnline(true);
        vm.expectRevert(unknown);
        sublet.bumpEpoch();
        vm.stopPrank();
        eq(sublet.uptimeOf(stranger), 0, "no uptime");
        eq(sublet.providerOf(stranger).peerKey, 0, "nobody");
        vm.prank(stranger);
        sublet.registerProvider(bytes32(uint256(1)), string(new bytes(512)));
    }

    function test_one_beat_vouches_for_at_most_the_gap() external {
        uint256 gap = sublet.MAX_GAP();
        pass(gap + 1_000);
        eq(sublet.uptimeOf(provider), gap, "capped before the beat");
        vm.prank(provider);
        sublet.beat();
        eq(sublet.uptimeOf(provider), gap, "and by it");
    }

    /// U is monotone, never faster than time, and continuous at a beat.
    function testFuzz_uptime(uint16[16] calldata waits) external {
        uint256 last = sublet.uptimeOf(provider);
        for (uint256 i; i < waits.length; ++i) {
            uint256 wait = waits[i] % 1_500;
            pass(wait);
            uint256 now_ = sublet.uptimeOf(provider);
            yes(now_ >= last, "monotone");
            atMost(now_ - last, wait, "no faster than time");
            if (i % 2 == 0) {
                vm.prank(provider);
                sublet.beat();
                eq(sublet.uptimeOf(provider), now_, "continuous");
            }
            last = now_;
        }
    }
}
