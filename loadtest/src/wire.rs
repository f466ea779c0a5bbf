//! Frames and bodies as the load tester writes and reads them: written by hand, read only as far as needed.

use protocol::{Amount, Balance, Currency, ErrorCode, GameId, problem::Retry};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::record::Numbers;

/// A spin request; the text is built around its id.
#[derive(Clone, Debug)]
pub struct SpinFrame {
    tail: String,
}

const HEAD: &str = "{\"v\":1,\"id\":\"";

impl SpinFrame {
    pub fn new(game: GameId, stake: i64) -> Self {
        Self { tail: format!("\",\"type\":\"spin\",\"data\":{{\"game\":\"{game}\",\"stake\":{stake}}}}}") }
    }

    pub fn text(&self, id: Uuid) -> String {
        let mut buffer = Uuid::encode_buffer();
        let id = id.hyphenated().encode_lower(&mut buffer);
        let mut text = String::with_capacity(HEAD.len() + id.len() + self.tail.len());
        text.push_str(HEAD);
        text.push_str(id);
        text.push_str(&self.tail);
        text
    }
}

/// A frame of the server, bodies as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    Accepted {
        re: Uuid,
        body: &'a str,
        replayed: bool,
    },
    /// `re` is absent when the server could not make out the request's id.
    Refused {
        re: Option<Uuid>,
        body: &'a str,
    },
    Push,
}

/// Reads a frame. The usual shape is taken apart by position; anything else goes through the JSON reader.
pub fn read_frame(text: &str) -> Result<Incoming<'_>, serde_json::Error> {
    if text.starts_with("{\"v\":1,\"seq\":") {
        return Ok(Incoming::Push);
    }
    match read_usual_reply(text) {
        Some(incoming) => Ok(incoming),
        None => read_any_frame(text),
    }
}

fn read_usual_reply(text: &str) -> Option<Incoming<'_>> {
    let rest = text.strip_prefix("{\"v\":1,\"re\":\"")?;
    let re = Uuid::try_parse(rest.get(..36)?).ok()?;
    let rest = rest.get(36..)?;
    let (rest, replayed) = match rest.strip_suffix(",\"replayed\":true}") {
        Some(rest) => (rest, true),
        None => (rest.strip_suffix('}')?, false),
    };
    if let Some(body) = rest.strip_prefix("\",\"ok\":") {
        return Some(Incoming::Accepted { re, body, replayed });
    }
    let body = rest.strip_prefix("\",\"error\":")?;
    Some(Incoming::Refused { re: Some(re), body })
}

fn read_any_frame(text: &str) -> Result<Incoming<'_>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Frame<'a> {
        #[serde(default)]
        re: Option<Uuid>,
        #[serde(default, borrow)]
        ok: Option<&'a RawValue>,
        #[serde(default, borrow)]
        error: Option<&'a RawValue>,
        #[serde(default)]
        replayed: bool,
    }
    let frame: Frame<'_> = serde_json::from_str(text)?;
    Ok(match (frame.re, frame.ok, frame.error) {
        (Some(re), Some(ok), None) => Incoming::Accepted { re, body: ok.get(), replayed: frame.replayed },
        (re, _, Some(error)) => Incoming::Refused { re, body: error.get() },
        _ => Incoming::Push,
    })
}

/// What a refusal says to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    pub code: ErrorCode,
    pub retry: Retry,
}

pub fn read_refusal(body: &str) -> Result<Refusal, serde_json::Error> {
    serde_json::from_str(body)
}

/// The numbers of a spin's reply, and what it does to the player's money in all.
pub fn read_spin(body: &str, stake: i64) -> Result<(Numbers, Option<i64>), serde_json::Error> {
    #[derive(Deserialize)]
    struct Spin {
        win: Amount,
        #[serde(default)]
        win_bonus: Amount,
        balance: Balance,
    }
    let Spin { win, win_bonus, balance } = serde_json::from_str(body)?;
    let Balance { cash, bonus, in_play, version } = balance;
    let numbers = Numbers { cash: cash.0, bonus: bonus.0, in_play: in_play.0, version, win: win.0 };
    // With bonus money a spin may also convert or forfeit a grant; then only the fold of the legs can judge it.
    let net = (win_bonus.is_zero() && bonus.is_zero()).then(|| win.0.saturating_sub(stake));
    Ok((numbers, net))
}

/// The numbers of a provider's money reply; `None` when an amount cannot be read.
pub fn read_money(body: &str) -> Result<Option<Numbers>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Money<'a> {
        currency: Currency,
        #[serde(borrow)]
        cash: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        bonus: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        in_play: std::borrow::Cow<'a, str>,
        version: u64,
    }
    let money: Money<'_> = serde_json::from_str(body)?;
    let read = |text: &str| money.currency.parse(text).ok().map(|amount| amount.0);
    let (Some(cash), Some(bonus), Some(in_play)) = (read(&money.cash), read(&money.bonus), read(&money.in_play)) else {
        return Ok(None);
    };
    Ok(Some(Numbers { cash, bonus, in_play, version: money.version, win: 0 }))
}

/// Refusals of the connection or the session rather than of the operation: connect anew and ask again with the same id.
pub const fn is_about_connection(code: ErrorCode) -> bool {
    use ErrorCode::*;
    matches!(code, Unauthenticated | TokenInvalid | TokenExpired | SessionReplaced | ShuttingDown)
}

/// Refusals the edge gives before anything is decided; no ledger unit stands behind them.
pub const fn is_unrecorded(code: ErrorCode) -> bool {
    use ErrorCode::*;
    let edge =
        matches!(code, MalformedFrame | MalformedBody | Oversize | UnsupportedVersion | UnknownType | NotUuidV7 | InvalidAmount);
    edge || is_about_connection(code)
        || matches!(
            code,
            SubMinorStake
                | WrongCurrency
                | InvalidValue
                | NotFound
                | MethodNotAllowed
                | OriginRefused
                | SignatureInvalid
                | KeyUnknown
                | Forbidden
                | UnknownPlayer
                | UnknownGame
                | NoSession
                | RateLimited
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{
        Problem, RequestId,
        frame::{ClientFrame, Request, refusal_text, reply_text},
    };

    const ID: Uuid = Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001);

    #[test]
    fn a_spin_is_written_as_the_server_reads_it() {
        let text = SpinFrame::new("starfall".parse().unwrap(), 20).text(ID);
        let frame = ClientFrame::parse(&text).unwrap();
        assert_eq!(frame.id, RequestId(ID));
        let Request::Spin(spin) = frame.request else { panic!("{text}") };
        assert_eq!((spin.game.as_str(), spin.stake), ("starfall", Amount(20)));
    }

    #[test]
    fn replies_are_read_as_the_server_writes_them() {
        let body = r#"{"a":{"b":1}}"#;
        for replayed in [false, true] {
            let text = reply_text(RequestId(ID), body.as_bytes(), replayed);
            assert!(read_usual_reply(&text).is_some());
            assert_eq!(read_frame(&text).unwrap(), Incoming::Accepted { re: ID, body, replayed });
            let spaced = text.replace(':', ": ").replace(": {\"b\": 1}", ":{\"b\":1}");
            assert_eq!(read_frame(&spaced).unwrap(), Incoming::Accepted { re: ID, body, replayed });
        }
        let problem = serde_json::to_string(&Problem::new(ErrorCode::Busy).number("wait_ms", 3)).unwrap();
        let text = refusal_text(Some(RequestId(ID)), problem.as_bytes(), false);
        assert_eq!(read_frame(&text).unwrap(), Incoming::Refused { re: Some(ID), body: &problem });
        assert_eq!(read_refusal(&problem).unwrap(), Refusal { code: ErrorCode::Busy, retry: Retry::Later });
        let text = refusal_text(None, problem.as_bytes(), false);
        assert_eq!(read_frame(&text).unwrap(), Incoming::Refused { re: None, body: &problem });
        assert_eq!(read_frame(&protocol::frame::push_text(3, "balance", "{}")).unwrap(), Incoming::Push);
        assert!(read_frame("{\"v\":1,\"re\":\"nonsense").is_err());
    }

    #[test]
    fn the_numbers_are_read_from_both_kinds_of_reply() {
        let spin = r#"{"round":"r","stake":20,"stake_bonus":0,"win":50,"win_bonus":0,"detail":{},"balance":{"cash":1030,"bonus":0,"in_play":4,"version":7}}"#;
        let numbers = Numbers { cash: 1030, bonus: 0, in_play: 4, version: 7, win: 50 };
        assert_eq!(read_spin(spin, 20).unwrap(), (numbers, Some(30)));
        let money = r#"{"transaction_id":"x","outcome":"win_paid","currency":"EUR","cash":"10.30","bonus":"0.00","in_play":"0.04","version":7}"#;
        assert_eq!(read_money(money).unwrap(), Some(Numbers { win: 0, ..numbers }));
        assert_eq!(read_money(&money.replace("10.30", "-x")).unwrap(), None);
    }
}
