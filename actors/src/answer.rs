//! How an answer travels back to whoever asked, and what a lost answer means.

use bytes::{BufMut, Bytes, BytesMut};
use protocol::{ErrorCode, Problem};

/// What a command was answered. The body is JSON: the reply, or an encoded [`Problem`].
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub ok: bool,
    pub body: Bytes,
    /// Stored by an earlier command with the same id.
    pub replayed: bool,
    /// HTTP status; 200 for replies.
    pub status: u16,
    /// For metrics: the code of a refusal.
    pub code: Option<ErrorCode>,
}

const STORED_OK: u8 = b'+';
const STORED_PROBLEM: u8 = b'-';

impl Answer {
    pub fn ok(body: Bytes) -> Self {
        Self { ok: true, body, replayed: false, status: 200, code: None }
    }

    pub fn json(body: &impl serde::Serialize) -> Self {
        Self::ok(Bytes::from(serde_json::to_vec(body).unwrap_or_default()))
    }

    pub fn problem(problem: &Problem) -> Self {
        let body = Bytes::from(serde_json::to_vec(problem).unwrap_or_default());
        Self { ok: false, body, replayed: false, status: problem.status, code: Some(problem.code) }
    }

    /// The stored form: one byte for the kind, then the body.
    pub fn to_stored(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.body.len() + 1);
        bytes.put_u8(if self.ok { STORED_OK } else { STORED_PROBLEM });
        bytes.put_slice(&self.body);
        bytes.freeze()
    }

    /// Reads a stored reply back, marked as replayed.
    pub fn from_stored(stored: &Bytes) -> Self {
        let body = stored.slice(stored.len().min(1)..);
        if stored.first() == Some(&STORED_OK) {
            return Self { replayed: true, ..Self::ok(body) };
        }
        let problem = serde_json::from_slice::<Problem>(&body).ok();
        let status = problem.as_ref().map_or(500, |problem| problem.status);
        Self { ok: false, body, replayed: true, status, code: problem.map(|problem| problem.code) }
    }
}

impl From<ErrorCode> for Answer {
    fn from(code: ErrorCode) -> Self {
        Self::problem(&Problem::new(code))
    }
}

/// The way back to one asker. Dropped unanswered it delivers [`Lost::lost`]: unknown, never no.
pub struct Port<T: Lost>(Option<Box<dyn FnOnce(T) + Send + Sync>>);

/// What a message says when its sender died.
pub trait Lost {
    fn lost() -> Self;
}

/// The way back to one caller at the edge.
pub type Responder = Port<Answer>;

impl Lost for Answer {
    fn lost() -> Self {
        ErrorCode::Unknown.into()
    }
}

impl<T: Lost> Port<T> {
    pub fn new(deliver: impl FnOnce(T) + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(deliver)))
    }

    /// A port and the receiver of its message.
    pub fn oneshot() -> (Self, tokio::sync::oneshot::Receiver<T>)
    where
        T: Send + 'static,
    {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        (Self::new(move |message| drop(sender.send(message))), receiver)
    }

    /// For commands nobody waits for.
    pub fn nobody() -> Self {
        Self(None)
    }

    pub fn send(mut self, message: T) {
        if let Some(deliver) = self.0.take() {
            deliver(message);
        }
    }
}

impl<T: Lost> Drop for Port<T> {
    fn drop(&mut self) {
        if let Some(deliver) = self.0.take() {
            deliver(T::lost());
        }
    }
}

impl<T: Lost> std::fmt::Debug for Port<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Port")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_responder_says_unknown_and_a_used_one_speaks_once() {
        let (responder, mut receiver) = Responder::oneshot();
        drop(responder);
        assert_eq!(receiver.try_recv().map(|answer| answer.code), Ok(Some(ErrorCode::Unknown)));
        let (responder, mut receiver) = Responder::oneshot();
        responder.send(Answer::ok(Bytes::from_static(b"1")));
        assert_eq!(receiver.try_recv().map(|answer| answer.ok), Ok(true));
    }

    #[test]
    fn stored_answers_come_back_byte_for_byte() {
        for answer in [Answer::ok(Bytes::from_static(b"{\"a\":1}")), Answer::from(ErrorCode::LossLimit)] {
            let back = Answer::from_stored(&answer.to_stored());
            assert_eq!((back.ok, &back.body, back.status, back.code), (answer.ok, &answer.body, answer.status, answer.code));
            assert!(back.replayed);
        }
    }
}
