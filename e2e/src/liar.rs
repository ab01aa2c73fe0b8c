//! A solver that says of every order what is true of another one, and is honest otherwise.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use anyhow::{Context, Result};
use serde_json::Value;

/// Stands before an honest solver until the test ends.
pub struct Liar {
    url: String,
}

impl Liar {
    /// Before the solver at an `http://` URL, of whose order `other` it tells everybody.
    pub fn before(url: &str, other: &str) -> Result<Self> {
        let honest = url.strip_prefix("http://").context("it speaks plain http only")?.trim_end_matches('/').to_owned();
        let (_, told) = answer(&honest, &format!("GET /v1/orders/{other} HTTP/1.1\r\nHost: {honest}\r\n"), &[])?
            .split_once("\r\n\r\n")
            .map(|(head, body)| (head.to_owned(), body.to_owned()))
            .context("no answer")?;
        let value: Value = serde_json::from_str(&told).with_context(|| told.clone())?;
        anyhow::ensure!(value["state"] == "opened", "it is to say that an order was opened: {value}");
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (honest, told) = (honest.clone(), told.clone());
                // A client that is gone has heard enough.
                std::thread::spawn(move || serve(stream, &honest, &told).ok());
            }
        });
        Ok(Self { url })
    }

    /// What to use instead of the URL behind it.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// One request a connection.
fn serve(stream: TcpStream, honest: &str, told: &str) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "connection" => continue,
            "content-length" => length = value.trim().parse()?,
            _ => {}
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let answer = match head.starts_with("GET /v1/orders/") {
        true => format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{told}",
            told.len()
        ),
        false => answer(honest, &head, &body)?,
    };
    let mut stream = stream;
    stream.write_all(answer.as_bytes())?;
    Ok(stream.shutdown(Shutdown::Write)?)
}

/// The whole answer of the solver at `authority` to one request.
fn answer(authority: &str, head: &str, body: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(authority)?;
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
