//! AsyncAPI 3.0: the player's WebSocket and every event.

use protocol::{Envelope, Fact};
use serde_json::{Map, Value, json};

use super::{VERSION, frames, schema, schema::Components};

pub fn document() -> Value {
    build().0
}

/// The document and the names two schemas claimed.
pub fn build() -> (Value, Vec<String>) {
    let mut components = Components::default();
    let mut messages = Map::new();
    let mut operations = Map::new();
    let refusal = message(&mut components, &mut messages, "refusal", frames::refusal());
    let mut play = vec![refusal.clone()];
    for ((name, request), (_, reply)) in frames::requests().into_iter().zip(frames::replies()) {
        let request = message(&mut components, &mut messages, &format!("request.{name}"), request);
        let reply = message(&mut components, &mut messages, &format!("reply.{name}"), reply);
        let answer = json!({ "channel": { "$ref": "#/channels/play" }, "messages": [on("play", &reply), on("play", &refusal)] });
        operations.insert(
            name.to_owned(),
            json!({ "action": "receive", "channel": { "$ref": "#/channels/play" }, "messages": [on("play", &request)], "reply": answer }),
        );
        play.extend([request, reply]);
    }
    let pushes: Vec<String> = frames::pushes()
        .into_iter()
        .map(|(name, push)| message(&mut components, &mut messages, &format!("push.{name}"), push))
        .collect();
    operations.insert("push".to_owned(), send("play", &pushes));
    play.extend(pushes);
    let events = events(&mut components, &mut messages);
    operations.insert("event".to_owned(), send("events", &events));
    let clashes = std::mem::take(&mut components.clashes);
    let document = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "pitboss",
            "version": VERSION,
            "description": "JSON text frames of the player's WebSocket, and the events consumers follow. \
                Money is minor units of the named currency; ids made by clients are UUIDs of version 7.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "play": {
                "address": "/ws",
                "description": "The first frame is a hello with a session token. A request is answered once, by its id, with a reply \
                    or a refusal; the same id gets the same answer again, marked as replayed.",
                "messages": references(&play),
            },
            "events": {
                "address": "events",
                "description": "At least once, in order for each player. Consumers keep shard and sequence as their position.",
                "messages": references(&events),
            },
        },
        "operations": operations,
        "components": { "messages": messages, "schemas": components.into_value() },
    });
    (document, clashes)
}

fn message(components: &mut Components, messages: &mut Map<String, Value>, name: &str, frame: Value) -> String {
    let payload = components.add(frame);
    messages.insert(name.to_owned(), json!({ "name": name, "payload": payload }));
    name.to_owned()
}

fn references(names: &[String]) -> Value {
    let entries = names.iter().map(|name| (name.clone(), json!({ "$ref": format!("#/components/messages/{name}") })));
    entries.collect::<Map<_, _>>().into()
}

fn on(channel: &str, message: &str) -> Value {
    json!({ "$ref": format!("#/channels/{channel}/messages/{message}") })
}

fn send(channel: &str, names: &[String]) -> Value {
    let messages: Vec<_> = names.iter().map(|name| on(channel, name)).collect();
    json!({ "action": "send", "channel": { "$ref": format!("#/channels/{channel}") }, "messages": messages })
}

/// One message for each event type: the envelope with the type's own payload.
fn events(components: &mut Components, messages: &mut Map<String, Value>) -> Vec<String> {
    // The envelope's own payload would be any event; each message narrows it to one.
    let mut envelope = schema::of::<Envelope>();
    envelope["properties"]["payload"] = json!({ "type": "object" });
    if let Some(definitions) = envelope["$defs"].as_object_mut() {
        definitions.retain(|name, _| ENVELOPE_DEFINITIONS.contains(&name.as_str()));
    }
    let envelope = components.add(envelope);
    let mut names = Vec::new();
    for (event_type, version, payload) in Fact::schemas() {
        let payload = components.add(payload.to_value());
        let own = json!({ "event_type": { "const": event_type }, "schema_version": { "const": version }, "payload": payload });
        let narrowed = json!({ "allOf": [envelope, { "type": "object", "properties": own }] });
        let name = format!("event.{event_type}.v{version}");
        messages.insert(name.clone(), json!({ "name": event_type, "payload": narrowed }));
        names.push(name);
    }
    names
}

/// What the envelope itself refers to, apart from payloads.
const ENVELOPE_DEFINITIONS: [&str; 6] = ["EventId", "PlayerId", "SessionId", "Slug", "TenantId", "TraceId"];
