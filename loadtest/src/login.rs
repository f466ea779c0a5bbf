//! Plain HTTP to the server: one keep-alive connection, opened when first used and again after it broke.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;
use protocol::signature::REPLAYED_HEADER;
use serde::Deserialize;
use tokio::net::TcpStream;
use uuid::Uuid;

/// A reply is read up to this size.
const REPLY_BYTES_MAX: usize = 1 << 20;

/// An answer, read to its end.
pub struct Reply {
    pub status: StatusCode,
    pub body: Bytes,
    /// The server says that an earlier request of the same id was answered so.
    pub replayed: bool,
}

#[derive(Default)]
pub struct Http {
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Http {
    pub const fn is_connected(&self) -> bool {
        self.sender.is_some()
    }

    pub async fn connect(&mut self, address: SocketAddr) -> Result<()> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // The task ends with its connection; whoever sends learns of a failure from the request.
        tokio::spawn(async move { drop(connection.await) });
        self.sender = Some(sender);
        Ok(())
    }

    /// Sends a JSON body; an error means the connection is gone and the outcome unknown.
    pub async fn post(&mut self, host: &str, path: &str, body: Bytes, headers: &[(&str, &str)]) -> Result<Reply> {
        let answer = self.try_post(host, path, body, headers).await;
        if answer.is_err() {
            self.sender = None;
        }
        answer
    }

    async fn try_post(&mut self, host: &str, path: &str, body: Bytes, headers: &[(&str, &str)]) -> Result<Reply> {
        let sender = self.sender.as_mut().context("not connected")?;
        let mut request = Request::post(path)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        for (name, value) in headers {
            request.headers_mut().insert(header::HeaderName::from_bytes(name.as_bytes())?, value.parse()?);
        }
        sender.ready().await?;
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = http_body_util::Limited::new(body, REPLY_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("reading a reply: {error}"))?
            .to_bytes();
        let replayed = parts.headers.get(REPLAYED_HEADER).is_some_and(|value| value == "true");
        Ok(Reply { status: parts.status, body, replayed })
    }
}

#[derive(Debug, Deserialize)]
pub struct LoggedIn {
    pub token: String,
    pub player_id: Uuid,
}

/// The login name of the n-th player; the server counts them from one.
pub fn player_name(index: u32) -> String {
    format!("load-{:06}", index + 1)
}

pub async fn login(http: &mut Http, address: SocketAddr, index: u32) -> Result<LoggedIn> {
    let body = format!("{{\"player\":\"{}\"}}", player_name(index));
    demo(http, address, "/v1/demo/login", body).await
}

/// A launch token for a provider's game.
pub async fn launch(http: &mut Http, address: SocketAddr, index: u32, game: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Launched {
        launch_token: String,
    }
    let body = format!("{{\"player\":\"{}\",\"game\":\"{game}\"}}", player_name(index));
    demo::<Launched>(http, address, "/v1/demo/launch", body).await.map(|launched| launched.launch_token)
}

async fn demo<T: serde::de::DeserializeOwned>(http: &mut Http, address: SocketAddr, path: &str, body: String) -> Result<T> {
    if !http.is_connected() {
        http.connect(address).await?;
    }
    let Reply { status, body, .. } = http.post(&address.to_string(), path, body.into(), &[]).await?;
    ensure!(status == StatusCode::OK, "{path} answered {status}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).with_context(|| format!("reading the answer of {path}"))
}
