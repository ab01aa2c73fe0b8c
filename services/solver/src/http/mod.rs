//! The HTTP interface: routes, limits and the OpenAPI description.

mod documents;
mod events;
mod input;
mod reply;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use sublet_wire::solver::{Info, MAX_BODY};
use tokio::sync::Semaphore;
use tower_http::timeout::TimeoutLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_scalar::{Scalar, Servable};

use crate::desk::Desk;
use crate::limits::Buckets;
use crate::refuse;
use reply::Refused;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What every handler can reach.
#[derive(Clone)]
pub(crate) struct Context {
    desk: Arc<Desk>,
    subscribers: Arc<Semaphore>,
    per_address: Arc<Buckets<IpAddr>>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sublet solver",
        description = "The book of signed offers and orders. Writes are authenticated by the EIP-712 signature inside; \
                       reads are public. Every refusal is JSON with a code, a sentence and a remedy.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    components(schemas(sublet_wire::solver::Event))
)]
struct Description;

fn api() -> OpenApiRouter<Context> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(documents::list_offers, documents::post_offer))
        .routes(routes!(documents::get_offer, documents::cancel_offer))
        .routes(routes!(documents::post_order))
        .routes(routes!(documents::get_order, documents::cancel_order))
        .routes(routes!(info))
        .routes(routes!(events::events))
}

/// The OpenAPI description of the interface, as pretty JSON.
///
/// # Errors
/// None in practice: the description is a constant.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&api().to_openapi())
}

/// The whole interface.
pub(crate) fn router(desk: Arc<Desk>) -> Router {
    let context = Context {
        subscribers: Arc::new(Semaphore::new(desk.config.max_subscribers as usize)),
        per_address: Arc::new(Buckets::new(desk.config.requests_per_minute)),
        desk,
    };
    let (router, description) = api().split_for_parts();
    let described = description.clone();
    router
        .route("/openapi.json", axum::routing::get(move || async move { axum::Json(described) }))
        .merge(Scalar::with_url("/docs", description))
        .fallback(|| async { Refused(refuse::malformed("there is no such path")) })
        .method_not_allowed_fallback(|| async { Refused(refuse::malformed("this path has no such method")) })
        .layer(middleware::from_fn_with_state(context.clone(), limit))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
        .layer(tower_http::trace::TraceLayer::new_for_http())
        .with_state(context)
}

async fn limit(
    State(context): State<Context>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Result<Response, Refused> {
    context.per_address.take(peer.ip(), Instant::now()).map_err(|wait| Refused(refuse::too_many(wait)))?;
    Ok(next.run(request).await)
}

/// Which solver this is, and how much is on its book.
#[utoipa::path(get, path = "/v1/info", responses((status = OK, body = Info)))]
async fn info(State(context): State<Context>) -> axum::Json<Info> {
    axum::Json(context.desk.info())
}
