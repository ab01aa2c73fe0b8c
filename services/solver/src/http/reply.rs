//! Refusals as HTTP answers.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use sublet_wire::solver::{Refusal, RefusalCode};

/// A refusal on its way out.
pub(crate) struct Refused(pub(crate) Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

fn status(code: RefusalCode) -> StatusCode {
    match code {
        RefusalCode::Malformed => StatusCode::BAD_REQUEST,
        RefusalCode::WrongSignature => StatusCode::FORBIDDEN,
        RefusalCode::Expired
        | RefusalCode::TooFarAhead
        | RefusalCode::OldEpoch
        | RefusalCode::BalanceTooLow
        | RefusalCode::ProviderOffline
        | RefusalCode::OtherSolver
        | RefusalCode::FeeTooLow
        | RefusalCode::Senseless => StatusCode::UNPROCESSABLE_ENTITY,
        RefusalCode::Cancelled | RefusalCode::NonceUsed | RefusalCode::TooLate => StatusCode::CONFLICT,
        RefusalCode::NotFound => StatusCode::NOT_FOUND,
        RefusalCode::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        RefusalCode::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        RefusalCode::BookFull | RefusalCode::ChainUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        RefusalCode::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        RefusalCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        tracing::debug!(code = ?self.0.code, message = %self.0.message, "refused");
        (status(self.0.code), Json(self.0)).into_response()
    }
}
