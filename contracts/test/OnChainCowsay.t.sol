// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {JobEnd, JobState, Kind, Offer, Order} from "../src/Types.sol";
import {OnChainCowsay} from "../src/examples/OnChainCowsay.sol";
import {Tar} from "../src/examples/Tar.sol";
import {ISublet} from "../src/interfaces/ISublet.sol";
import {Fixture} from "./base/Fixture.sol";

/// @notice The example's whole story, and everybody who tries to tell another.
contract OnChainCowsayTest is Fixture {
    bytes private constant WORKLOAD = "{\"module\":\"cowsay\",\"inputs\":{\"message\":\"moo\"}}";
    string private constant COW = " _____\n< moo >\n -----\n";

    OnChainCowsay private cow;

    function setUp() public override {
        super.setUp();
        vm.prank(renter);
        cow = new OnChainCowsay(sublet);
        token.mint(stranger, FUNDS);
        vm.startPrank(stranger);
        token.approve(address(cow), FUNDS);
        cow.fund(FUNDS);
        vm.stopPrank();
        mark();
        mark(address(cow));
    }

    function test_from_asking_to_the_cow() external {
        Order memory o = _order();
        vm.prank(renter);
        bytes32 hash = cow.ask(orderOf(Kind.Job), WORKLOAD);
        eq(hash, sublet.hashOrder(o), "the order of the event");
        bytes memory archive = _archive("0\n", COW);
        uint64 id = _openAndSubmit(o, keccak256(archive));
        pass(WINDOW + 1);
        vm.expectEmit(address(cow));
        emit OnChainCowsay.Answered(id, JobEnd.Finalized, keccak256(archive));
        sublet.finalizeJob(id);
        vm.expectEmit(address(cow));
        emit OnChainCowsay.Said(id, COW);
        vm.prank(stranger);
        cow.deliver(id, archive);
        int256 cost = int256(uint256(PRICE) * USED + FEE);
        eq(delta(address(cow)), -cost, "paid from its own balance");
        moved(0, cost - int256(uint256(FEE)), int256(uint256(FEE)), 0);
    }

    function test_only_the_archive_of_the_result_is_taken() external {
        bytes memory archive = _archive("0\n", COW);
        uint64 id = _job(keccak256(archive));
        vm.expectRevert(abi.encodeWithSelector(OnChainCowsay.NoResult.selector, id, JobEnd.None));
        cow.deliver(id, archive);
        pass(WINDOW + 1);
        sublet.finalizeJob(id);
        bytes memory other = _archive("0\n", "moo?");
        vm.expectRevert(
            abi.encodeWithSelector(OnChainCowsay.OtherArchive.selector, id, keccak256(other), keccak256(archive))
        );
        cow.deliver(id, other);
        cow.deliver(id, archive);
    }

    function test_a_result_that_does_not_stand_is_not_told() external {
        bytes memory archive = _archive("0\n", COW);
        uint64 id = _open();
        pass(START_WITHIN + DURATION + 1);
        sublet.expireJob(id);
        vm.expectRevert(abi.encodeWithSelector(OnChainCowsay.NoResult.selector, id, JobEnd.Expired));
        cow.deliver(id, archive);
    }

    function test_nobody_else_calls_back_asks_or_withdraws() external {
        Order memory o = orderOf(Kind.Job);
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(OnChainCowsay.SubletOnly.selector, stranger));
        cow.onJobEnded(1, JobEnd.Accepted, RESULT);
        bytes memory why = abi.encodeWithSelector(OnChainCowsay.OwnerOnly.selector, stranger);
        vm.expectRevert(why);
        cow.ask(o, WORKLOAD);
        vm.expectRevert(why);
        cow.cancel(0);
        vm.expectRevert(why);
        cow.withdraw(1);
        vm.stopPrank();
        vm.startPrank(renter);
        vm.expectRevert(abi.encodeWithSelector(OnChainCowsay.NotAJob.selector));
        cow.ask(orderOf(Kind.Lease), WORKLOAD);
        cow.withdraw(FUNDS);
        vm.stopPrank();
        eq(token.balanceOf(renter), FUNDS, "to its owner");
        moved(0, 0, 0, 0);
    }

    function test_an_order_taken_back_does_not_fill() external {
        Order memory o = _order();
        vm.startPrank(renter);
        cow.ask(orderOf(Kind.Job), WORKLOAD);
        cow.cancel(0);
        vm.stopPrank();
        Offer memory offer = offerOf(Kind.Job);
        offer.pledgeBps = 10_000;
        bytes memory a = sign(offer);
        vm.expectRevert(abi.encodeWithSelector(ISublet.OrderNonceUsed.selector, address(cow), 0));
        sublet.open(offer, a, o, "");
    }

    /// Whatever was printed comes out as it was, across blocks; and an archive without it, or cut off, has nothing to
    /// say.
    function testFuzz_tar(bytes memory printed, uint8 code) external {
        bytes memory archive = _archive(vm.toString(code), string(printed));
        eq(keccak256(this.entry(archive, "stdout")), keccak256(printed), "stdout");
        eq(keccak256(this.entry(archive, "exit_code")), keccak256(bytes(vm.toString(code))), "exit code");
        eq(this.entry(archive, "stderr").length, 0, "nothing on stderr");
        vm.expectRevert(abi.encodeWithSelector(Tar.TarNoEntry.selector, bytes32("stdou")));
        this.entry(archive, "stdou");
        if (printed.length == 0) return;
        assembly ("memory-safe") {
            mstore(archive, add(1535, mload(printed)))
        }
        vm.expectRevert(abi.encodeWithSelector(Tar.TarBadSize.selector, 1024));
        this.entry(archive, "stdout");
        archive[1024 + 124] = "9";
        vm.expectRevert(abi.encodeWithSelector(Tar.TarBadSize.selector, 1024));
        this.entry(archive, "stdout");
    }

    function entry(bytes calldata archive, bytes32 name) external pure returns (bytes memory) {
        return Tar.entry(archive, name);
    }

    /// As `services/host` packs it: exit code, stdout, stderr, and two empty blocks.
    function _archive(string memory code, string memory out) private pure returns (bytes memory) {
        return bytes.concat(
            _entry("exit_code", bytes(code)), _entry("stdout", bytes(out)), _entry("stderr", ""), new bytes(1024)
        );
    }

    function _entry(bytes memory name, bytes memory contents) private pure returns (bytes memory block_) {
        block_ = new bytes(512 + (contents.length + 511) / 512 * 512);
        for (uint256 i; i < name.length; ++i) {
            block_[i] = name[i];
        }
        uint256 size = contents.length;
        for (uint256 i; i < 11; ++i) {
            block_[134 - i] = bytes1(uint8(0x30 + (size & 7)));
            size >>= 3;
        }
        for (uint256 i; i < contents.length; ++i) {
            block_[512 + i] = contents[i];
        }
    }

    /// What the contract makes of the next `orderOf`.
    function _order() private returns (Order memory o) {
        o = orderOf(Kind.Job);
        (o.renter, o.nonce, o.workload) = (address(cow), cow.asked(), keccak256(WORKLOAD));
        (o.minPledgeBps, o.maxStartWithin) = (10_000, 1 hours);
    }

    function _open() private returns (uint64) {
        Order memory o = _order();
        vm.prank(renter);
        cow.ask(o, WORKLOAD);
        return _openPlaced(o);
    }

    function _job(bytes32 result) private returns (uint64 id) {
        id = _open();
        pass(USED);
        vm.prank(provider);
        sublet.submitJob(id, result, USED);
    }

    function _openAndSubmit(Order memory o, bytes32 result) private returns (uint64 id) {
        id = _openPlaced(o);
        pass(USED);
        vm.prank(provider);
        sublet.submitJob(id, result, USED);
    }

    function _openPlaced(Order memory o) private returns (uint64 id) {
        Offer memory offer = offerOf(Kind.Job);
        offer.pledgeBps = 10_000;
        bytes memory a = sign(offer);
        vm.prank(solver);
        id = sublet.open(offer, a, o, "");
        jobIs(id, JobState.Open, JobEnd.None);
    }
}
