//! OpenAPI 3.1: the provider contract, the public HTTP addresses and the internal ones.

use std::collections::BTreeMap;

use protocol::{
    ErrorCode, Problem,
    frame::{GameView, JackpotView, LaunchReply, LeaderboardView},
    provider::{self, path},
    signature::{KEY_HEADER, REPLAYED_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER},
};
use serde_json::{Map, Value, json};

use super::{
    VERSION,
    schema::Components,
    shapes::{DemoLaunch, DemoLogin, DemoPlayerView, DemoToken},
};

pub fn document() -> Value {
    build().0
}

/// The document and the names two schemas claimed.
pub fn build() -> (Value, Vec<String>) {
    let mut components = Components::default();
    components.add_type::<Problem>();
    let mut paths = Map::new();
    provider_paths(&mut components, &mut paths);
    public_paths(&mut components, &mut paths);
    internal_paths(&mut paths);
    let clashes = std::mem::take(&mut components.clashes);
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "pitboss",
            "version": VERSION,
            "description": "Provider contract v1 and the public and internal HTTP addresses. Each group has a listener of its own. \
                Every error is a problem document (RFC 9457) with a stable code.",
        },
        "tags": [
            { "name": "provider", "description": "Signed callbacks of game providers, on the provider listener." },
            { "name": "public", "description": "On the public listener." },
            { "name": "internal", "description": "On the internal listener only." },
        ],
        "paths": paths,
        "components": {
            "schemas": components.into_value(),
            "responses": problems(),
            "securitySchemes": {
                "key": header(KEY_HEADER, "Names the signing key; two may be valid while one replaces the other."),
                "timestamp": header(TIMESTAMP_HEADER, "Milliseconds since the Unix epoch, decimal, within the replay window."),
                "signature": header(SIGNATURE_HEADER, "Lower-case hex of HMAC-SHA256 over method, path and timestamp, each followed by a \
                    line feed, and the raw body."),
            },
        },
    });
    (document, clashes)
}

fn header(name: &str, description: &str) -> Value {
    json!({ "type": "apiKey", "in": "header", "name": name, "description": description })
}

/// Every code grouped by its status: one shared response each.
fn problems() -> Value {
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in ErrorCode::ALL {
        by_status.entry(code.status()).or_default().push(*code);
    }
    let response = |codes: &[ErrorCode]| {
        let lines: Vec<_> = codes.iter().map(|code| format!("- `{code}`: {} (retry: {})", code.title(), retry(*code))).collect();
        let names: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
        let narrowed =
            json!({ "allOf": [{ "$ref": "#/components/schemas/Problem" }, { "properties": { "code": { "enum": names } } }] });
        json!({ "description": lines.join("\n"), "content": { "application/problem+json": { "schema": narrowed } } })
    };
    by_status.iter().map(|(status, codes)| (format!("Problem{status}"), response(codes))).collect::<Map<_, _>>().into()
}

const fn retry(code: ErrorCode) -> &'static str {
    match code.retry() {
        protocol::problem::Retry::Never => "never",
        protocol::problem::Retry::Later => "later",
        protocol::problem::Retry::SameId => "same id",
    }
}

/// The 200 response and the problems of the statuses given.
fn responses(ok: Value, statuses: &[u16]) -> Value {
    let problems =
        statuses.iter().map(|status| (status.to_string(), json!({ "$ref": format!("#/components/responses/Problem{status}") })));
    std::iter::once(("200".to_owned(), ok)).chain(problems).collect::<Map<_, _>>().into()
}

fn json_body(description: &str, schema: Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

/// Statuses a read, and a call that moves money, may answer.
const READ_STATUSES: [u16; 7] = [400, 401, 403, 404, 405, 413, 503];
const MONEY_STATUSES: [u16; 12] = [400, 401, 402, 403, 404, 405, 409, 413, 422, 429, 500, 503];

fn provider_paths(components: &mut Components, paths: &mut Map<String, Value>) {
    let money = components.add_type::<provider::MoneyReply>();
    let authenticated = components.add_type::<provider::Authenticated>();
    let balance = components.add_type::<provider::BalanceReply>();
    let calls = [
        (
            path::AUTHENTICATE,
            "authenticate",
            "Exchanges a launch token for the player behind it",
            components.add_type::<provider::Authenticate>(),
            authenticated,
            false,
        ),
        (path::BALANCE, "balance", "Reads a player's balances", components.add_type::<provider::BalanceQuery>(), balance, false),
        (path::BET, "bet", "Takes a stake", components.add_type::<provider::Bet>(), money.clone(), true),
        (path::WIN, "win", "Pays a win of a bet; zero settles a loss", components.add_type::<provider::Win>(), money.clone(), true),
        (path::ROLLBACK, "rollback", "Takes a bet or a win back", components.add_type::<provider::Rollback>(), money.clone(), true),
        (
            path::ROUND_CLOSE,
            "round_close",
            "Releases the stakes a round still holds",
            components.add_type::<provider::RoundClose>(),
            money.clone(),
            true,
        ),
        (
            path::PROMO_WIN,
            "promo_win",
            "Pays a win without a bet, for a campaign",
            components.add_type::<provider::PromoWin>(),
            money,
            true,
        ),
    ];
    for (path, name, summary, request, reply, moves_money) in calls {
        let mut ok = json_body(if moves_money { "Durable." } else { "Read after the last commit." }, reply);
        if moves_money {
            ok["headers"] = json!({ REPLAYED_HEADER: {
                "description": "`true` when an earlier, identical request stored this answer",
                "schema": { "type": "string", "const": "true" },
            } });
        }
        let operation = json!({
            "operationId": name,
            "tags": ["provider"],
            "summary": summary,
            "security": [{ "key": [], "timestamp": [], "signature": [] }],
            "requestBody": { "required": true, "content": { "application/json": { "schema": request } } },
            "responses": responses(ok, if moves_money { &MONEY_STATUSES } else { &READ_STATUSES }),
        });
        paths.insert(path.to_owned(), json!({ "post": operation }));
    }
}

fn public_paths(components: &mut Components, paths: &mut Map<String, Value>) {
    let tenant = json!([{ "name": "tenant", "in": "query", "required": false, "schema": { "type": "string" }, "description": "A brand; absent means the first one" }]);
    let players = components.add_type::<DemoPlayerView>();
    let games = components.add_type::<GameView>();
    let jackpots = components.add_type::<JackpotView>();
    let board = components.add_type::<LeaderboardView>();
    let lists = [
        ("/v1/demo/players", "demo_players", "Demo players that may log in", list(players), Value::Null),
        ("/v1/games", "games", "The games of a brand", list(games), tenant.clone()),
        ("/v1/jackpots", "jackpots", "The jackpots of a brand", list(jackpots), tenant.clone()),
        ("/v1/leaderboard", "leaderboard", "The leaderboard of a brand", board, tenant),
    ];
    for (path, name, summary, schema, parameters) in lists {
        let mut operation = json!({
            "operationId": name,
            "tags": ["public"],
            "summary": summary,
            "responses": responses(json_body("As it stands.", schema), &[404, 405, 503]),
        });
        if !parameters.is_null() {
            operation["parameters"] = parameters;
        }
        paths.insert(path.to_owned(), json!({ "get": operation }));
    }
    let login = (components.add_type::<DemoLogin>(), components.add_type::<DemoToken>());
    let launch = (components.add_type::<DemoLaunch>(), components.add_type::<LaunchReply>());
    for (path, name, summary, (request, reply)) in [
        ("/v1/demo/login", "demo_login", "Logs a demo player in; only while the demo is enabled", login),
        ("/v1/demo/launch", "demo_launch", "Launches a provider's game for a demo player; only while the demo is enabled", launch),
    ] {
        let operation = json!({
            "operationId": name,
            "tags": ["public"],
            "summary": summary,
            "requestBody": { "required": true, "content": { "application/json": { "schema": request } } },
            "responses": responses(json_body("Done.", reply), &[400, 403, 404, 405, 413, 503]),
        });
        paths.insert(path.to_owned(), json!({ "post": operation }));
    }
    for (path, name, summary) in [
        ("/healthz", "healthz", "Whether the process runs"),
        ("/readyz", "readyz", "Whether bets are taken; not while starting, draining or without the ledger"),
    ] {
        paths.insert(path.to_owned(), plain(name, "public", summary, "text/plain", &[503]));
    }
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn internal_paths(paths: &mut Map<String, Value>) {
    paths.insert("/metrics".to_owned(), plain("metrics", "internal", "Metrics in Prometheus text format", "text/plain", &[]));
    paths.insert("/ops".to_owned(), plain("ops", "internal", "The operators' page", "text/html", &[]));
}

fn plain(name: &str, tag: &str, summary: &str, media: &str, statuses: &[u16]) -> Value {
    let ok = json!({ "description": "Yes.", "content": { media: { "schema": { "type": "string" } } } });
    json!({ "get": { "operationId": name, "tags": [tag], "summary": summary, "responses": responses(ok, statuses) } })
}
