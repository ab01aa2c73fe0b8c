// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Kind, Offer, Order} from "../../src/Types.sol";
import {CourtFixture} from "../base/CourtFixture.sol";

/// @notice An attack is tried for real. It fails if it is refused for exactly the expected reason, or if it moves exactly
/// the money that the rules allow; anything it wins beyond that is reported as "attack worked".
abstract contract Attack is CourtFixture {
    int256 internal constant E = int256(uint256(ESCROW));
    int256 internal constant Q = int256(uint256(PLEDGE));
    int256 internal constant F = int256(uint256(FEE));
    int256 internal constant P = int256(uint256(PRICE));
    int256 internal constant V = int256(uint256(VOTE));

    uint256 internal constant MALLORY_KEY = 0xBAD;
    address internal mallory = vm.addr(MALLORY_KEY);

    function setUp() public virtual override {
        super.setUp();
        fund(mallory);
        vm.startPrank(mallory);
        sublet.registerProvider(keccak256("mallory"), "");
        sublet.setOnline(true);
        vm.stopPrank();
        mark();
    }

    function mark() internal override {
        super.mark();
        mark(mallory);
    }

    /// `by` tries a call of the market, which has to refuse it with `why`.
    function refused(address by, bytes memory data, bytes memory why, string memory what) internal {
        refusedAt(by, address(sublet), data, why, what);
    }

    function refusedAt(address by, address at_, bytes memory data, bytes memory why, string memory what) internal {
        vm.prank(by);
        (bool ok, bytes memory answer) = at_.call(data);
        worked(ok, what);
        eq(keccak256(answer), keccak256(why), string.concat("refused, but not because of this: ", what));
    }

    function worked(bool it, string memory what) internal pure {
        require(!it, string.concat("attack worked: ", what));
    }

    /// What `who` won since `mark` is what it may.
    function wins(address who, int256 fair, string memory what) internal view {
        int256 won = delta(who);
        string memory sums = string.concat(", ", vm.toString(won), " instead of ", vm.toString(fair));
        worked(won != fair, string.concat(what, sums));
    }

    /// Mallory's own offer and order for each other.
    function sham(Kind kind) internal returns (uint64) {
        Order memory order = orderOf(kind);
        order.renter = mallory;
        return shamOf(kind, order);
    }

    function shamOf(Kind kind, Order memory order) internal returns (uint64) {
        vm.prank(mallory);
        sublet.beat();
        Offer memory offer = offerOf(kind);
        (offer.provider, offer.epoch, offer.mediatorSet) = (mallory, 0, order.mediatorSet);
        bytes memory a = signature(MALLORY_KEY, sublet.hashOffer(offer));
        bytes memory b = signature(MALLORY_KEY, sublet.hashOrder(order));
        vm.prank(mallory);
        return sublet.open(offer, a, order, b);
    }

    function refuseOpen(Offer memory offer, Order memory order, bytes memory why, string memory what) internal {
        bytes memory call_ = abi.encodeCall(sublet.open, (offer, sign(offer), order, sign(order)));
        refused(solver, call_, why, what);
    }
}
