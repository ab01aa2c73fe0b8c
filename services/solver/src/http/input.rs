//! Bodies, paths and queries that refuse in the interface's own words.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use sublet_base::B256;

use super::reply::Refused;
use crate::refuse;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

/// The hash in the path.
pub(super) struct Hash(pub(super) B256);

/// The query.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(refused(&rejection)),
        }
    }
}

fn refused(rejection: &JsonRejection) -> Refused {
    Refused(if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        refuse::too_long()
    } else {
        refuse::malformed(rejection.body_text())
    })
}

impl<S: Send + Sync> FromRequestParts<S> for Hash {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let path: Result<Path<B256>, PathRejection> = Path::from_request_parts(parts, state).await;
        path.map(|Path(hash)| Self(hash))
            .map_err(|_| Refused(refuse::malformed("the path ends with a hash: 0x and 64 hex digits")))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        query.map(|Query(value)| Self(value)).map_err(|rejection| Refused(refuse::malformed(rejection.body_text())))
    }
}
