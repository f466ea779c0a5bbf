//! The WebSocket: one task per connection, JSON text frames of protocol version 1.
//!
//! | bound | over it |
//! |---|---|
//! | `hello_timeout_s` until the first valid hello | closed |
//! | `frame_bytes_max` a frame | `oversize`, closed |
//! | `in_flight_max` requests without an answer | `busy` at once |
//! | `outbound_frames_max` waiting pushes | `drop_pushes`: left out, the client hears `slow` and asks again; `close`: closed |
//! | a frame not taken by the client within [`SEND_MAX`] | closed |
//! | `idle_timeout_s` without any frame, pong included | closed |
//!
//! A frame that cannot be read is answered and the connection goes on; only what would lose the framing, the identity or a
//! bound closes it, with a reason. Replies are never dropped: a connection that cannot take one is closed, and the client
//! repeats the same id on the next.

mod requests;
mod session;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actors::{
    Answer,
    floor::{Connection, Push},
};
use axum::{
    extract::{
        ConnectInfo, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use futures_util::{SinkExt, StreamExt};
use protocol::{
    ErrorCode, PlayerId, Problem, RequestId, TenantId,
    frame::{self, ClientFrame, Request, SessionNotice, push},
};
use tokio::sync::mpsc;

use super::{Edge, answers::Refusal};
use crate::config::SlowReader;

/// Longest time one write may take.
const SEND_MAX: Duration = Duration::from_secs(10);
/// Replies and pushes written before the socket is flushed.
const FLUSH_FRAMES_MAX: usize = 64;

mod close {
    pub const GOING_AWAY: u16 = 1001;
    pub const POLICY: u16 = 1008;
    pub const TOO_BIG: u16 = 1009;
    pub const TRY_AGAIN: u16 = 1013;
}

/// Takes an upgrade when origin, bounds and state allow it.
pub async fn upgrade(
    State(edge): State<Arc<Edge>>,
    ConnectInfo(_): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !origin_allowed(&edge, &headers) {
        return Refusal::from(ErrorCode::OriginRefused).into_response();
    }
    if edge.stopping.load(Ordering::Relaxed) {
        return Refusal::from(ErrorCode::ShuttingDown).into_response();
    }
    let Some(counted) = Counted::enter(&edge) else { return Refusal::from(ErrorCode::Busy).into_response() };
    let ws = &edge.config.ws;
    upgrade
        .read_buffer_size(ws.read_buffer_bytes)
        .write_buffer_size(0)
        .max_message_size(ws.frame_bytes_max)
        .max_frame_size(ws.frame_bytes_max)
        .on_upgrade(move |socket| Box::pin(Task::new(edge, counted).run(socket)))
}

/// Without an `Origin` it is no browser; with one it must be listed, or be the host itself when none is.
fn origin_allowed(edge: &Edge, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let allowed = &edge.config.ws.origins;
    if !allowed.is_empty() {
        return allowed.iter().any(|known| known == origin);
    }
    same_host(headers)
}

/// Whether the page that asks came from the host it asks, or no browser asks.
pub fn same_host(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let of_origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    host.is_some() && host == of_origin
}

/// One of at most `connections_max`.
struct Counted(Arc<Edge>);

impl Counted {
    fn enter(edge: &Arc<Edge>) -> Option<Self> {
        let before = edge.connections.fetch_add(1, Ordering::Relaxed);
        let counted = Self(Arc::clone(edge));
        (before < edge.config.ws.connections_max as u64).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer on its way to this connection's socket.
struct Reply {
    re: RequestId,
    answer: Answer,
    since: Instant,
}

/// Who sits at this connection after a hello.
#[derive(Clone, Copy)]
struct Seat {
    player: PlayerId,
    tenant: TenantId,
}

/// Why a connection ends.
struct End {
    code: u16,
    reason: &'static str,
}

struct Task {
    edge: Arc<Edge>,
    id: u64,
    seat: Option<Seat>,
    replies: mpsc::Sender<Reply>,
    reply_queue: mpsc::Receiver<Reply>,
    pushes: mpsc::Sender<Push>,
    push_queue: mpsc::Receiver<Push>,
    watches_board: Arc<AtomicBool>,
    push_sequence: u64,
    /// Requests without an answer.
    in_flight: usize,
    /// Pushes left out so far, counted by whoever pushes.
    dropped: Arc<AtomicU64>,
    dropped_told: u64,
    heard_at: Instant,
    _counted: Counted,
}

impl Task {
    fn new(edge: Arc<Edge>, counted: Counted) -> Self {
        let id = edge.connection_ids.fetch_add(1, Ordering::Relaxed);
        // One place more than requests may be in flight: a reply always finds room.
        let (replies, reply_queue) = mpsc::channel(edge.config.ws.in_flight_max + 1);
        let (pushes, push_queue) = mpsc::channel(edge.config.ws.outbound_frames_max);
        Self {
            edge,
            id,
            seat: None,
            replies,
            reply_queue,
            pushes,
            push_queue,
            watches_board: Arc::default(),
            push_sequence: 0,
            in_flight: 0,
            dropped: Arc::default(),
            dropped_told: 0,
            heard_at: Instant::now(),
            _counted: counted,
        }
    }

    async fn run(mut self, mut socket: WebSocket) {
        let end = self.serve(&mut socket).await;
        if let Some(seat) = self.seat {
            self.edge.core.floor.disconnect(seat.player, self.id);
        }
        if let Err(End { code, reason }) = end {
            let frame = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
            drop(tokio::time::timeout(SEND_MAX, socket.send(frame)).await);
        }
    }

    /// Until the client leaves (`Ok`) or the connection must end.
    async fn serve(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        let ws = &self.edge.config.ws;
        // Made once: a future that is made anew for each frame would register and unregister itself each time.
        let mut hello_over = std::pin::pin!(tokio::time::sleep(Duration::from_secs(ws.hello_timeout_s)));
        let mut beat = tokio::time::interval(Duration::from_secs(ws.ping_interval_s));
        beat.tick().await;
        let mut stop = self.edge.stop.clone();
        let mut stopped = std::pin::pin!(crate::stop::stopped(&mut stop));
        loop {
            tokio::select! {
                biased;
                reply = self.reply_queue.recv() => if let Some(reply) = reply { self.write_replies(socket, reply).await? },
                message = socket.next() => match message {
                    Some(Ok(message)) => if !self.message(socket, message).await? { return Ok(()) },
                    Some(Err(error)) if is_oversize(&error.to_string()) => {
                        let problem = Problem::new(ErrorCode::Oversize).number("bytes_max", self.edge.config.ws.frame_bytes_max);
                        self.refuse(socket, None, &problem).await?;
                        return Err(End { code: close::TOO_BIG, reason: "the frame is longer than allowed" });
                    }
                    // Anything else is a connection that is gone.
                    Some(Err(_)) => return Ok(()),
                    None => return Ok(()),
                },
                push = self.push_queue.recv() => if let Some(push) = push { self.write_pushes(socket, push).await? },
                _ = beat.tick() => self.beat(socket).await?,
                () = &mut hello_over, if self.seat.is_none() => {
                    return Err(End { code: close::POLICY, reason: "no hello in time" });
                }
                () = &mut stopped => {
                    self.notice(socket, "shutting_down", "reconnect and repeat what was not answered").await?;
                    return Err(End { code: close::GOING_AWAY, reason: "the server is stopping" });
                }
            }
        }
    }

    /// Handles one message; `false` when the client closes.
    async fn message(&mut self, socket: &mut WebSocket, message: Message) -> Result<bool, End> {
        self.heard_at = Instant::now();
        match message {
            Message::Text(text) => self.frame(socket, text.as_str()).await?,
            Message::Binary(_) => {
                let problem = Problem::new(ErrorCode::MalformedFrame).detail("frames are text");
                self.refuse(socket, None, &problem).await?;
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(_) => return Ok(false),
        }
        Ok(true)
    }

    async fn frame(&mut self, socket: &mut WebSocket, text: &str) -> Result<(), End> {
        let frame = match ClientFrame::parse(text) {
            Ok(frame) => frame,
            Err(error) => return self.refuse(socket, error.re, &error.problem).await,
        };
        match (self.seat, frame.request) {
            (_, Request::Hello(hello)) => self.hello(socket, frame.id, hello).await,
            (None, _) => {
                self.refuse(socket, Some(frame.id), &ErrorCode::Unauthenticated.into()).await?;
                Err(End { code: close::POLICY, reason: "the first frame must be a hello" })
            }
            (Some(_), _) if self.in_flight >= self.edge.config.ws.in_flight_max => {
                self.refuse(socket, Some(frame.id), &ErrorCode::Busy.into()).await
            }
            (Some(seat), request) => {
                self.in_flight += 1;
                self.request(seat, frame.id, request);
                Ok(())
            }
        }
    }

    // Writing.

    /// Writes a reply and whatever else is ready, then flushes once.
    async fn write_replies(&mut self, socket: &mut WebSocket, first: Reply) -> Result<(), End> {
        let mut next = Some(first);
        for _ in 0..FLUSH_FRAMES_MAX {
            let Some(Reply { re, answer, since }) = next else { break };
            self.in_flight = self.in_flight.saturating_sub(1);
            let text = match answer.ok {
                true => frame::reply_text(re, &answer.body, answer.replayed),
                false => frame::refusal_text(Some(re), &answer.body, answer.replayed),
            };
            feed(socket, text).await?;
            self.edge.core.floor.shared().stats.answered(answer.code, since.elapsed());
            next = self.reply_queue.try_recv().ok();
        }
        if let Some(reply) = next {
            // Over the bound of one flush; its place in the queue is free, so this cannot fail.
            drop(self.replies.try_send(reply));
        }
        flush(socket).await
    }

    async fn write_pushes(&mut self, socket: &mut WebSocket, first: Push) -> Result<(), End> {
        let mut next = Some(first);
        let mut closes = false;
        for _ in 0..FLUSH_FRAMES_MAX {
            let Some(push) = next.take() else { break };
            closes |= push.closes;
            self.push(socket, push.name, &push.data).await?;
            next = self.push_queue.try_recv().ok();
        }
        if let Some(push) = next {
            self.push(socket, push.name, &push.data).await?;
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > self.dropped_told {
            self.dropped_told = dropped;
            if self.edge.config.ws.slow_reader == SlowReader::Close {
                return Err(End { code: close::TRY_AGAIN, reason: "pushes were not read in time" });
            }
            self.notice(socket, "slow", "pushes were left out; ask for what you show").await?;
        }
        flush(socket).await?;
        if closes { Err(End { code: close::POLICY, reason: "another connection has taken over the session" }) } else { Ok(()) }
    }

    async fn beat(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        if self.heard_at.elapsed() > Duration::from_secs(self.edge.config.ws.idle_timeout_s) {
            return Err(End { code: close::POLICY, reason: "nothing was heard for too long" });
        }
        send(socket, Message::Ping(Default::default())).await
    }

    async fn notice(&mut self, socket: &mut WebSocket, notice: &str, detail: &str) -> Result<(), End> {
        let notice = SessionNotice { notice: notice.to_owned(), detail: detail.to_owned() };
        self.push(socket, push::SESSION, &serde_json::to_string(&notice).unwrap_or_default()).await?;
        flush(socket).await
    }

    async fn push(&mut self, socket: &mut WebSocket, name: &str, data: &str) -> Result<(), End> {
        self.push_sequence += 1;
        feed(socket, frame::push_text(self.push_sequence, name, data)).await
    }

    async fn refuse(&self, socket: &mut WebSocket, re: Option<RequestId>, problem: &Problem) -> Result<(), End> {
        self.edge.core.floor.shared().stats.refused(problem.code);
        let body = serde_json::to_vec(problem).unwrap_or_default();
        send(socket, Message::Text(frame::refusal_text(re, &body, false).into())).await
    }

    /// The connection as the floor knows it.
    fn connection(&self, tenant: TenantId) -> Connection {
        Connection {
            id: self.id,
            pushes: self.pushes.clone(),
            dropped: Arc::clone(&self.dropped),
            tenant,
            watches_board: Arc::clone(&self.watches_board),
        }
    }
}

/// Whether the socket failed because a frame was over its bound; the library tells it in words only.
fn is_oversize(error: &str) -> bool {
    error.contains("too long") || error.contains("too big")
}

async fn feed(socket: &mut WebSocket, text: String) -> Result<(), End> {
    within(socket.feed(Message::Text(text.into()))).await
}

async fn flush(socket: &mut WebSocket) -> Result<(), End> {
    within(socket.flush()).await
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), End> {
    within(socket.send(message)).await
}

async fn within<E>(write: impl Future<Output = Result<(), E>>) -> Result<(), End> {
    match tokio::time::timeout(SEND_MAX, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(End { code: close::TRY_AGAIN, reason: "the connection takes nothing any more" }),
    }
}
