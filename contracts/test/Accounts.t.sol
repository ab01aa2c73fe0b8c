// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {Sublet} from "../src/Sublet.sol";
import {SubletToken} from "../src/SubletToken.sol";
import {ISublet} from "../src/interfaces/ISublet.sol";
import {Fixture} from "./base/Fixture.sol";
import {BlockToken, FeeToken, HookToken} from "./mocks/Tokens.sol";

contract AccountsTest is Fixture {
    bytes32 private constant PERMIT =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");

    function test_deposit_and_withdraw() external {
        vm.startPrank(renter);
        sublet.withdraw(FUNDS);
        eq(token.balanceOf(renter), FUNDS, "out");
        token.approve(address(sublet), 5);
        vm.expectEmit();
        emit ISublet.Deposited(stranger, renter, 5);
        sublet.depositFor(stranger, 5);
        vm.stopPrank();
        moved(-int256(uint256(FUNDS)), 0, 0, 5);
        vm.prank(stranger);
        vm.expectEmit();
        emit ISublet.Withdrawn(stranger, solver, 3);
        sublet.withdrawTo(solver, 3);
        eq(token.balanceOf(solver), 3, "sent on");
        eq(token.balanceOf(address(sublet)), 2 * FUNDS + 2, "kept");
    }

    function test_refusals() external {
        vm.startPrank(renter);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AccountZeroAmount.selector));
        sublet.deposit(0);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AccountZeroAmount.selector));
        sublet.withdraw(0);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AccountZeroAddress.selector));
        sublet.depositFor(address(0), 1);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AccountZeroAddress.selector));
        sublet.withdrawTo(address(0), 1);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AccountIsSublet.selector, sublet));
        sublet.depositFor(address(sublet), 1);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AccountIsSublet.selector, sublet));
        sublet.withdrawTo(address(sublet), 1);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AccountShort.selector, renter, FUNDS, FUNDS + 1));
        sublet.withdraw(FUNDS + 1);
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(ISublet.AccountZeroAddress.selector));
        new Sublet(IERC20(address(0)), guardian);
    }

    function test_permit_also_when_somebody_sent_it_first() external {
        for (uint256 first; first < 2; ++first) {
            token.mint(renter, 100);
            bytes32 inner = keccak256(abi.encode(PERMIT, renter, address(sublet), 100, token.nonces(renter), clock()));
            bytes memory sig =
                signature(RENTER_KEY, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), inner)));
            (bytes32 r, bytes32 s, uint8 v) = _split(sig);
            if (first == 1) token.permit(renter, address(sublet), 100, clock(), v, r, s);
            vm.prank(renter);
            sublet.depositWithPermit(100, clock(), v, r, s);
        }
        moved(200, 0, 0, 0);
        vm.prank(renter);
        vm.expectRevert();
        sublet.depositWithPermit(100, clock(), 27, 0, 0);
    }

    function test_fee_on_transfer_tokens_are_refused() external {
        FeeToken fee = new FeeToken(address(this));
        Sublet market = new Sublet(fee, guardian);
        fee.approve(address(market), 100);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AccountDepositDiffers.selector, 100, 99));
        market.deposit(100);
    }

    function test_a_blocked_account_can_still_send_its_money_elsewhere() external {
        BlockToken blk = new BlockToken(address(this));
        Sublet market = new Sublet(blk, guardian);
        blk.approve(address(market), 100);
        market.depositFor(renter, 100);
        blk.block_(renter);
        vm.startPrank(renter);
        vm.expectRevert();
        market.withdraw(100);
        market.withdrawTo(stranger, 100);
        vm.stopPrank();
        eq(blk.balanceOf(stranger), 100, "got out");
    }

    function test_a_token_with_hooks_cannot_re_enter() external {
        HookToken hooked = new HookToken(address(this));
        Sublet market = new Sublet(hooked, guardian);
        hooked.approve(address(market), 1_000);
        market.deposit(100);
        bytes memory guarded = abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        hooked.hook(address(market), abi.encodeCall(market.depositFor, (address(hooked), 1)));
        market.deposit(100);
        eq(keccak256(hooked.answer()), keccak256(guarded), "deposit in deposit");
        hooked.hook(address(market), abi.encodeCall(market.withdrawTo, (address(hooked), 1)));
        market.withdraw(100);
        eq(keccak256(hooked.answer()), keccak256(guarded), "withdraw in withdraw");
        eq(hooked.balanceOf(address(market)), market.freeOf(address(this)), "still whole");
    }

    function test_only_the_guardian_pauses_and_only_open() external {
        vm.expectRevert(abi.encodeWithSelector(ISublet.GuardianOnly.selector, address(this)));
        sublet.pauseOpen(true);
        vm.expectRevert(abi.encodeWithSelector(ISublet.GuardianOnly.selector, address(this)));
        sublet.renounceGuardian();
        vm.startPrank(guardian);
        sublet.pauseOpen(true);
        yes(sublet.openPaused(), "paused");
        sublet.renounceGuardian();
        yes(!sublet.openPaused(), "a pause ends with its guardian");
        vm.expectRevert(abi.encodeWithSelector(ISublet.GuardianOnly.selector, guardian));
        sublet.pauseOpen(true);
        vm.stopPrank();
        eq(sublet.guardian(), address(0), "gone");
    }

    function test_faucet_is_capped_for_each_account() external {
        SubletToken play = new SubletToken();
        uint256 cap = play.FAUCET_CAP();
        play.mint(renter, cap - 1);
        vm.expectRevert(abi.encodeWithSelector(SubletToken.FaucetCapExceeded.selector, renter, 1, 2));
        play.mint(renter, 2);
        play.mint(renter, 1);
        play.mint(provider, cap);
        vm.prank(renter);
        play.transfer(stranger, cap);
        vm.expectRevert(abi.encodeWithSelector(SubletToken.FaucetCapExceeded.selector, renter, 0, 1));
        play.mint(renter, 1);
        eq(play.totalSupply(), 2 * cap, "supply");
    }

    function testFuzz_deposits_less_withdrawals(uint128 a, uint128 b) external {
        a = uint128(bound(a, 1, token.FAUCET_CAP()));
        b = uint128(bound(b, 1, a));
        token.mint(solver, a);
        vm.startPrank(solver);
        token.approve(address(sublet), a);
        sublet.deposit(a);
        sublet.withdraw(b);
        vm.stopPrank();
        moved(0, 0, int256(uint256(a)) - int256(uint256(b)), 0);
        eq(token.balanceOf(address(sublet)), 3 * FUNDS + a - b, "held");
    }

    function _split(bytes memory sig) private pure returns (bytes32 r, bytes32 s, uint8 v) {
        assembly ("memory-safe") {
            r := mload(add(sig, 0x20))
            s := mload(add(sig, 0x40))
            v := byte(0, mload(add(sig, 0x60)))
        }
    }
}
