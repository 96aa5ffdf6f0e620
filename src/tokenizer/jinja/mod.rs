//! The template language as transformers sets it up for chat templates, which is Jinja2 with a few settings and
//! additions. `minijinja` runs the programs; what it or its companion does not know, or does in another way than
//! Python, is here.
//!
//! ```text
//! source.rs      the text of a template, before it is parsed: line ends, the `generation` tag
//! call.rs        the arguments of a call, by place and by name
//! strings.rs     methods of Python's strings
//! containers.rs  methods of Python's lists, tuples and dictionaries
//! filters.rs     filters and tests
//! formats.rs     what the languages of format strings may not hold
//! json.rs        `tojson`, as Python's json module writes
//! repr.rs        values as Python shows them
//! date.rs        `strftime_now`
//! ```

mod call;
mod containers;
mod date;
mod filters;
mod formats;
mod json;
mod repr;
mod source;
mod strings;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value};

pub use date::Date;
pub(super) use source::prepare;

/// Steps (and, at 64 bytes each, data) that one rendering may use.
pub(super) const FUEL: u64 = 1_000_000;
/// Nested macros, loops and blocks.
const RECURSION: usize = 64;
/// Text that one step of fuel pays for where a method makes it: the engine charges for what is returned, but not for
/// what is made on the way.
const BYTES_PER_FUEL: u64 = 16;
/// Marks an error that `raise_exception` made, so that it can be told from all others.
pub(super) const REFUSED: &str = "refused by the template: ";

/// The environment in which a template runs.
///
/// # Errors
/// None in practice: the delimiters are those that the engine has by itself.
pub(super) fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_unknown_method_callback(method);
    environment.set_formatter(|out, state, value| {
        let text = repr::display(state, value)?;
        out.write_str(&text).map_err(|_| Error::from(ErrorKind::WriteFailure))
    });
    // What Jinja2 has not.
    environment.remove_global("debug");
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("cycler", filters::cycler);
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    set_date(&mut environment, None);
    filters::add(&mut environment);
    environment.add_filter("tojson", json::to_json);
    Ok(environment)
}

/// A value of JSON, which is at most as deep as its reader allows.
pub(super) fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(yes) => Value::from(*yes),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (_, Some(number)) => Value::from(number),
            _ => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(list) => list.iter().map(value).collect(),
        serde_json::Value::Object(map) => {
            Value::from_pairs(map.iter().map(|(name, inner)| (name.as_str(), value(inner))))
        }
    }
}

/// Lets `strftime_now` tell this date, or that of the day of rendering.
pub(super) fn set_date(environment: &mut Environment<'_>, date: Option<Date>) {
    environment.add_function("strftime_now", move |state: &State<'_, '_>, format: &str| {
        let text = date.unwrap_or_else(Date::now).format(format);
        pay(state, text.len())?;
        Ok::<_, Error>(text)
    });
}

/// Jinja function `raise_exception(message)`.
fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, format!("{REFUSED}{message}")))
}

/// Methods of Python's types.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let found = match value.kind() {
        ValueKind::String => strings::method(state, value, name, args)?,
        ValueKind::Map => containers::of_map(value, name, args)?,
        ValueKind::Seq | ValueKind::Iterable => containers::of_sequence(state, value, name, args)?,
        _ => None,
    };
    match found {
        Some(found) => Ok(found),
        None => {
            Err(Error::new(ErrorKind::UnknownMethod, format!("{} has no method {name:?} here", value.kind())))
        }
    }
}

/// Pays for text that a method or filter makes.
fn pay(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(u64::try_from(bytes).unwrap_or(u64::MAX) / BYTES_PER_FUEL)
}

/// An error of Python's.
fn failed(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
