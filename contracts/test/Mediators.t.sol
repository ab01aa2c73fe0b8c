// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {MediatorSetView, MediatorView} from "../src/Types.sol";
import {IBonds} from "../src/interfaces/IBonds.sol";
import {ICourt} from "../src/interfaces/ICourt.sol";
import {ISublet} from "../src/interfaces/ISublet.sol";
import {ITrunk} from "../src/interfaces/ITrunk.sol";
import {CourtFixture} from "./base/CourtFixture.sol";

/// @notice Mediators' bonds, from posting to withdrawal, and the sets they are listed in.
contract MediatorsTest is CourtFixture {
    bytes32 private constant KEY = keccak256("key");

    function test_register_and_add() external {
        vm.expectEmit(address(court));
        emit ICourt.MediatorRegistered(stranger, KEY);
        vm.expectEmit(address(court));
        emit IBonds.BondPosted(stranger, 7, 7);
        vm.expectEmit(address(sublet));
        emit ITrunk.Taken(address(court), stranger, 7);
        vm.startPrank(stranger);
        court.registerMediator(KEY, 7);
        vm.expectEmit(address(court));
        emit IBonds.BondPosted(stranger, 5, 12);
        court.registerMediator(keccak256("new"), 5);
        court.registerMediator(KEY, 0);
        vm.stopPrank();
        MediatorView memory v = court.mediatorOf(stranger);
        eq(v.peerKey, KEY, "the last key");
        eq(v.bond, 12, "bond");
        eq(v.atStake + v.retiredAt, 0, "neither at stake nor retired");
        moved(0, 0, 0, -12);
        eq(sublet.freeOf(address(court)), 5 * BOND + 12, "kept by the court");
    }

    function test_register_refusals() external {
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ICourt.MediatorZeroPeerKey.selector));
        court.registerMediator(0, 7);
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondZero.selector));
        court.registerMediator(KEY, 0);
        uint128 most = type(uint96).max;
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondTooLarge.selector, uint256(most) + 1, most));
        court.registerMediator(KEY, most + 1);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AccountShort.selector, stranger, FUNDS, FUNDS + 1));
        court.registerMediator(KEY, FUNDS + 1);
        vm.stopPrank();
        eq(court.mediatorOf(stranger).peerKey, 0, "nobody");
        moved(0, 0, 0, 0);
    }

    function test_retire_unbond_and_withdraw() external {
        address m = mediators[0];
        vm.startPrank(m);
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondNotRetired.selector, m));
        court.withdrawBond();
        uint256 from = clock() + court.UNBONDING();
        vm.expectEmit(address(court));
        emit IBonds.BondRetired(m, uint64(from));
        court.retireMediator();
        eq(court.mediatorOf(m).retiredAt, clock(), "retired");
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondIsRetired.selector, m));
        court.retireMediator();
        vm.warp(from - 1);
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondTooEarly.selector, m, from));
        court.withdrawBond();
        vm.warp(from);
        vm.expectEmit(address(court));
        emit IBonds.BondWithdrawn(m, BOND);
        vm.expectEmit(address(sublet));
        emit ITrunk.Given(address(court), m, BOND);
        court.withdrawBond();
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondUnknown.selector, m));
        court.withdrawBond();
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondUnknown.selector, m));
        court.retireMediator();
        vm.stopPrank();
        eq(delta(m), int256(uint256(BOND)), "all back");
        eq(court.mediatorOf(m).peerKey, 0, "forgotten");
        courtHolds(0);
    }

    function test_registering_again_ends_a_retirement() external {
        address m = mediators[0];
        vm.startPrank(m);
        court.retireMediator();
        pass(court.UNBONDING());
        court.registerMediator(KEY, 0);
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondNotRetired.selector, m));
        court.withdrawBond();
        court.retireMediator();
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondTooEarly.selector, m, clock() + court.UNBONDING()));
        court.withdrawBond();
        vm.stopPrank();
    }

    /// Retiring does not get anybody off a panel, however long the dispute takes.
    function test_a_seat_keeps_the_bond() external {
        uint64 id = drawn();
        address m = panelOf(id)[0];
        vm.startPrank(m);
        court.retireMediator();
        pass(court.UNBONDING() + 1);
        vm.expectRevert(abi.encodeWithSelector(IBonds.BondAtStake.selector, m, VOTE));
        court.withdrawBond();
        vm.stopPrank();
        court.resolve(id);
        vm.prank(m);
        court.withdrawBond();
        eq(delta(m), int256(uint256(BOND - VOTE)), "less what its missing vote cost");
        courtHolds(0);
    }

    function test_sets() external {
        address[] memory members = ascending("m", 7);
        vm.expectEmit(address(court));
        emit ICourt.MediatorSetCreated(2, members, 5, 9);
        vm.prank(stranger);
        eq(court.createMediatorSet(members, 5, 9), 2, "the second set");
        eq(court.mediatorSetCount(), 2, "count");
        MediatorSetView memory v = court.mediatorSet(2);
        eq(keccak256(abi.encode(v.members)), keccak256(abi.encode(members)), "members");
        eq(v.panelSize, 5, "panel");
        eq(v.fee, 9, "fee");
        eq(court.panelFees(2), 45, "fees of a panel");
        eq(court.panelFees(0) + court.panelFees(3), 0, "no such sets");
        eq(court.mediatorSet(3).members.length, 0, "no such set");
    }

    function test_join_and_leave() external {
        vm.startPrank(mediators[2]);
        for (uint256 i; i < 2; ++i) {
            vm.expectEmit(address(court));
            emit ICourt.MediatorLeft(set, mediators[2]);
            court.leaveSet(set);
            eq(court.mediatorSet(set).joined, 27, "all but the third");
        }
        for (uint256 i; i < 2; ++i) {
            vm.expectEmit(address(court));
            emit ICourt.MediatorJoined(set, mediators[2]);
            court.joinSet(set);
            eq(court.mediatorSet(set).joined, 31, "all");
        }
        vm.stopPrank();
        // Serving is agreed to by members only; for a set that does not exist, by nobody.
        uint64[3] memory sets = [set, 0, set + 1];
        for (uint256 i; i < 3; ++i) {
            address caller = i == 0 ? stranger : mediators[2];
            vm.startPrank(caller);
            vm.expectRevert(abi.encodeWithSelector(ICourt.SetOtherMembers.selector, sets[i], caller));
            court.joinSet(sets[i]);
            vm.expectRevert(abi.encodeWithSelector(ICourt.SetOtherMembers.selector, sets[i], caller));
            court.leaveSet(sets[i]);
            vm.stopPrank();
        }
        address[] memory many = ascending("many", 64);
        uint64 large = court.createMediatorSet(many, 3, 1);
        vm.prank(many[63]);
        court.joinSet(large);
        eq(court.mediatorSet(large).joined, 1 << 63, "the last member");
    }

    function test_set_refusals() external {
        address[] memory members = ascending("m", 5);
        uint8[4] memory sizes = [0, 2, 4, 7];
        for (uint256 i; i < 4; ++i) {
            vm.expectRevert(abi.encodeWithSelector(ICourt.SetBadPanelSize.selector, sizes[i], 5));
            court.createMediatorSet(members, sizes[i], 1);
        }
        vm.expectRevert(abi.encodeWithSelector(ICourt.SetZeroFee.selector));
        court.createMediatorSet(members, 3, 0);
        address third = members[2];
        members[2] = members[1];
        vm.expectRevert(abi.encodeWithSelector(ICourt.SetNotAscending.selector, 2));
        court.createMediatorSet(members, 3, 1);
        (members[2], members[1]) = (members[1], third);
        vm.expectRevert(abi.encodeWithSelector(ICourt.SetNotAscending.selector, 2));
        court.createMediatorSet(members, 3, 1);
        address[] memory nobody = new address[](1);
        vm.expectRevert(abi.encodeWithSelector(ICourt.SetNotAscending.selector, 0));
        court.createMediatorSet(nobody, 1, 1);
        address[] memory many = ascending("many", 65);
        vm.expectRevert(abi.encodeWithSelector(ICourt.SetTooLarge.selector, 65, 64));
        court.createMediatorSet(many, 3, 1);
        address[] memory some = ascending("some", 17);
        vm.expectRevert(abi.encodeWithSelector(ICourt.SetBadPanelSize.selector, 17, 17));
        court.createMediatorSet(some, 17, 1);
        court.createMediatorSet(some, 15, type(uint96).max);
        eq(court.panelFees(2), uint256(type(uint96).max) * 15, "no overflow");
    }
}
