//! Offers and orders: post, read, cancel.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sublet_wire::solver::{
    Accepted, OfferPage, OfferQuery, OfferView, OrderView, Refusal, SignedCancel, SignedOffer, SignedOrder,
};

use super::Context;
use super::input::{Asked, Body, Hash};
use super::reply::Refused;
use crate::refuse;

/// Post a signed offer. Posting it again is harmless.
#[utoipa::path(post, path = "/v1/offers", request_body = SignedOffer,
    responses((status = CREATED, body = Accepted), (status = "default", body = Refusal)))]
pub(super) async fn post_offer(
    State(context): State<Context>,
    Body(signed): Body<SignedOffer>,
) -> Result<(StatusCode, Json<Accepted>), Refused> {
    let signed = signed.try_into().map_err(|error| refuse::invalid(&error))?;
    let accepted = context.desk.post_offer(signed).await?;
    Ok((StatusCode::CREATED, Json(accepted)))
}

/// Live offers, cheapest first.
#[utoipa::path(get, path = "/v1/offers", params(OfferQuery),
    responses((status = OK, body = OfferPage), (status = "default", body = Refusal)))]
pub(super) async fn list_offers(
    State(context): State<Context>,
    Asked(query): Asked<OfferQuery>,
) -> Result<Json<OfferPage>, Refused> {
    Ok(Json(context.desk.offers(&query)?))
}

/// One live offer.
#[utoipa::path(get, path = "/v1/offers/{hash}", params(("hash" = String, Path, description = "0x hex")),
    responses((status = OK, body = OfferView), (status = "default", body = Refusal)))]
pub(super) async fn get_offer(State(context): State<Context>, Hash(hash): Hash) -> Result<Json<OfferView>, Refused> {
    Ok(Json(context.desk.offer_view(hash)?))
}

/// Take an offer off this book. Other solvers may still have it; only the contract's `cancelOffer` binds everyone.
#[utoipa::path(delete, path = "/v1/offers/{hash}", params(("hash" = String, Path, description = "0x hex")),
    request_body = SignedCancel, responses((status = NO_CONTENT), (status = "default", body = Refusal)))]
pub(super) async fn cancel_offer(
    State(context): State<Context>,
    Hash(hash): Hash,
    Body(cancel): Body<SignedCancel>,
) -> Result<StatusCode, Refused> {
    context.desk.cancel_offer(hash, &cancel).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Post a signed order. Posting it again is harmless and answers where it is.
#[utoipa::path(post, path = "/v1/orders", request_body = SignedOrder,
    responses((status = CREATED, body = OrderView), (status = "default", body = Refusal)))]
pub(super) async fn post_order(
    State(context): State<Context>,
    Body(signed): Body<SignedOrder>,
) -> Result<(StatusCode, Json<OrderView>), Refused> {
    let signed = signed.try_into().map_err(|error| refuse::invalid(&error))?;
    let view = context.desk.post_order(signed).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// Where an order is, and why it is not filled.
#[utoipa::path(get, path = "/v1/orders/{hash}", params(("hash" = String, Path, description = "0x hex")),
    responses((status = OK, body = OrderView), (status = "default", body = Refusal)))]
pub(super) async fn get_order(State(context): State<Context>, Hash(hash): Hash) -> Result<Json<OrderView>, Refused> {
    Ok(Json(context.desk.order_view(hash).await?))
}

/// Take a waiting order off this book. Only the contract's `cancelOrder` binds everyone.
#[utoipa::path(delete, path = "/v1/orders/{hash}", params(("hash" = String, Path, description = "0x hex")),
    request_body = SignedCancel, responses((status = OK, body = OrderView), (status = "default", body = Refusal)))]
pub(super) async fn cancel_order(
    State(context): State<Context>,
    Hash(hash): Hash,
    Body(cancel): Body<SignedCancel>,
) -> Result<Json<OrderView>, Refused> {
    Ok(Json(context.desk.cancel_order(hash, &cancel).await?))
}
