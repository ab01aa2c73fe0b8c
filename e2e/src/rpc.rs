//! A JSON-RPC client of forty lines, so that what the product says about the chain is checked by something that shares no code with it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A chain's endpoint, like `127.0.0.1:8545`.
pub struct Rpc {
    authority: String,
}

impl Rpc {
    /// From an `http://` URL.
    pub fn new(url: &str) -> Result<Self> {
        let authority = url.strip_prefix("http://").context("the test client speaks plain http only")?;
        Ok(Self { authority: authority.trim_end_matches('/').to_owned() })
    }

    /// Calls `method`; a JSON-RPC error is an error.
    pub fn call(&self, method: &str, params: Value) -> Result<Value> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let mut stream =
            TcpStream::connect(&self.authority).with_context(|| format!("connecting to {}", self.authority))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(
            stream,
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.authority,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let start = answer.find('{').context("the answer holds no JSON")?;
        let end = answer.rfind('}').context("the answer holds no JSON")?;
        let value: Value = serde_json::from_str(&answer[start..=end])?;
        match value.get("error") {
            Some(error) => bail!("{method}: {error}"),
            None => Ok(value["result"].clone()),
        }
    }
}
