// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

/// @notice Finds an entry in an uncompressed tar archive: headers and contents in blocks of 512 bytes.
library Tar {
    uint256 private constant BLOCK = 512;
    /// Where a header has the size: eleven octal digits.
    uint256 private constant SIZE = 124;
    uint256 private constant DIGITS = 11;

    error TarBadSize(uint256 offset);
    error TarNoEntry(bytes32 name);

    /// @notice The contents of the first entry called `name` (at most 31 bytes).
    function entry(bytes calldata archive, bytes32 name) internal pure returns (bytes calldata) {
        uint256 offset;
        while (offset + BLOCK <= archive.length) {
            uint256 start = offset + BLOCK;
            uint256 size = _size(archive, offset);
            if (bytes32(archive[offset:offset + 32]) == name) {
                if (start + size > archive.length) revert TarBadSize(offset);
                return archive[start:start + size];
            }
            offset = start + (size + BLOCK - 1) / BLOCK * BLOCK;
        }
        revert TarNoEntry(name);
    }

    function _size(bytes calldata archive, uint256 offset) private pure returns (uint256 size) {
        for (uint256 i = offset + SIZE; i < offset + SIZE + DIGITS; ++i) {
            // The zeros at the archive's end are a header without a name and of no size.
            uint8 digit = uint8(archive[i]);
            if (digit == 0) continue;
            if (digit < 0x30 || digit > 0x37) revert TarBadSize(offset);
            size = size << 3 | (digit - 0x30);
        }
    }
}
