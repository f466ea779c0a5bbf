//! A player's client: requests with their answers, pushes in order, and how the connection ended.

use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use protocol::{Problem, frame::ServerFrame};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message},
};
use uuid::Uuid;

use super::{TestServer, WAIT_MAX, new_id};

/// One answer, as it came and as it reads.
#[derive(Debug)]
pub struct Reply {
    pub re: Option<Uuid>,
    pub replayed: bool,
    /// The bytes of `ok` or `error`.
    pub body: String,
    pub result: Result<Value, Box<Problem>>,
}

impl Reply {
    #[track_caller]
    pub fn ok(self) -> Value {
        self.result.unwrap_or_else(|problem| panic!("refused: {problem:?}"))
    }

    #[track_caller]
    pub fn refused(self) -> Problem {
        match self.result {
            Err(problem) => *problem,
            Ok(value) => panic!("carried out: {value}"),
        }
    }

    /// The code of the refusal, or `ok`.
    pub fn code(&self) -> &'static str {
        self.result.as_ref().err().map_or("ok", |problem| problem.code.as_str())
    }
}

#[derive(Clone, Debug)]
pub struct Push {
    pub seq: u64,
    pub name: String,
    pub data: Value,
}

enum Frame {
    Reply(Reply),
    Push(Push),
}

/// One connection.
pub struct Ws {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub pushes: VecDeque<Push>,
    replies: VecDeque<Reply>,
    last_close: Option<u16>,
}

pub fn frame(id: Uuid, name: &str, data: &Value) -> String {
    json!({ "v": 1, "id": id, "type": name, "data": data }).to_string()
}

impl Ws {
    /// A connection without a hello.
    pub async fn open(server: &TestServer) -> Self {
        let (socket, _) = connect_async(server.ws_url()).await.expect("a connection");
        Self { socket, pushes: VecDeque::new(), replies: VecDeque::new(), last_close: None }
    }

    /// A connection that has said hello; the welcome comes with it.
    pub async fn login(server: &TestServer, player: &str) -> (Self, Value) {
        Self::resume(server, player, None).await
    }

    pub async fn resume(server: &TestServer, player: &str, resume_from: Option<u64>) -> (Self, Value) {
        let token = server.token(player).await;
        let mut ws = Self::open(server).await;
        let mut data = json!({ "token": token });
        if let Some(version) = resume_from {
            data["resume_from"] = json!(version);
        }
        let welcome = ws.request("hello", data).await.ok();
        (ws, welcome)
    }

    pub async fn send(&mut self, message: Message) {
        self.socket.send(message).await.expect("it is sent");
    }

    pub async fn send_text(&mut self, text: impl Into<String>) {
        self.send(Message::text(text.into())).await;
    }

    /// Sends, and answers whether the connection took it.
    pub async fn try_send(&mut self, text: String) -> bool {
        self.socket.send(Message::text(text)).await.is_ok()
    }

    /// The connection below, for bytes no client would send.
    pub fn stream(&mut self) -> &mut MaybeTlsStream<TcpStream> {
        self.socket.get_mut()
    }

    async fn message(&mut self) -> Option<Result<Message, tungstenite::Error>> {
        tokio::time::timeout(WAIT_MAX, self.socket.next()).await.expect("the server says something in time")
    }

    /// The next frame; `Err` holds the code of the closing, if there was one.
    async fn next(&mut self) -> Result<Frame, Option<u16>> {
        loop {
            match self.message().await {
                Some(Ok(Message::Text(text))) => return Ok(parse(text.as_str())),
                Some(Ok(Message::Close(close))) => {
                    self.last_close = close.map(|close| close.code.into());
                    return Err(self.last_close);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The next answer, whatever it answers; `None` when the connection has ended.
    pub async fn try_reply(&mut self) -> Option<Reply> {
        if let Some(reply) = self.replies.pop_front() {
            return Some(reply);
        }
        loop {
            match self.next().await {
                Ok(Frame::Reply(reply)) => return Some(reply),
                Ok(Frame::Push(push)) => self.pushes.push_back(push),
                Err(_) => return None,
            }
        }
    }

    pub async fn reply(&mut self) -> Reply {
        self.try_reply().await.expect("an answer before the end of the connection")
    }

    pub async fn request(&mut self, name: &str, data: Value) -> Reply {
        self.request_as(new_id(), name, data).await
    }

    pub async fn request_as(&mut self, id: Uuid, name: &str, data: Value) -> Reply {
        self.send_text(frame(id, name, &data)).await;
        let reply = self.reply().await;
        assert_eq!(reply.re, Some(id), "the answer is for this request: {reply:?}");
        reply
    }

    pub async fn spin(&mut self, stake: i64) -> Reply {
        self.spin_as(new_id(), stake).await
    }

    pub async fn spin_as(&mut self, id: Uuid, stake: i64) -> Reply {
        self.request_as(id, "spin", json!({ "game": "starfall", "stake": stake })).await
    }

    pub async fn balance(&mut self) -> Value {
        self.request("balance", json!({})).await.ok()["balance"].clone()
    }

    /// The next push of a name; others before it are passed over.
    pub async fn push(&mut self, name: &str) -> Push {
        self.push_where(name, |_| true).await
    }

    pub async fn push_where(&mut self, name: &str, mut holds: impl FnMut(&Value) -> bool) -> Push {
        loop {
            while let Some(push) = self.pushes.pop_front() {
                if push.name == name && holds(&push.data) {
                    return push;
                }
            }
            match self.next().await {
                Ok(Frame::Push(push)) => self.pushes.push_back(push),
                Ok(Frame::Reply(reply)) => self.replies.push_back(reply),
                Err(code) => panic!("the connection ended with {code:?} before a push {name}"),
            }
        }
    }

    /// Waits for the end of the connection; pushes and answers before it stay readable.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            match self.next().await {
                Ok(Frame::Push(push)) => self.pushes.push_back(push),
                Ok(Frame::Reply(reply)) => self.replies.push_back(reply),
                Err(code) => return code,
            }
        }
    }

    /// The code of the closing that was read, if there was one.
    pub fn last_close(&self) -> Option<u16> {
        self.last_close
    }

    /// Leaves in order.
    pub async fn close(mut self) {
        drop(self.socket.close(None).await);
    }
}

fn parse(text: &str) -> Frame {
    let frame: ServerFrame = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(frame.v, 1, "{text}");
    if let (Some(seq), Some(name)) = (frame.seq, frame.push) {
        // `null` is data too; an optional field reads it as absent.
        let data = frame.data.map_or(Value::Null, |data| serde_json::from_str(data.0.get()).expect("JSON"));
        return Frame::Push(Push { seq, name, data });
    }
    #[derive(serde::Deserialize)]
    struct Body<'a> {
        #[serde(default, borrow)]
        error: Option<&'a serde_json::value::RawValue>,
    }
    let (body, result) = match (frame.ok, frame.error) {
        (Some(ok), None) => (ok.0.get().to_owned(), Ok(serde_json::from_str(ok.0.get()).expect("JSON"))),
        (None, Some(problem)) => {
            let raw: Body<'_> = serde_json::from_str(text).expect("it was read before");
            (raw.error.map(|raw| raw.get().to_owned()).unwrap_or_default(), Err(Box::new(problem)))
        }
        _ => panic!("neither answer nor push: {text}"),
    };
    Frame::Reply(Reply { re: frame.re.map(|re| re.0), replayed: frame.replayed, body, result })
}
