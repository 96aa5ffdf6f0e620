//! Filters, tests and functions of Jinja2 that the engine lacks or has otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, Tuple, ValueKind};
use minijinja::{Environment, Error, State, Value};

use super::call::Call;
use super::strings::is_space;
use super::{failed, pay, repr};

/// Adds all of them.
pub(super) fn add(environment: &mut Environment<'_>) {
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordcount", |text: String| {
        // Words are what Python's `\w+` finds.
        text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).count()
    });
    environment.add_filter("center", center);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("string", |state: &State<'_, '_>, value: &Value| repr::display(state, value));
    environment.add_filter("trim", trim);
    environment.add_test("callable", |value: &Value| {
        value.kind() == ValueKind::Plain && value.downcast_object_ref::<Cycler>().is_none()
    });
    environment.add_test("iterable", |value: &Value| {
        !value.is_none() && (value.is_undefined() || value.try_iter().is_ok())
    });
    environment.add_test("sequence", |value: &Value| {
        value.is_undefined()
            || matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String)
    });
    environment.add_function("__percent", percent);
}

/// `default(value, default_value='', boolean=False)`.
fn default(value: &Value, Rest(places): Rest<Value>, names: Kwargs) -> Result<Value, Error> {
    let call = Call::of(places, names, 2)?;
    let (other, falsy) = (call.get(0, "default_value")?, call.flag(1, "boolean")?);
    call.end()?;
    Ok(if value.is_undefined() || (falsy && !value.is_true()) {
        other.unwrap_or_else(|| Value::from(""))
    } else {
        value.clone()
    })
}

/// `trim(value, chars=None)`.
fn trim(state: &State<'_, '_>, value: &Value, chars: Option<String>) -> Result<String, Error> {
    let text = repr::display(state, value)?;
    Ok(match chars {
        Some(chars) => text.trim_matches(|c| chars.contains(c)),
        None => text.trim_matches(is_space),
    }
    .to_owned())
}

/// `truncate(s, length=255, killwords=False, end='...', leeway=5)`.
fn truncate(text: String, Rest(places): Rest<Value>, names: Kwargs) -> Result<String, Error> {
    let call = Call::of(places, names, 4)?;
    let number = |place, name, default: i64| {
        Ok::<_, Error>(usize::try_from(call.number(place, name)?.unwrap_or(default)).unwrap_or(0))
    };
    let (length, leeway) = (number(0, "length", 255)?, number(3, "leeway", 5)?);
    let kill = call.flag(1, "killwords")?;
    let end = call.get(2, "end")?.map_or_else(|| "...".to_owned(), |end| end.to_string());
    call.end()?;
    let Some(keep) = length.checked_sub(end.chars().count()) else {
        return Err(failed("the length is less than that of the end"));
    };
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let head: String = text.chars().take(keep).collect();
    let head = if kill { &*head } else { head.rsplit_once(' ').map_or(&*head, |(words, _)| words) };
    Ok(format!("{head}{end}"))
}

/// `center(value, width=80)`.
fn center(state: &mut State<'_, '_>, text: String, width: Option<i64>) -> Result<Value, Error> {
    let width = Value::from(width.unwrap_or(80));
    super::method(state, &Value::from(text), "center", &[width])
}

/// What `cycler(...)` makes.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: AtomicUsize,
}

impl Cycler {
    fn current(&self) -> Value {
        let at = self.at.load(Ordering::Relaxed).checked_rem(self.items.len()).unwrap_or(0);
        self.items.get(at).cloned().unwrap_or(Value::UNDEFINED)
    }
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some("current")).then(|| self.current())
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        name: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        Call::new(args, 0)?.end()?;
        match name {
            "next" => {
                let value = self.current();
                let next = self.at.load(Ordering::Relaxed).saturating_add(1);
                self.at.store(next.checked_rem(self.items.len()).unwrap_or(0), Ordering::Relaxed);
                Ok(value)
            }
            "reset" => {
                self.at.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::new(
                minijinja::ErrorKind::UnknownMethod,
                format!("cycler has no method {name:?} here"),
            )),
        }
    }
}

/// Jinja function `cycler`.
pub(super) fn cycler(Rest(items): Rest<Value>) -> Result<Value, Error> {
    if items.is_empty() {
        return Err(failed("a cycler needs at least one item"));
    }
    Ok(Value::from_object(Cycler { items, at: AtomicUsize::new(0) }))
}

/// Python's `format % values`.
fn percent(state: &State<'_, '_>, format: String, values: Value) -> Result<String, Error> {
    let values: Vec<Value> = match values.downcast_object_ref::<Tuple>() {
        Some(_) => values.try_iter()?.collect(),
        None => vec![values],
    };
    let text = minijinja::formatting::format(minijinja::formatting::FormatStyle::Printf, &format, &values)
        .map_err(|_| failed("the string is no format for these values"))?;
    pay(state, text.len())?;
    Ok(text)
}
