// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {Sublet} from "../../src/Sublet.sol";
import {JobEnd} from "../../src/Types.sol";
import {ICourt} from "../../src/interfaces/ICourt.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// @notice A renter that is a contract: one key signs for it (ERC-1271), and it is called back when its jobs end. What it
/// then does depends on its mood; nothing of it may matter to anybody else.
contract Buyer is IERC1271 {
    enum Mood {
        Notes,
        Reverts,
        Burns,
        Floods,
        Reenters
    }

    Sublet private immutable _sublet;
    address private immutable _owner;

    Mood public mood;
    /// Calls that came back for a job, and with what.
    mapping(uint64 id => uint256) public told;
    mapping(uint64 id => bytes32) public toldOf;
    /// A call on a job that was just ended went through.
    bool public reentered;

    constructor(Sublet sublet, address owner) {
        (_sublet, _owner) = (sublet, owner);
    }

    function setMood(Mood to) external {
        mood = to;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        (address signer, ECDSA.RecoverError failure,) = ECDSA.tryRecoverCalldata(hash, signature);
        bool good = failure == ECDSA.RecoverError.NoError && signer == _owner;
        return good ? IERC1271.isValidSignature.selector : bytes4(0);
    }

    function onJobEnded(uint64 id, JobEnd reason, bytes32 resultHash) external {
        require(msg.sender == address(_sublet), "only the market");
        Mood now_ = mood;
        if (now_ == Mood.Reverts) revert("not interested");
        if (now_ == Mood.Burns) {
            while (true) {}
        }
        if (now_ == Mood.Floods) {
            assembly ("memory-safe") {
                return(0, 40000)
            }
        }
        ++told[id];
        toldOf[id] = keccak256(abi.encode(reason, resultHash));
        if (now_ == Mood.Reenters) _reenter(id);
    }

    /// One way out a job: with the gas of a callback there is no more.
    function _reenter(uint64 id) private {
        bytes[4] memory calls = [
            abi.encodeCall(_sublet.acceptJob, (id)),
            abi.encodeCall(_sublet.finalizeJob, (id)),
            abi.encodeCall(_sublet.expireJob, (id)),
            abi.encodeCall(_sublet.refuseJob, (id))
        ];
        for (uint256 i; i < 4; ++i) {
            (bool ok,) = address(_sublet).call(calls[i]);
            if (ok) reentered = true;
        }
        (bool resolved,) = _sublet.court().call(abi.encodeCall(ICourt.resolve, (id)));
        if (resolved) reentered = true;
    }
}
