// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Court} from "../../src/Court.sol";
import {Gateways} from "../../src/Gateways.sol";
import {Lens} from "../../src/Lens.sol";
import {Orders} from "../../src/Orders.sol";
import {Sublet} from "../../src/Sublet.sol";
import {Assertions} from "../base/Assertions.sol";
import {Buyer} from "../mocks/Buyer.sol";
import {Coin} from "../mocks/Coin.sol";

/// @notice The market under test, everybody who acts in it, and the dice that decide what they do.
abstract contract World is Assertions {
    struct Dice {
        uint256 seed;
    }

    uint256 internal constant START = 1_800_000_000;
    address internal constant GUARDIAN = address(0x6A);
    uint256 private constant KEY = 0x1000;

    /// Places in `_who`: two renters, a renter that is a contract, three providers, a solver, five mediators, a stranger.
    uint256 internal constant BUYER = 2;
    uint256 internal constant PROVIDERS = 3;
    uint256 internal constant SOLVER = 6;
    uint256 internal constant MEDIATORS = 7;
    uint256 internal constant STRANGER = 12;
    uint256 internal constant ACTORS = 13;
    /// The branches that hold money follow the actors.
    uint256 internal constant COURT = 13;
    uint256 internal constant GATEWAYS = 14;
    uint256 internal constant ACCOUNTS = 15;

    Sublet public immutable sublet;
    Court public immutable court;
    Gateways public immutable gateways;
    Orders public immutable orders;
    Lens public immutable lens;
    Coin public immutable coin;
    Buyer public immutable buyer;
    /// The same code at another address, for documents of another contract.
    Sublet internal immutable _twin;
    /// Sums and times are zero, one or as large as can be, and the token refuses accounts now and then.
    bool public immutable extreme;

    address[ACCOUNTS] internal _who;
    mapping(address account => uint256) private _placeFrom1;

    constructor(bool extreme_) {
        extreme = extreme_;
        vm.warp(START);
        vm.roll(1_000);
        coin = new Coin();
        sublet = new Sublet(coin, GUARDIAN);
        _twin = new Sublet(coin, GUARDIAN);
        (court, gateways) = (Court(sublet.court()), Gateways(sublet.gateways()));
        (orders, lens) = (Orders(sublet.orders()), Lens(sublet.lens()));
        buyer = new Buyer(sublet, vm.addr(KEY + BUYER));
        for (uint256 i; i < ACTORS; ++i) {
            _who[i] = i == BUYER ? address(buyer) : vm.addr(KEY + i);
        }
        (_who[COURT], _who[GATEWAYS]) = (address(court), address(gateways));
        for (uint256 i; i < ACCOUNTS; ++i) {
            _placeFrom1[_who[i]] = i + 1;
        }
    }

    /// Everybody whose balance can be anything but zero.
    function accounts() external view returns (address[ACCOUNTS] memory) {
        return _who;
    }

    function _place(address account) internal view returns (uint256) {
        uint256 place = _placeFrom1[account];
        require(place != 0, "not an actor");
        return place - 1;
    }

    function _sign(address signer, bytes32 digest) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY + _place(signer), digest);
        return abi.encodePacked(r, s, v);
    }

    /// From 0 up to, not including, `sides`.
    function _roll(Dice memory dice, uint256 sides) internal pure returns (uint256) {
        dice.seed = uint256(keccak256(abi.encode(dice.seed)));
        return dice.seed % sides;
    }

    /// Once in `times`.
    function _once(Dice memory dice, uint256 times) internal pure returns (bool) {
        return _roll(dice, times) == 0;
    }

    function _between(Dice memory dice, uint256 least, uint256 most) internal pure returns (uint256) {
        return least + _roll(dice, most - least + 1);
    }

    /// As `_between`, but in an extreme world four times of five at an end of the range that the type has.
    function _amount(Dice memory dice, uint256 least, uint256 most, uint256 limit) internal view returns (uint256) {
        if (!extreme) return _between(dice, least, most);
        uint256 kind = _roll(dice, 5);
        if (kind == 0) return least;
        if (kind == 1) return least + 1;
        if (kind == 2) return limit;
        if (kind == 3) return limit - 1;
        return _between(dice, least, most);
    }

    function _anybody(Dice memory dice) internal view returns (address) {
        return _who[_roll(dice, ACTORS)];
    }

    /// `likely` seven times of eight, or else anybody.
    function _mostly(Dice memory dice, address likely) internal view returns (address) {
        return likely == address(0) || _once(dice, 8) ? _anybody(dice) : likely;
    }
}
