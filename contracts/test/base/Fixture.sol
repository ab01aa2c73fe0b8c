// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Court} from "../../src/Court.sol";
import {Gateways} from "../../src/Gateways.sol";
import {Lens} from "../../src/Lens.sol";
import {Orders} from "../../src/Orders.sol";
import {Sublet} from "../../src/Sublet.sol";
import {SubletToken} from "../../src/SubletToken.sol";
import {Class, JobEnd, JobState, Kind, LeaseEnd, LeaseState, Offer, Order, Pair, Resources} from "../../src/Types.sol";
import {ISublet} from "../../src/interfaces/ISublet.sol";
import {Assertions} from "./Assertions.sol";

/// @notice A market with one provider online and everybody funded, and documents that match.
abstract contract Fixture is Assertions {
    uint256 internal constant RENTER_KEY = 0xA11CE;
    uint256 internal constant PROVIDER_KEY = 0xB0B;
    uint256 internal constant START = 1_800_000_000;
    uint128 internal constant FUNDS = 1_000e18;
    /// Odd, so that halves and shares are rounded.
    uint128 internal constant PRICE = 1_000_000_007;
    uint32 internal constant DURATION = 3_600;
    /// PRICE * DURATION, and half of it.
    uint128 internal constant ESCROW = 3_600_000_025_200;
    uint128 internal constant PLEDGE = 1_800_000_012_600;
    uint32 internal constant PLEDGE_BPS = 5_000;
    uint128 internal constant FEE = 77_777;
    uint32 internal constant START_WITHIN = 60;
    uint32 internal constant NOTICE = 600;
    uint32 internal constant MIN_CHARGE = 120;
    uint32 internal constant WINDOW = 900;
    /// Seconds that `exactJob` declares; PRICE * USED is odd.
    uint32 internal constant USED = 5;
    /// As penalty: whatever it is.
    uint128 internal constant ANY = type(uint128).max;
    bytes32 internal constant RESULT = keccak256("result");
    /// A panel's vote; odd, so that half of it is rounded.
    uint96 internal constant VOTE = 100_000_000_001;
    uint8 internal constant PANEL = 3;
    uint128 internal constant FEES = 300_000_000_003;

    SubletToken internal token;
    Sublet internal sublet;
    Court internal court;
    Gateways internal gateways;
    Orders internal orders;
    Lens internal lens;
    address internal renter = vm.addr(RENTER_KEY);
    address internal provider = vm.addr(PROVIDER_KEY);
    address internal solver = address(0x50);
    address internal stranger = address(0x57);
    address internal guardian = address(0x6A);
    /// Five members, in the set `set`; `CourtFixture` registers them.
    address[] internal mediators;
    uint64 internal set;
    uint256 private _nonce;

    /// Free balances to compare with.
    mapping(address account => uint256) private _before;

    function setUp() public virtual {
        vm.warp(START);
        token = new SubletToken();
        sublet = new Sublet(token, guardian);
        (court, gateways) = (Court(sublet.court()), Gateways(sublet.gateways()));
        (orders, lens) = (Orders(sublet.orders()), Lens(sublet.lens()));
        fund(renter);
        fund(provider);
        fund(stranger);
        vm.startPrank(provider);
        sublet.registerProvider(keccak256("provider key"), "{}");
        sublet.setOnline(true);
        vm.stopPrank();
        mediators = ascending("mediator", 5);
        set = court.createMediatorSet(mediators, PANEL, VOTE);
        mark();
    }

    function fund(address account) internal {
        token.mint(account, FUNDS);
        vm.startPrank(account);
        token.approve(address(sublet), FUNDS);
        sublet.deposit(FUNDS);
        vm.stopPrank();
    }

    function offerOf(Kind kind) internal view returns (Offer memory) {
        return Offer({
            provider: provider,
            kind: kind,
            resources: Resources(4, 8192, 100, 1, keccak256("traits")),
            price: PRICE,
            pledgeBps: PLEDGE_BPS,
            capacity: 2,
            minDuration: 1,
            maxDuration: 2 * DURATION,
            startWithin: START_WITHIN,
            notice: NOTICE,
            minCharge: MIN_CHARGE,
            mediatorSet: set,
            maxChallengeWindow: WINDOW,
            validUntil: uint64(clock() + 1 days),
            epoch: sublet.providerOf(provider).epoch
        });
    }

    function orderOf(Kind kind) internal returns (Order memory) {
        return Order({
            renter: renter,
            kind: kind,
            resources: Resources(2, 4096, 10, 0, 0),
            maxPrice: PRICE + 1,
            duration: DURATION,
            workload: keccak256("workload"),
            peerKey: keccak256("renter key"),
            class: Class.None,
            mediatorSet: 0,
            challengeWindow: WINDOW,
            minPledgeBps: PLEDGE_BPS,
            maxStartWithin: START_WITHIN,
            minNotice: NOTICE,
            maxMinCharge: MIN_CHARGE,
            provider: address(0),
            solver: address(0),
            solverFee: FEE,
            validUntil: uint64(clock() + 1 days),
            nonce: _nonce++
        });
    }

    function sign(Offer memory offer) internal view returns (bytes memory) {
        return signature(PROVIDER_KEY, sublet.hashOffer(offer));
    }

    function sign(Order memory order) internal view returns (bytes memory) {
        return signature(RENTER_KEY, sublet.hashOrder(order));
    }

    function acceptance(uint64 id, bytes32 result, uint128 cost) internal view returns (bytes memory) {
        return signature(RENTER_KEY, sublet.hashAcceptance(id, result, cost));
    }

    function signature(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function open(Offer memory offer, Order memory order) internal returns (uint64) {
        (bytes memory a, bytes memory b) = (sign(offer), sign(order));
        vm.prank(solver);
        return sublet.open(offer, a, order, b);
    }

    /// Expects `open` of the pair, correctly signed, to be refused with `why`.
    function refuse(Offer memory offer, Order memory order, bytes memory why) internal {
        (bytes memory a, bytes memory b) = (sign(offer), sign(order));
        vm.prank(solver);
        vm.expectRevert(why);
        sublet.open(offer, a, order, b);
    }

    function pair(Offer memory offer, Order memory order) internal view returns (Pair memory) {
        return Pair(offer, sign(offer), order, sign(order));
    }

    function openLease() internal returns (uint64 id) {
        id = open(offerOf(Kind.Lease), orderOf(Kind.Lease));
    }

    function activeLease() internal returns (uint64 id) {
        id = openLease();
        vm.prank(provider);
        sublet.startLease(id);
    }

    function openJob() internal returns (uint64 id) {
        id = open(offerOf(Kind.Job), orderOf(Kind.Job));
    }

    function submittedJob(uint32 used) internal returns (uint64 id) {
        id = openJob();
        run(min(used, DURATION));
        vm.prank(provider);
        sublet.submitJob(id, RESULT, used);
    }

    function exactOrder() internal returns (Order memory order) {
        order = orderOf(Kind.Job);
        (order.class, order.mediatorSet) = (Class.Exact, set);
    }

    /// A submitted job of class exact.
    function exactJob() internal returns (uint64 id) {
        id = open(offerOf(Kind.Job), exactOrder());
        pass(USED);
        vm.prank(provider);
        sublet.submitJob(id, RESULT, USED);
    }

    /// Lets time pass with the provider beating often enough to have it all counted.
    function run(uint256 seconds_) internal {
        while (seconds_ != 0) {
            uint256 step = seconds_ < 500 ? seconds_ : 500;
            vm.warp(clock() + step);
            vm.prank(provider);
            sublet.beat();
            seconds_ -= step;
        }
    }

    function pass(uint256 seconds_) internal {
        vm.warp(clock() + seconds_);
    }

    /// Lets `blocks` go by, with no time at all.
    function mine(uint256 blocks) internal {
        vm.roll(height() + blocks);
    }

    /// `count` accounts named after `name`, as a set wants its members.
    function ascending(string memory name, uint256 count) internal pure returns (address[] memory all) {
        all = new address[](count);
        for (uint256 i; i < count; ++i) {
            address next = address(bytes20(keccak256(abi.encode(name, i))));
            uint256 place = i;
            for (; place != 0 && all[place - 1] > next; --place) {
                all[place] = all[place - 1];
            }
            all[place] = next;
        }
    }

    /// Remembers every balance for `moved`.
    function mark() internal virtual {
        address[4] memory all = [renter, provider, solver, stranger];
        for (uint256 i; i < 4; ++i) {
            mark(all[i]);
        }
    }

    function mark(address account) internal {
        _before[account] = sublet.freeOf(account);
    }

    /// Checks what changed since `mark`.
    function moved(int256 ofRenter, int256 ofProvider, int256 ofSolver, int256 ofStranger) internal view {
        eq(delta(renter), ofRenter, "renter");
        eq(delta(provider), ofProvider, "provider");
        eq(delta(solver), ofSolver, "solver");
        eq(delta(stranger), ofStranger, "stranger");
    }

    /// What changed since `mark`.
    function delta(address account) internal view returns (int256) {
        return int256(sublet.freeOf(account)) - int256(_before[account]);
    }

    function leaseIs(uint64 id, LeaseState state, LeaseEnd reason) internal view {
        eq(uint256(lens.lease(id).state), uint256(state), "lease state");
        eq(uint256(lens.lease(id).reason), uint256(reason), "lease reason");
        if (state == LeaseState.Ended) {
            eq(lens.lease(id).escrow + lens.lease(id).pledge + lens.lease(id).solverFee, 0, "held by lease");
        }
    }

    function jobIs(uint64 id, JobState state, JobEnd reason) internal view {
        eq(uint256(lens.job(id).state), uint256(state), "job state");
        eq(uint256(lens.job(id).reason), uint256(reason), "job reason");
        if (state == JobState.Ended) {
            eq(lens.job(id).escrow + lens.job(id).pledge + lens.job(id).solverFee, 0, "held by job");
        }
    }

    /// Whoever calls, each of these is refused because of `why`.
    function refusedToAll(bytes[] memory calls, bytes memory why) internal {
        address[3] memory by = [renter, provider, stranger];
        for (uint256 i; i < calls.length; ++i) {
            for (uint256 j; j < 3; ++j) {
                vm.prank(by[j]);
                (bool ok, bytes memory answer) = address(sublet).call(calls[i]);
                yes(!ok, "refused");
                eq(keccak256(answer), keccak256(why), "for its state");
            }
        }
    }

    /// Nobody but `allowed` may do this to agreement `id`.
    function refusedToOthers(address allowed, uint64 id, bytes memory data) internal {
        address[4] memory by = [renter, provider, stranger, guardian];
        for (uint256 i; i < 4; ++i) {
            if (by[i] == allowed) continue;
            vm.prank(by[i]);
            (bool ok, bytes memory answer) = address(sublet).call(data);
            yes(!ok, "refused");
            bytes memory why = abi.encodeWithSelector(ISublet.AgreementOtherParty.selector, id, by[i]);
            eq(keccak256(answer), keccak256(why), "for its caller");
        }
    }
}
