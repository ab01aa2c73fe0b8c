// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {Offer, Order} from "../Types.sol";
import {ISublet} from "../interfaces/ISublet.sol";

/// @notice What was signed, by whom, and what of it was taken back.
abstract contract Documents is ISublet, EIP712 {
    bytes32 internal constant RESOURCES_TYPEHASH =
        keccak256("Resources(uint32 vcpus,uint32 memoryMiB,uint32 diskGiB,uint32 gpus,bytes32 traits)");
    bytes32 internal constant OFFER_TYPEHASH = keccak256(
        "Offer(address provider,uint8 kind,Resources resources,uint128 price,uint32 pledgeBps,uint32 capacity,uint32 minDuration,uint32 maxDuration,uint32 startWithin,uint32 notice,uint32 minCharge,uint64 mediatorSet,uint32 maxChallengeWindow,uint64 validUntil,uint64 epoch)Resources(uint32 vcpus,uint32 memoryMiB,uint32 diskGiB,uint32 gpus,bytes32 traits)"
    );
    bytes32 internal constant ORDER_TYPEHASH = keccak256(
        "Order(address renter,uint8 kind,Resources resources,uint128 maxPrice,uint32 duration,bytes32 workload,bytes32 peerKey,uint8 class,uint64 mediatorSet,uint32 challengeWindow,uint32 minPledgeBps,uint32 maxStartWithin,uint32 minNotice,uint32 maxMinCharge,address provider,address solver,uint128 solverFee,uint64 validUntil,uint256 nonce)Resources(uint32 vcpus,uint32 memoryMiB,uint32 diskGiB,uint32 gpus,bytes32 traits)"
    );
    bytes32 internal constant ACCEPTANCE_TYPEHASH = keccak256("Acceptance(uint64 job,bytes32 resultHash,uint128 cost)");

    // Bytes of a document in call data: a word for each member, those of the resources included.
    uint256 internal constant OFFER_SIZE = 19 * 32;
    uint256 internal constant ORDER_SIZE = 23 * 32;

    mapping(address provider => mapping(bytes32 offerHash => bool)) private _cancelled;
    mapping(address renter => mapping(uint256 word => uint256 bits)) private _nonces;

    constructor() EIP712("Sublet", "1") {}

    /// As OpenZeppelin's, without its way for names that do not fit a word.
    function eip712Domain()
        public
        view
        override
        returns (bytes1, string memory, string memory, uint256, address, bytes32, uint256[] memory)
    {
        return (hex"0f", "Sublet", "1", block.chainid, address(this), 0, new uint256[](0));
    }

    /// @inheritdoc ISublet
    function cancelOffer(bytes32 offerHash) external {
        _cancelled[msg.sender][offerHash] = true;
        emit OfferCancelled(msg.sender, offerHash);
    }

    /// @inheritdoc ISublet
    function cancelOrder(uint256 nonce) external {
        _useNonce(msg.sender, nonce);
        emit OrderCancelled(msg.sender, nonce);
    }

    /// @inheritdoc ISublet
    function isOfferCancelled(address provider, bytes32 offerHash) public view returns (bool) {
        return _cancelled[provider][offerHash];
    }

    /// @inheritdoc ISublet
    function isNonceUsed(address renter, uint256 nonce) external view returns (bool) {
        return _nonces[renter][nonce >> 8] & (1 << (nonce & 0xff)) != 0;
    }

    /// @inheritdoc ISublet
    function hashOffer(Offer calldata offer) public view returns (bytes32) {
        uint256 start;
        assembly ("memory-safe") {
            start := offer
        }
        return _hashDocument(OFFER_TYPEHASH, start, OFFER_SIZE);
    }

    /// @inheritdoc ISublet
    function hashOrder(Order calldata order) public view returns (bytes32) {
        uint256 start;
        assembly ("memory-safe") {
            start := order
        }
        return _hashDocument(ORDER_TYPEHASH, start, ORDER_SIZE);
    }

    /// @inheritdoc ISublet
    function hashAcceptance(uint64 id, bytes32 resultHash, uint128 cost) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(ACCEPTANCE_TYPEHASH, id, resultHash, cost)));
    }

    function _useNonce(address renter, uint256 nonce) internal {
        uint256 bit = 1 << (nonce & 0xff);
        uint256 word = _nonces[renter][nonce >> 8];
        if (word & bit != 0) revert OrderNonceUsed(renter, nonce);
        _nonces[renter][nonce >> 8] = word | bit;
    }

    /// A key's signature first, so that a plain account keeps signing after it delegated to code (EIP-7702).
    function _isSignedBy(address signer, bytes32 digest, bytes calldata signature) internal view returns (bool) {
        (address recovered, ECDSA.RecoverError failure,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (failure == ECDSA.RecoverError.NoError && recovered == signer) return true;
        return signer.code.length != 0 && SignatureChecker.isValidERC1271SignatureNowCalldata(signer, digest, signature);
    }

    /// Offer and Order both have their resources third. In the call data their members are as EIP-712 encodes them, but for
    /// the five of the resources, which their hash replaces.
    function _hashDocument(bytes32 typeHash, uint256 start, uint256 size) private view returns (bytes32) {
        bytes32 structHash;
        bytes32 resourcesTypeHash = RESOURCES_TYPEHASH;
        assembly ("memory-safe") {
            let m := mload(0x40)
            mstore(m, resourcesTypeHash)
            calldatacopy(add(m, 0x20), add(start, 0x40), 0xa0)
            let resources := keccak256(m, 0xc0)
            mstore(m, typeHash)
            calldatacopy(add(m, 0x20), start, 0x40)
            mstore(add(m, 0x60), resources)
            calldatacopy(add(m, 0x80), add(start, 0xe0), sub(size, 0xe0))
            structHash := keccak256(m, sub(size, 0x60))
        }
        return _hashTypedDataV4(structHash);
    }
}
