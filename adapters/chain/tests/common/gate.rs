//! Stands in front of the real node and answers some questions itself: a node that lags, limits, or does not know.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// `result` or `error` of an answer, from the method and its parameters. `None`: the real node answers.
pub type Rule = dyn Fn(&str, &Value) -> Option<Value> + Send + Sync;

/// The address of the gate; it stands as long as the test runs.
pub async fn gate(node: &str, rule: Arc<Rule>) -> Result<String, std::io::Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, node) = (listener.local_addr()?, node.to_owned());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (node, rule) = (node.clone(), Arc::clone(&rule));
            tokio::spawn(async move { serve(stream, &node, &*rule).await.map_err(|e| e.to_string()) });
        }
    });
    Ok(format!("http://{address}"))
}

async fn serve(mut stream: TcpStream, node: &str, rule: &Rule) -> super::Outcome {
    let question = read(&mut stream).await?;
    let mine = rule(question["method"].as_str().unwrap_or_default(), &question["params"]);
    let answer = match mine {
        Some(mut answer) => {
            answer["jsonrpc"] = json!("2.0");
            answer["id"] = question["id"].clone();
            answer.to_string()
        }
        None => {
            let asking = reqwest::Client::new().post(node).header("content-type", "application/json");
            asking.body(question.to_string()).send().await?.text().await?
        }
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
    Ok(stream.write_all(answer.as_bytes()).await?)
}

async fn read(stream: &mut TcpStream) -> Result<Value, Box<dyn std::error::Error>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap_or("0");
            let body = end + 4..end + 4 + length.trim().parse::<usize>()?;
            if bytes.len() >= body.end {
                return Ok(serde_json::from_slice(&bytes[body])?);
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err("the question was cut off".into());
        }
    }
}
