// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IBonds} from "../../src/interfaces/IBonds.sol";
import {ICourt} from "../../src/interfaces/ICourt.sol";
import {IGateways} from "../../src/interfaces/IGateways.sol";
import {IOrders} from "../../src/interfaces/IOrders.sol";
import {ISublet} from "../../src/interfaces/ISublet.sol";
import {ITrunk} from "../../src/interfaces/ITrunk.sol";
import {Coin} from "../mocks/Coin.sol";

/// @notice Every error with which a call may be refused; written out, so that one that is not documented is noticed.
abstract contract Refusals {
    mapping(bytes4 selector => bool) internal _isOurs;

    constructor() {
        _ofSublet();
        _ofTrunk();
        _ofBonds();
        _ofCourt();
        _ofGateways();
        _ofOrders();
        // The token's, whose refusal is passed on.
        _isOurs[Coin.CoinBlocked.selector] = true;
    }

    function _ofSublet() private {
        _isOurs[ISublet.AccountZeroAmount.selector] = true;
        _isOurs[ISublet.AccountZeroAddress.selector] = true;
        _isOurs[ISublet.AccountIsSublet.selector] = true;
        _isOurs[ISublet.AccountShort.selector] = true;
        _isOurs[ISublet.AccountDepositDiffers.selector] = true;
        _isOurs[ISublet.GuardianOnly.selector] = true;
        _isOurs[ISublet.OpenIsPaused.selector] = true;
        _isOurs[ISublet.ProviderUnknown.selector] = true;
        _isOurs[ISublet.ProviderZeroPeerKey.selector] = true;
        _isOurs[ISublet.ProviderInfoTooLong.selector] = true;
        _isOurs[ISublet.ProviderIsOffline.selector] = true;
        _isOurs[ISublet.ProviderStale.selector] = true;
        _isOurs[ISublet.BatchGas.selector] = true;
        _isOurs[ISublet.OfferBadSignature.selector] = true;
        _isOurs[ISublet.OfferExpired.selector] = true;
        _isOurs[ISublet.OfferIsCancelled.selector] = true;
        _isOurs[ISublet.OfferEpochOver.selector] = true;
        _isOurs[ISublet.OfferFull.selector] = true;
        _isOurs[ISublet.OfferZeroPrice.selector] = true;
        _isOurs[ISublet.OfferZeroPledge.selector] = true;
        _isOurs[ISublet.OrderBadSignature.selector] = true;
        _isOurs[ISublet.OrderExpired.selector] = true;
        _isOurs[ISublet.OrderNonceUsed.selector] = true;
        _isOurs[ISublet.OrderOtherSolver.selector] = true;
        _isOurs[ISublet.OrderOtherProvider.selector] = true;
        _isOurs[ISublet.MatchKindDiffers.selector] = true;
        _isOurs[ISublet.MatchTooSmall.selector] = true;
        _isOurs[ISublet.MatchTooLarge.selector] = true;
        _isOurs[ISublet.MatchTraitsDiffer.selector] = true;
        _isOurs[ISublet.MatchPriceTooHigh.selector] = true;
        _isOurs[ISublet.MatchDurationOutside.selector] = true;
        _isOurs[ISublet.MatchMediatorsDiffer.selector] = true;
        _isOurs[ISublet.MatchMediatorsUnknown.selector] = true;
        _isOurs[ISublet.MatchPledgeBelowFees.selector] = true;
        _isOurs[ISublet.MatchWindowTooLong.selector] = true;
        _isOurs[ISublet.MatchLeaseHasClass.selector] = true;
        _isOurs[ISublet.MatchOutOfRange.selector] = true;
        _isOurs[ISublet.AcceptanceBadSignature.selector] = true;
        _isOurs[ISublet.AgreementOtherParty.selector] = true;
        _isOurs[ISublet.AgreementTooLate.selector] = true;
        _isOurs[ISublet.AgreementTooEarly.selector] = true;
        _isOurs[ISublet.LeaseWrongState.selector] = true;
        _isOurs[ISublet.LeaseTooLong.selector] = true;
        _isOurs[ISublet.LeaseNoticeAlreadyGiven.selector] = true;
        _isOurs[ISublet.LeaseZeroSeconds.selector] = true;
        _isOurs[ISublet.LeasePenaltyTooHigh.selector] = true;
        _isOurs[ISublet.JobWrongState.selector] = true;
        _isOurs[ISublet.JobZeroResult.selector] = true;
        _isOurs[ISublet.JobResultDiffers.selector] = true;
        _isOurs[ISublet.JobCostTooHigh.selector] = true;
        _isOurs[ISublet.JobCostTooLow.selector] = true;
        _isOurs[ISublet.JobNotRefusable.selector] = true;
        _isOurs[ISublet.JobNotDisputable.selector] = true;
        _isOurs[ISublet.JobCallbackGas.selector] = true;
    }

    function _ofTrunk() private {
        _isOurs[ITrunk.BranchOnly.selector] = true;
    }

    function _ofBonds() private {
        _isOurs[IBonds.BondZero.selector] = true;
        _isOurs[IBonds.BondTooLarge.selector] = true;
        _isOurs[IBonds.BondUnknown.selector] = true;
        _isOurs[IBonds.BondIsRetired.selector] = true;
        _isOurs[IBonds.BondNotRetired.selector] = true;
        _isOurs[IBonds.BondTooEarly.selector] = true;
        _isOurs[IBonds.BondAtStake.selector] = true;
    }

    function _ofCourt() private {
        _isOurs[ICourt.MediatorZeroPeerKey.selector] = true;
        _isOurs[ICourt.SetTooLarge.selector] = true;
        _isOurs[ICourt.SetNotAscending.selector] = true;
        _isOurs[ICourt.SetBadPanelSize.selector] = true;
        _isOurs[ICourt.SetZeroFee.selector] = true;
        _isOurs[ICourt.SetOtherMembers.selector] = true;
        _isOurs[ICourt.CourtWithoutBlockHashes.selector] = true;
        _isOurs[ICourt.DisputeWrongStage.selector] = true;
        _isOurs[ICourt.DisputeTooEarly.selector] = true;
        _isOurs[ICourt.VoteNotSeated.selector] = true;
        _isOurs[ICourt.VoteWrongStage.selector] = true;
        _isOurs[ICourt.VoteOtherThanCommitted.selector] = true;
    }

    function _ofGateways() private {
        _isOurs[IGateways.GatewayZeroPeerKey.selector] = true;
        _isOurs[IGateways.GatewayBadLength.selector] = true;
    }

    function _ofOrders() private {
        _isOurs[IOrders.OrderNotRenter.selector] = true;
        _isOurs[IOrders.OrderWorkloadDiffers.selector] = true;
        _isOurs[IOrders.OrderWorkloadTooLong.selector] = true;
        _isOurs[IOrders.OrderNoCallback.selector] = true;
    }
}
