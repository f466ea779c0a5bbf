//! Every WebSocket frame as a schema: requests, the replies to them, refusals and pushes.

use protocol::{
    Balance, Problem,
    frame::{
        Empty, FairnessView, History, JackpotView, LaunchReply, LeaderboardDelta, LeaderboardView, RealityCheckView, Request,
        RoundView, SessionNotice, SpinResult, VERSION, Welcome, push,
    },
};
use serde_json::{Value, json};

use super::{
    schema,
    shapes::{BalanceTold, EventNotice, ExclusionTold, JackpotWon, LimitTold, LimitsTold, RoundChanged},
};

/// A UUID of version 7, as requests carry it.
fn request_id() -> Value {
    json!({ "type": "string", "format": "uuid", "pattern": "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-7[0-9a-fA-F]{3}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$" })
}

/// Every frame by the name of its file.
pub fn all() -> Vec<(String, Value)> {
    let requests = requests().into_iter().map(|(name, frame)| (format!("request-{name}"), frame));
    let replies = replies().into_iter().map(|(name, frame)| (format!("reply-{name}"), frame));
    let pushes = pushes().into_iter().map(|(name, frame)| (format!("push-{name}"), frame));
    requests.chain(replies).chain(pushes).chain([("refusal".to_owned(), refusal())]).collect()
}

pub fn requests() -> Vec<(&'static str, Value)> {
    Request::schemas()
        .into_iter()
        .map(|(name, data)| {
            let data = data.to_value();
            let is_required = data.get("required").and_then(Value::as_array).is_some_and(|fields| !fields.is_empty());
            let fixed = json!({ "v": { "const": VERSION }, "id": request_id(), "type": { "const": name } });
            let mut frame = schema::frame(&title("Request", name), ("data", data, is_required), fixed, &["v", "id", "type"]);
            frame["additionalProperties"] = false.into();
            (name, frame)
        })
        .collect()
}

/// What each request is answered when it is not refused.
pub fn replies() -> Vec<(&'static str, Value)> {
    let bodies = [
        ("hello", schema::of::<Welcome>()),
        ("spin", schema::of::<SpinResult>()),
        ("balance", schema::of::<BalanceTold>()),
        ("reality_check.ack", schema::of::<BalanceTold>()),
        ("limit.set", schema::of::<LimitTold>()),
        ("limit.get", schema::of::<LimitsTold>()),
        ("rg.time_out", schema::of::<ExclusionTold>()),
        ("rg.self_exclude", schema::of::<ExclusionTold>()),
        ("bonus.forfeit", schema::of::<BalanceTold>()),
        ("fairness.get", schema::of::<FairnessView>()),
        ("fairness.rotate", schema::of::<FairnessView>()),
        ("history", schema::of::<History>()),
        ("round", schema::of::<RoundView>()),
        ("game.launch", schema::of::<LaunchReply>()),
        ("leaderboard", schema::of::<LeaderboardView>()),
        ("session.end", schema::of::<BalanceTold>()),
        ("ping", schema::of::<Empty>()),
    ];
    bodies
        .into_iter()
        .map(|(name, body)| {
            let fixed = json!({ "v": { "const": VERSION }, "re": request_id(), "replayed": { "const": true } });
            (name, schema::frame(&title("Reply", name), ("ok", body, true), fixed, &["v", "re"]))
        })
        .collect()
}

pub fn pushes() -> Vec<(&'static str, Value)> {
    let bodies = [
        (push::BALANCE, schema::of::<Balance>()),
        (push::ROUND, schema::of::<RoundChanged>()),
        (push::JACKPOT, schema::of::<JackpotView>()),
        (push::JACKPOT_WON, schema::of::<JackpotWon>()),
        (push::LEADERBOARD, schema::of::<LeaderboardDelta>()),
        // Null once it is acknowledged.
        (push::REALITY_CHECK, schema::of::<Option<RealityCheckView>>()),
        (push::LIMIT, schema::of::<EventNotice>()),
        (push::SESSION, schema::of::<SessionNotice>()),
        (push::BONUS, schema::of::<EventNotice>()),
    ];
    bodies
        .into_iter()
        .map(|(name, body)| {
            let seq = json!({ "type": "integer", "minimum": 1, "description": "grows by one per push of a connection" });
            let fixed = json!({ "v": { "const": VERSION }, "seq": seq, "push": { "const": name } });
            (name, schema::frame(&title("Push", name), ("data", body, true), fixed, &["v", "seq", "push"]))
        })
        .collect()
}

/// A refusal; `re` is null when the request's id could not be made out.
pub fn refusal() -> Value {
    let re = json!({ "anyOf": [request_id(), { "type": "null" }] });
    let fixed = json!({ "v": { "const": VERSION }, "re": re, "replayed": { "const": true } });
    schema::frame("Refusal", ("error", schema::of::<Problem>(), true), fixed, &["v", "re"])
}

/// `RequestLimitSet` for ("Request", "limit.set").
pub fn title(prefix: &str, name: &str) -> String {
    let words = name.split(['.', '_']).map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest
    });
    words.fold(prefix.to_owned(), |title, word| title + &word)
}
