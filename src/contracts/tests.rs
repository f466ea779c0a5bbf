//! What is published is what the code speaks: nothing stale, nothing missing, and samples made from a schema are read back.

use std::collections::BTreeSet;

use protocol::{ErrorCode, Fact, Problem, frame::ClientFrame, frame::Request, provider};
use serde_json::{Map, Value, json};

use super::*;

#[test]
fn the_committed_contracts_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/contracts");
    let fresh = files();
    for (name, text) in &fresh {
        let committed = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(
            committed == *text,
            "docs/contracts/{name} is stale: run `cargo run -- contracts export docs/contracts` and commit it"
        );
    }
    let mut committed = BTreeSet::new();
    for (below, prefix) in [(folder.clone(), ""), (folder.join("schemas"), "schemas/")] {
        let entries = fs::read_dir(below).unwrap().map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file());
        committed.extend(entries.map(|entry| format!("{prefix}{}", entry.file_name().to_string_lossy())));
    }
    assert_eq!(committed, fresh.into_keys().collect(), "docs/contracts holds files that are no longer exported");
}

#[test]
fn an_export_writes_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let paths = export(folder.path()).unwrap();
    assert_eq!(paths.len(), files().len());
    for path in paths {
        assert!(serde_json::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap().is_object());
    }
}

#[test]
fn every_code_event_request_and_call_is_published() {
    let files = files();
    for code in ErrorCode::ALL {
        assert!(files["openapi.json"].contains(&format!("`{code}`")), "{code}");
        assert!(files["schemas/problem.json"].contains(&format!("\"{code}\"")), "{code}");
    }
    for (event_type, version) in Fact::TYPES {
        assert!(files.contains_key(&format!("schemas/{event_type}.v{version}.json")));
        assert!(files["asyncapi.json"].contains(&format!("\"event.{event_type}.v{version}\"")));
    }
    let replies: Vec<_> = frames::replies().into_iter().map(|(name, _)| name).collect();
    assert_eq!(replies, Request::TYPES, "every request has its reply, in the same order");
    let document: Value = serde_json::from_str(&files["openapi.json"]).unwrap();
    for path in [provider::path::AUTHENTICATE, provider::path::BET, provider::path::PROMO_WIN, "/healthz", "/v1/demo/login"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_no_name_means_two_things() {
    assert_eq!((openapi::build().1, asyncapi::build().1), (Vec::new(), Vec::new()));
    for (name, text) in files() {
        let document: Value = serde_json::from_str(&text).unwrap();
        let mut references = Vec::new();
        collect_references(&document, &mut references);
        for reference in references {
            let pointer = reference.strip_prefix('#').unwrap();
            // A message's name holds dots, a channel's message is itself a reference; both are found by their parts.
            assert!(document.pointer(pointer).is_some(), "{name}: {reference}");
        }
    }
}

fn collect_references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            into.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
            object.values().for_each(|value| collect_references(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_references(value, into)),
        _ => {}
    }
}

#[test]
fn a_request_made_from_its_schema_is_read_and_fits_it() {
    for (name, frame) in frames::requests() {
        let text = sample(&frame, &frame).to_string();
        let read = ClientFrame::parse(&text).unwrap_or_else(|error| panic!("{name}: {text}: {error:?}"));
        assert_eq!(read.request.type_name(), name);
        fits(&frame, &frame, &serde_json::from_str(&read.to_text()).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut wrong = sample(&frame, &frame);
        wrong["type"] = "no_such".into();
        assert!(fits(&frame, &frame, &wrong).is_err());
    }
}

#[test]
fn an_event_made_from_its_schema_is_read_and_fits_it() {
    for (event_type, _, schema) in Fact::schemas() {
        let schema = schema.to_value();
        let text = sample(&schema, &schema).to_string();
        let fact = Fact::parse(event_type, &text).unwrap_or_else(|error| panic!("{event_type}: {text}: {error}"));
        fits(&schema, &schema, &serde_json::to_value(&fact).unwrap()).unwrap_or_else(|error| panic!("{event_type}: {error}"));
    }
}

#[test]
fn a_call_made_from_its_schema_is_read() {
    fn read<T: serde::de::DeserializeOwned + serde::Serialize + schemars::JsonSchema>() {
        let schema = schema::of::<T>();
        let value = sample(&schema, &schema);
        let call: T = serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"));
        fits(&schema, &schema, &serde_json::to_value(&call).unwrap()).unwrap();
    }
    read::<provider::Authenticate>();
    read::<provider::Authenticated>();
    read::<provider::BalanceQuery>();
    read::<provider::BalanceReply>();
    read::<provider::Bet>();
    read::<provider::Win>();
    read::<provider::Rollback>();
    read::<provider::RoundClose>();
    read::<provider::PromoWin>();
    read::<provider::MoneyReply>();
    read::<protocol::frame::Welcome>();
    read::<protocol::frame::LeaderboardView>();
}

#[test]
fn every_problem_fits_its_schema() {
    let schema = schema::of::<Problem>();
    let refusal = frames::refusal();
    for code in ErrorCode::ALL {
        let problem = serde_json::to_value(Problem::new(*code).number("limit", 5)).unwrap();
        fits(&schema, &schema, &problem).unwrap();
        fits(&refusal, &refusal, &json!({ "v": 1, "re": null, "error": problem })).unwrap();
    }
}

const UUID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// A value that a schema allows, with every optional part.
fn sample(root: &Value, schema: &Value) -> Value {
    let Some(object) = schema.as_object() else { return json!({ "any": 1 }) };
    if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
        return sample(root, root.pointer(&reference[1..]).unwrap());
    }
    if let Some(value) = object.get("const") {
        return value.clone();
    }
    if let Some(values) = object.get("enum").and_then(Value::as_array) {
        return values[0].clone();
    }
    if let Some(choices) = object.get("anyOf").or(object.get("oneOf")).and_then(Value::as_array) {
        return sample(root, &choices[0]);
    }
    let kind = match &object.get("type") {
        Some(Value::Array(kinds)) => kinds[0].as_str(),
        Some(kind) => kind.as_str(),
        None => None,
    };
    match kind {
        Some("string") if object.get("format").is_some_and(|format| format == "uuid") => UUID.into(),
        Some("string") => "a".into(),
        Some("integer" | "number") => object.get("minimum").cloned().unwrap_or_else(|| 1.into()),
        Some("boolean") => true.into(),
        Some("null") => Value::Null,
        Some("array") => json!([sample(root, &object["items"])]),
        Some("object") => {
            let properties = object.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
            properties.iter().map(|(name, schema)| (name.clone(), sample(root, schema))).collect::<Map<_, _>>().into()
        }
        _ => json!({ "any": 1 }),
    }
}

/// Checks a value against the parts of JSON Schema that our schemas use.
fn fits(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let Some(object) = schema.as_object() else {
        return if *schema == false { Err("nothing is allowed".to_owned()) } else { Ok(()) };
    };
    let fail = |what: &str| Err(format!("{value} is not {what}: {schema}"));
    if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
        fits(root, root.pointer(&reference[1..]).unwrap(), value)?;
    }
    if object.get("const").is_some_and(|only| only != value) {
        return fail("the constant");
    }
    if object.get("enum").and_then(Value::as_array).is_some_and(|values| !values.contains(value)) {
        return fail("one of the values");
    }
    for part in object.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        fits(root, part, value)?;
    }
    if let Some(choices) = object.get("anyOf").or(object.get("oneOf")).and_then(Value::as_array)
        && !choices.iter().any(|choice| fits(root, choice, value).is_ok())
    {
        return fail("any of the choices");
    }
    let kinds = match object.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        Some(kind) => kind.as_str().into_iter().collect(),
        None => Vec::new(),
    };
    if !kinds.is_empty() && !kinds.iter().any(|kind| is_kind(kind, value)) {
        return fail("of the type");
    }
    if let (Some(items), Some(values)) = (object.get("items"), value.as_array()) {
        values.iter().try_for_each(|value| fits(root, items, value))?;
    }
    fields_fit(root, object, value)
}

fn fields_fit(root: &Value, schema: &Map<String, Value>, value: &Value) -> Result<(), String> {
    let Some(fields) = value.as_object() else { return Ok(()) };
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        fields.get(name).ok_or(format!("{name} is missing in {value}"))?;
    }
    for (name, field) in fields {
        match (properties.get(name), schema.get("additionalProperties")) {
            (Some(schema), _) => fits(root, schema, field)?,
            (None, Some(Value::Bool(false))) => return Err(format!("{name} is not a field of {value}")),
            _ => {}
        }
    }
    Ok(())
}

fn is_kind(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        _ => value.is_object(),
    }
}
