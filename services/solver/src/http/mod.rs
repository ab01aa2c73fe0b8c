//! The HTTP interface: routes, limits and the OpenAPI description.

mod accept;
mod caller;
mod documents;
mod events;
mod input;
mod reply;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use sublet_wire::solver::{Info, MAX_BODY};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_scalar::{Scalar, Servable};

pub(crate) use accept::serve;

use crate::desk::Desk;
use crate::refuse;
use caller::{BadHeader, Callers, Subscribers};
use reply::Refused;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What every handler can reach.
#[derive(Clone)]
pub(crate) struct Context {
    desk: Arc<Desk>,
    subscribers: Arc<Subscribers>,
    callers: Arc<Callers>,
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
///
/// # Errors
/// [`BadHeader`], if the configuration names an impossible one.
pub(crate) fn router(desk: Arc<Desk>) -> Result<Router, BadHeader> {
    let context = Context {
        subscribers: Arc::new(Subscribers::new(&desk.config)),
        callers: Arc::new(Callers::new(&desk.config)?),
        desk,
    };
    let (router, description) = api().split_for_parts();
    let described = description.clone();
    let router = router
        .route("/openapi.json", axum::routing::get(move || async move { axum::Json(described) }))
        .merge(Scalar::with_url("/docs", description))
        .fallback(|| async { Refused(refuse::malformed("there is no such path")) })
        .method_not_allowed_fallback(|| async { Refused(refuse::malformed("this path has no such method")) })
        .layer(middleware::from_fn_with_state(context.clone(), caller::limit))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(REQUEST_TIMEOUT, in_time))
        .layer(tower_http::trace::TraceLayer::new_for_http())
        .with_state(context);
    Ok(router)
}

/// Answers for a handler that takes too long.
async fn in_time(State(limit): State<Duration>, request: Request, next: Next) -> Result<Response, Refused> {
    tokio::time::timeout(limit, next.run(request)).await.map_err(|_| Refused(refuse::timed_out()))
}

/// Which solver this is, and how much is on its book.
#[utoipa::path(get, path = "/v1/info", responses((status = OK, body = Info)))]
async fn info(State(context): State<Context>) -> axum::Json<Info> {
    axum::Json(context.desk.info())
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::StatusCode;
    use axum::routing::get;
    use sublet_wire::solver::{Refusal, RefusalCode};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_request_that_takes_too_long_gets_a_refusal_in_json() {
        let slow = get(std::future::pending::<&'static str>);
        let router = Router::new().route("/", slow).layer(middleware::from_fn_with_state(Duration::ZERO, in_time));
        let answer = router.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
        let refusal: Refusal = serde_json::from_slice(&to_bytes(answer.into_body(), MAX_BODY).await.unwrap()).unwrap();
        assert_eq!(refusal.code, RefusalCode::TimedOut);
    }
}
