//! JSON Schemas as values: standalone documents with `$defs`, or parts of a document that shares its components.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

const DEFS: &str = "#/$defs/";
const COMPONENTS: &str = "#/components/schemas/";

/// The standalone schema of a type.
pub fn of<T: JsonSchema>() -> Value {
    schemars::SchemaGenerator::default().into_root_schema_for::<T>().to_value()
}

/// Gives a standalone schema the id it is published under.
pub fn named(mut schema: Value, id: &str) -> Value {
    if let Some(object) = schema.as_object_mut() {
        object.insert("$id".to_owned(), id.into());
    }
    schema
}

/// The definitions a standalone schema brings along, taken out of it together with its dialect.
pub fn take_definitions(schema: &mut Value) -> Map<String, Value> {
    let Some(object) = schema.as_object_mut() else { return Map::new() };
    object.remove("$schema");
    match object.remove("$defs") {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    }
}

/// Wraps a standalone schema as the property of a frame: its definitions move to the frame.
pub fn frame(title: &str, property: (&str, Value, bool), fixed: Value, required: &[&str]) -> Value {
    let (name, mut inner, is_required) = property;
    let definitions = take_definitions(&mut inner);
    let mut properties = fixed.as_object().cloned().unwrap_or_default();
    properties.insert(name.to_owned(), inner);
    let mut required: Vec<&str> = required.to_vec();
    if is_required {
        required.push(name);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "properties": properties,
        "required": required,
        "$defs": definitions,
    })
}

/// Schemas a document shares, by name.
#[derive(Default)]
pub struct Components {
    schemas: BTreeMap<String, Value>,
    /// Names that two different schemas claimed; a test keeps this empty.
    pub clashes: Vec<String>,
}

impl Components {
    /// Adds a standalone schema under its title and answers a reference to it.
    pub fn add(&mut self, mut schema: Value) -> Value {
        let definitions = take_definitions(&mut schema);
        for (name, definition) in definitions {
            self.insert(name, definition);
        }
        let title = schema.as_object_mut().and_then(|object| object.remove("title"));
        let name = title.as_ref().and_then(Value::as_str).unwrap_or("Anything").to_owned();
        self.insert(name.clone(), schema);
        json!({ "$ref": format!("{COMPONENTS}{name}") })
    }

    pub fn add_type<T: JsonSchema>(&mut self) -> Value {
        self.add(of::<T>())
    }

    fn insert(&mut self, name: String, mut schema: Value) {
        point_to_components(&mut schema);
        match self.schemas.get(&name) {
            Some(known) if *known != schema => self.clashes.push(name),
            Some(_) => {}
            None => drop(self.schemas.insert(name, schema)),
        }
    }

    pub fn into_value(self) -> Value {
        self.schemas.into_iter().collect::<Map<_, _>>().into()
    }
}

fn point_to_components(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get_mut("$ref")
                && let Some(name) = reference.strip_prefix(DEFS)
            {
                *reference = format!("{COMPONENTS}{name}");
            }
            object.values_mut().for_each(point_to_components);
        }
        Value::Array(items) => items.iter_mut().for_each(point_to_components),
        _ => {}
    }
}

/// The text of a document: keys sorted at every depth, two spaces, a line feed at the end.
pub fn text(value: Value) -> String {
    // A value has only text keys, so writing it to memory cannot fail.
    let mut text = serde_json::to_string_pretty(&sorted(value)).unwrap_or_default();
    text.push('\n');
    text
}

/// The map keeps insertion order or sorts, depending on features other crates choose; sorting first makes both the same.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let entries: BTreeMap<String, Value> = object.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.into_iter().collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}
