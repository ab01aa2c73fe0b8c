// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Mediators} from "./Mediators.sol";

/// @notice Who can be drawn, and who is.
abstract contract Panels is Mediators {
    /// Members of a set that can be drawn for a dispute of these parties now; bit i is member i. Only who joined: anybody
    /// may list anybody. A mediator needs `fee` of its bond free, so that its missing vote would cost it something;
    /// whoever wants to keep honest members out by giving them seats elsewhere pays them a fee for each.
    function _electorate(uint64 set, address renter, address provider) internal view returns (uint64 electorate) {
        MediatorSet storage s = _sets[set];
        (uint256 fee, uint256 count, uint64 joined) = (s.fee, s.members.length, s.joined);
        for (uint256 i; i < count; ++i) {
            if (joined >> i & 1 == 0) continue;
            address member = s.members[i];
            if (member == renter || member == provider) continue;
            Bond memory b = _bonds[member];
            if (b.retiredAt == 0 && b.amount >= b.atStake + fee) electorate |= uint64(1 << i);
        }
    }

    /// Up to `most` different members of the electorate, all equally likely.
    function _pick(uint64 electorate, uint256 most, bytes32 seed) internal pure returns (uint256[] memory picked) {
        uint256 count = _count(electorate);
        uint256[] memory pool = new uint256[](count);
        uint256 next;
        for (uint256 i; next < count; ++i) {
            if (electorate >> i & 1 != 0) pool[next++] = i;
        }
        if (most > count) most = count;
        picked = new uint256[](most);
        for (uint256 i; i < most; ++i) {
            uint256 slot = uint256(keccak256(abi.encode(seed, i))) % count;
            picked[i] = pool[slot];
            pool[slot] = pool[--count];
        }
    }

    function _count(uint64 bits) internal pure returns (uint8 count) {
        for (; bits != 0; bits &= bits - 1) {
            ++count;
        }
    }
}
