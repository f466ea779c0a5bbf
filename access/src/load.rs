//! Layered configuration: defaults in the binary, then a file, then the environment, then the command line.
//!
//! A later layer replaces values key by key; a list is replaced whole. Whatever is wrong is reported with its full key, its
//! value, where the value came from and what is allowed, so that nobody has to guess which layer won.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use figment::{
    Figment, Metadata, Profile, Provider,
    error::Kind,
    providers::{Format, Toml},
    util::nest,
    value::{Dict, Map, Value},
};
use serde::{Serialize, de::DeserializeOwned};

/// What a configuration says about itself once its types fit: every value that is outside what is allowed.
pub trait Validate {
    fn validate(&self) -> Vec<Invalid>;
}

/// One value that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The full key, list positions counted from zero: `games.0.max_stake`.
    pub key: String,
    pub value: String,
    /// What would be allowed, as the end of the sentence "allowed: …".
    pub allowed: String,
}

impl Invalid {
    pub fn new(key: impl Into<String>, value: impl fmt::Display, allowed: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.to_string(), allowed: allowed.into() }
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration file {path}: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("the built-in defaults cannot be read: {0}")]
    Defaults(String),
    #[error("{}", lines(.0))]
    Keys(Vec<BadKey>),
}

impl ConfigError {
    /// Wraps what a later check of an already loaded configuration found.
    pub fn invalid(invalid: Vec<Invalid>) -> Self {
        Self::Keys(
            invalid
                .into_iter()
                .map(|Invalid { key, value, allowed }| BadKey {
                    key,
                    value: Some(value),
                    origin: "the configuration".to_owned(),
                    allowed,
                })
                .collect(),
        )
    }
}

/// One wrong key or value, with where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadKey {
    pub key: String,
    /// `None` when the key is missing.
    pub value: Option<String>,
    /// A file's path, an environment variable, the command line or the built-in defaults.
    pub origin: String,
    pub allowed: String,
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value} (from {}); allowed: {}", self.key, self.origin, self.allowed),
            None => write!(f, "{} is not set; allowed: {}", self.key, self.allowed),
        }
    }
}

fn lines(keys: &[BadKey]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The layers of one configuration, weakest first.
#[derive(Clone, Debug, Default)]
pub struct Layers<'a> {
    /// TOML text compiled into the binary; it sets every key.
    pub defaults: &'a str,
    pub file: Option<&'a Path>,
    /// Environment variables as (name, value), already filtered or not; only names with the prefix count.
    pub environment: Vec<(String, String)>,
    /// What such names begin with, e.g. `PITBOSS__`; sections and keys follow, joined by two underscores.
    pub env_prefix: &'a str,
    /// Values of command line options as (dotted key, value).
    pub overrides: Vec<(&'a str, String)>,
}

/// Reads defaults, file and the process's environment.
pub fn load<T: DeserializeOwned + Validate>(defaults: &str, file: Option<&Path>, env_prefix: &str) -> Result<T, ConfigError> {
    load_layers(&Layers { defaults, file, environment: environment(), env_prefix, overrides: Vec::new() })
}

/// The process's environment; variables that are not Unicode cannot be ours and are left out.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// Reads the layers given.
pub fn load_layers<T: DeserializeOwned + Validate>(layers: &Layers<'_>) -> Result<T, ConfigError> {
    let figment = collect(layers)?;
    let merged: Value = figment.extract().map_err(|error| ConfigError::Defaults(error.to_string()))?;
    let config: T = figment
        .extract()
        .map_err(|error| ConfigError::Keys(error.into_iter().map(|error| bad_key(&figment, &merged, error)).collect()))?;
    let invalid = config.validate();
    if invalid.is_empty() {
        return Ok(config);
    }
    let keys = invalid.into_iter().map(|Invalid { key, value, allowed }| {
        let origin = origin(&figment, &merged, &split(&key));
        BadKey { value: Some(shown(&key, value)), key, origin, allowed }
    });
    Err(ConfigError::Keys(keys.collect()))
}

fn collect(layers: &Layers<'_>) -> Result<Figment, ConfigError> {
    let defaults = parse(layers.defaults).map_err(ConfigError::Defaults)?;
    let mut figment = Figment::new().merge(Layer { name: "the built-in defaults".to_owned(), values: defaults });
    if let Some(path) = layers.file {
        let fail = |reason| ConfigError::File { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        figment = figment.merge(Layer { name: path.display().to_string(), values: parse(&text).map_err(fail)? });
    }
    let mut variables: Vec<_> = layers.environment.iter().filter(|(name, _)| name.starts_with(layers.env_prefix)).collect();
    variables.sort_unstable();
    for (name, text) in variables {
        let key = name[layers.env_prefix.len()..].to_lowercase().replace("__", ".");
        figment = figment.merge(Layer { name: format!("environment variable {name}"), values: nested(&key, text) });
    }
    for (key, text) in &layers.overrides {
        figment = figment.merge(Layer { name: "the command line".to_owned(), values: nested(key, text) });
    }
    Ok(figment)
}

fn parse(text: &str) -> Result<Dict, String> {
    Toml::from_str(text).map_err(|error| error.to_string())
}

/// A dotted key with its value, read as TOML where it looks like it and as text otherwise.
fn nested(key: &str, text: &str) -> Dict {
    // Parsing a value never fails: what is no number, list or table is a string.
    let value = text.parse::<Value>().unwrap_or_else(|never| match never {});
    nest(key, value).into_dict().unwrap_or_default()
}

/// One layer under its own name, so that an error can say where a value came from.
struct Layer {
    name: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// Turns a type error into a sentence. The path of a missing field is completed with its name.
fn bad_key(figment: &Figment, merged: &Value, error: figment::Error) -> BadKey {
    let mut path = error.path;
    let allowed = match error.kind {
        Kind::UnknownField(_, known) => format!("no such key; known here: {}", known.join(", ")),
        Kind::MissingField(field) => {
            path.push(field.into_owned());
            "it must be set".to_owned()
        }
        Kind::UnknownVariant(_, known) => known.join(", "),
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) | Kind::InvalidLength(_, expected) => expected,
        other => other.to_string(),
    };
    let key = path.join(".");
    let value = find(merged, &path).map(|value| shown(&key, written(value)));
    BadKey { origin: origin(figment, merged, &path), key, value, allowed }
}

/// The layer that set the value, or for a missing one the layer of its nearest parent.
fn origin(figment: &Figment, merged: &Value, path: &[String]) -> String {
    (0..=path.len())
        .rev()
        .filter_map(|len| find(merged, &path[..len]))
        .find_map(|value| figment.get_metadata(value.tag()))
        .map_or_else(|| "the built-in defaults".to_owned(), |metadata| metadata.name.to_string())
}

fn split(key: &str) -> Vec<String> {
    key.split('.').map(str::to_owned).collect()
}

fn find<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, step| match value {
        Value::Dict(_, entries) => entries.get(step),
        Value::Array(_, items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// A value as its author would write it.
fn written(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Bool(_, value) => value.to_string(),
        Value::Array(..) => "a list".to_owned(),
        Value::Dict(..) => "a table".to_owned(),
        Value::Num(_, number) => match (number.to_i128(), number.to_u128(), number.to_f64()) {
            (Some(number), ..) => number.to_string(),
            (_, Some(number), _) => number.to_string(),
            (.., number) => number.unwrap_or_default().to_string(),
        },
        Value::Char(_, value) => format!("{value:?}"),
        Value::Empty(..) => "nothing".to_owned(),
    }
}

/// Secrets never reach a log, not even when they are wrong.
fn shown(key: &str, value: String) -> String {
    if key.rsplit('.').next().is_some_and(|last| last == "secret") { "(hidden)".to_owned() } else { value }
}

/// The effective configuration as TOML text; types that hold secrets write nothing of them.
pub fn effective<T: Serialize>(config: &T) -> Result<String, ConfigError> {
    toml::to_string_pretty(config).map_err(|error| ConfigError::Defaults(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: String,
        inner: Inner,
        list: Vec<Inner>,
    }

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        count: u16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<String>,
    }

    impl Validate for Sample {
        fn validate(&self) -> Vec<Invalid> {
            let list = self.list.iter().enumerate().map(|(at, item)| (format!("list.{at}.count"), item.count));
            std::iter::once(("inner.count".to_owned(), self.inner.count))
                .chain(list)
                .filter(|(_, count)| *count > 10)
                .map(|(key, count)| Invalid::new(key, count, "0 to 10"))
                .collect()
        }
    }

    const DEFAULTS: &str = "name = \"a\"\n[inner]\ncount = 1\n[[list]]\ncount = 2\n";

    fn read(file: Option<&Path>, environment: &[(&str, &str)], overrides: &[(&'static str, &str)]) -> Result<Sample, ConfigError> {
        load_layers(&Layers {
            defaults: DEFAULTS,
            file,
            environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            env_prefix: "T__",
            overrides: overrides.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
        })
    }

    fn one(result: Result<Sample, ConfigError>) -> BadKey {
        match result {
            Err(ConfigError::Keys(keys)) if keys.len() == 1 => keys[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_layer_overrides_the_one_before_key_by_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        std::fs::write(&file, "name = \"file\"\n[inner]\ncount = 3\n").unwrap();
        let sample = read(Some(&file), &[("T__INNER__COUNT", "4"), ("OTHER__X", "1")], &[]).unwrap();
        assert_eq!((sample.name.as_str(), sample.inner.count, sample.list.len()), ("file", 4, 1));
        assert_eq!(read(Some(&file), &[("T__INNER__COUNT", "4")], &[("inner.count", "5")]).unwrap().inner.count, 5);
        assert_eq!(read(None, &[("T__LIST", "[{count=7},{count=8}]")], &[]).unwrap().list.len(), 2);
    }

    #[test]
    fn a_wrong_value_is_named_with_its_origin_and_what_is_allowed() {
        let bad = one(read(None, &[("T__INNER__COUNT", "many")], &[]));
        assert_eq!((bad.key.as_str(), bad.value.as_deref()), ("inner.count", Some("\"many\"")));
        assert_eq!((bad.origin.as_str(), bad.allowed.as_str()), ("environment variable T__INNER__COUNT", "u16"));

        let bad = one(read(None, &[("T__INNER__COUNT", "11")], &[]));
        assert_eq!(bad.to_string(), "inner.count = 11 (from environment variable T__INNER__COUNT); allowed: 0 to 10");
        let bad = one(read(None, &[], &[("inner.count", "70000")]));
        assert_eq!((bad.origin.as_str(), bad.value.as_deref()), ("the command line", Some("70000")));
    }

    #[test]
    fn errors_inside_files_and_lists_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        std::fs::write(&file, "[[list]]\ncount = 1\n[[list]]\ncont = 1\n").unwrap();
        let bad = one(read(Some(&file), &[], &[]));
        assert_eq!((bad.key.as_str(), bad.origin.as_str()), ("list.1.cont", file.to_str().unwrap()));
        assert!(bad.allowed.contains("count"), "{}", bad.allowed);

        std::fs::write(&file, "[[list]]\ncount = 1\n[[list]]\n").unwrap();
        let bad = one(read(Some(&file), &[], &[]));
        assert_eq!((bad.key.as_str(), bad.value), ("list.1.count", None));

        std::fs::write(&file, "[[list]]\ncount = 11\n").unwrap();
        let bad = one(read(Some(&file), &[], &[]));
        assert_eq!((bad.key.as_str(), bad.origin.as_str()), ("list.0.count", file.to_str().unwrap()));

        std::fs::write(&file, "[[list\n").unwrap();
        let error = read(Some(&file), &[], &[]).unwrap_err();
        assert!(error.to_string().contains("c.toml"), "{error}");
        assert!(matches!(read(Some(&folder.path().join("none.toml")), &[], &[]), Err(ConfigError::File { .. })));
    }

    #[test]
    fn an_unknown_variable_stops_the_start_and_a_secret_is_not_shown() {
        let bad = one(read(None, &[("T__INNER__COUNTS", "1")], &[]));
        assert_eq!((bad.key.as_str(), bad.origin.as_str()), ("inner.counts", "environment variable T__INNER__COUNTS"));
        let bad = one(read(None, &[("T__INNER__SECRET", "12345")], &[]));
        assert_eq!(bad.value.as_deref(), Some("(hidden)"));
    }

    #[test]
    fn the_effective_configuration_reads_back() {
        let sample = read(None, &[], &[]).unwrap();
        let text = effective(&sample).unwrap();
        let again: Sample = load_layers(&Layers { defaults: &text, env_prefix: "T__", ..Layers::default() }).unwrap();
        assert_eq!(again, sample);
    }
}
