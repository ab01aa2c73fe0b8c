//! The solver's client: signed documents in, book and live events out.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sublet_base::B256;
use sublet_wire::solver::{
    Accepted, Event, EventBody, Info, OfferPage, OfferQuery, OfferView, OrderView, Refusal, SignedCancel, SignedOffer,
    SignedOrder,
};
use thiserror::Error;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Longest answer read, bytes.
const MAX_ANSWER: usize = 4 << 20;
const TIMEOUT: Duration = Duration::from_secs(30);
/// The solver pings every 20 seconds; a longer silence is a dead connection.
const SILENCE: Duration = Duration::from_secs(60);

/// Why a call to a solver failed.
#[derive(Debug, Error)]
pub enum SolverError {
    /// The address is no `http` or `https` URL.
    #[error("`{0}` is not the address of a solver; write for example http://127.0.0.1:7610")]
    Address(String),
    /// No answer. It is not known whether the solver acted; posting the same document again is harmless.
    #[error("the solver at {url} does not answer")]
    Unreachable {
        /// Which solver.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The solver said no.
    #[error("the solver refuses")]
    Refused(#[source] Refusal),
    /// Whatever answers there is no solver of this version.
    #[error("{url} does not answer like a solver: {detail}")]
    Strange {
        /// Which solver.
        url: String,
        /// What is odd.
        detail: String,
    },
}

impl SolverError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refusal) => refusal.code.retryable(),
            Self::Address(_) | Self::Strange { .. } => false,
        }
    }

    /// The refusal, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Address(_) | Self::Unreachable { .. } | Self::Strange { .. } => None,
        }
    }
}

/// Talks to one solver. Clones share connections.
#[derive(Clone, Debug)]
pub struct SolverClient {
    base: Url,
    http: reqwest::Client,
}

impl SolverClient {
    /// A client of the solver at `url`; nothing is sent yet.
    ///
    /// # Errors
    /// [`SolverError::Address`].
    pub fn new(url: &str) -> Result<Self, SolverError> {
        let invalid = || SolverError::Address(url.chars().take(200).collect());
        let mut base = Url::parse(url).map_err(|_| invalid())?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(invalid());
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(|_| invalid())?;
        Ok(Self { base, http })
    }

    /// The solver's address.
    #[must_use]
    pub fn url(&self) -> &str {
        self.base.as_str()
    }

    /// Which solver it is.
    ///
    /// # Errors
    /// [`SolverError`].
    pub async fn info(&self) -> Result<Info, SolverError> {
        self.call(self.request(Method::GET, "v1/info")?).await
    }

    /// Puts an offer on the book.
    ///
    /// # Errors
    /// [`SolverError`].
    pub async fn post_offer(&self, offer: &SignedOffer) -> Result<Accepted, SolverError> {
        self.send(Method::POST, "v1/offers", offer).await
    }

    /// A page of offers, cheapest first.
    ///
    /// # Errors
    /// [`SolverError`].
    pub async fn offers(&self, query: &OfferQuery) -> Result<OfferPage, SolverError> {
        self.call(self.request(Method::GET, "v1/offers")?.query(query)).await
    }

    /// One offer.
    ///
    /// # Errors
    /// [`SolverError`].
    pub async fn offer(&self, hash: B256) -> Result<OfferView, SolverError> {
        self.call(self.request(Method::GET, &format!("v1/offers/{hash}"))?).await
    }

    /// Takes an offer off this solver's book.
    ///
    /// # Errors
    /// [`SolverError`].
    pub async fn cancel_offer(&self, hash: B256, cancel: &SignedCancel) -> Result<(), SolverError> {
        let request = self.request(Method::DELETE, &format!("v1/offers/{hash}"))?.json(cancel);
        self.answer(request).await.map(|_| ())
    }

    /// Puts an order on the book; harmless to repeat.
    ///
    /// # Errors
    /// [`SolverError`].
    pub async fn post_order(&self, order: &SignedOrder) -> Result<OrderView, SolverError> {
        self.send(Method::POST, "v1/orders", order).await
    }

    /// Where an order is.
    ///
    /// # Errors
    /// [`SolverError`].
    pub async fn order(&self, hash: B256) -> Result<OrderView, SolverError> {
        self.call(self.request(Method::GET, &format!("v1/orders/{hash}"))?).await
    }

    /// Takes an order off this solver's book.
    ///
    /// # Errors
    /// [`SolverError`].
    pub async fn cancel_order(&self, hash: B256, cancel: &SignedCancel) -> Result<OrderView, SolverError> {
        self.send(Method::DELETE, &format!("v1/orders/{hash}"), cancel).await
    }

    /// Live events after `after`, or from now on.
    ///
    /// # Errors
    /// [`SolverError`].
    pub async fn events(&self, after: Option<u64>) -> Result<Events, SolverError> {
        let mut url = self.at("v1/events")?;
        if let Some(after) = after {
            url.query_pairs_mut().append_pair("after", &after.to_string());
        }
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        url.set_scheme(scheme).map_err(|()| SolverError::Address(self.base.to_string()))?;
        let connecting = tokio_tungstenite::connect_async(url.as_str());
        let connected = tokio::time::timeout(TIMEOUT, connecting).await;
        let (socket, _) = connected.map_err(|e| self.unreachable(e))?.map_err(|e| match e {
            tungstenite::Error::Http(answer) => {
                self.odd_answer(answer.status(), answer.body().as_deref().unwrap_or_default())
            }
            other => self.unreachable(other),
        })?;
        Ok(Events { client: self.clone(), socket, last: after })
    }

    fn at(&self, path: &str) -> Result<Url, SolverError> {
        self.base.join(path).map_err(|_| SolverError::Address(self.base.to_string()))
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, SolverError> {
        Ok(self.http.request(method, self.at(path)?))
    }

    async fn send<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<T, SolverError> {
        self.call(self.request(method, path)?.json(body)).await
    }

    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, SolverError> {
        let body = self.answer(request).await?;
        serde_json::from_slice(&body).map_err(|error| self.strange(error.to_string()))
    }

    /// The body of a successful answer.
    async fn answer(&self, request: RequestBuilder) -> Result<Vec<u8>, SolverError> {
        let mut answer = request.send().await.map_err(|e| self.unreachable(e.without_url()))?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| self.unreachable(e.without_url()))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.strange(format!("its answer is longer than {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() { Ok(body) } else { Err(self.odd_answer(status, &body)) }
    }

    fn odd_answer(&self, status: StatusCode, body: &[u8]) -> SolverError {
        match serde_json::from_slice::<Refusal>(body) {
            Ok(refusal) => SolverError::Refused(refusal),
            // It is somebody's on the way, who says that the solver is not there now.
            Err(_) if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                self.unreachable(std::io::Error::other(format!("status {status}")))
            }
            Err(_) => self.strange(format!("status {status}")),
        }
    }

    fn unreachable(&self, source: impl std::error::Error + Send + Sync + 'static) -> SolverError {
        SolverError::Unreachable { url: self.base.to_string(), source: Box::new(source) }
    }

    fn strange(&self, detail: String) -> SolverError {
        SolverError::Strange { url: self.base.to_string(), detail }
    }
}

/// The solver's live events. After an error, make a new one with [`Events::last`].
pub struct Events {
    client: SolverClient,
    socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
    last: Option<u64>,
}

impl Events {
    /// The next event.
    ///
    /// # Errors
    /// [`SolverError::Unreachable`] when the connection ends: subscribe again.
    pub async fn next(&mut self) -> Result<Event, SolverError> {
        loop {
            let received =
                tokio::time::timeout(SILENCE, self.socket.next()).await.map_err(|e| self.client.unreachable(e))?;
            match received {
                Some(Ok(Message::Text(text))) => {
                    let event: Event = serde_json::from_str(&text).map_err(|e| self.client.strange(e.to_string()))?;
                    if event.body != EventBody::Gap {
                        self.last = Some(event.id);
                    }
                    return Ok(event);
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => {
                    return Err(self.client.unreachable(std::io::Error::from(std::io::ErrorKind::ConnectionAborted)));
                }
                Some(Err(error)) => return Err(self.client.unreachable(error)),
            }
        }
    }

    /// Id of the last event that came, to go on from.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.last
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        let _ = self.socket.send(Message::Close(None)).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What a client makes of this answer.
    async fn made_of(answer: &'static str) -> SolverError {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let answering = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a client");
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(answer.as_bytes()).await;
        });
        let client = SolverClient::new(&format!("http://{address}")).expect("an address");
        let error = client.info().await.expect_err("no information");
        answering.await.expect("answered");
        error
    }

    #[tokio::test]
    async fn a_proxy_without_its_solver_is_no_answer() {
        for status in ["408 Request Timeout", "502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"] {
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let error = made_of(answer.leak()).await;
            assert!(error.is_retryable() && matches!(error, SolverError::Unreachable { .. }), "{status}: {error:?}");
        }
        let error = made_of("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        assert!(matches!(error, SolverError::Strange { .. }), "{error:?}");
    }
}
