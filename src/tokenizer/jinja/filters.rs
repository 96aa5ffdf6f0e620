//! Filters, tests and functions of Jinja2 that the engine lacks or has otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, Tuple, ValueKind};
use minijinja::{Environment, Error, State, Value};

use super::call::Call;
use super::strings::is_space;
use super::{failed, formats, pay, repr};

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
    environment.add_filter("format", formats::format);
    environment.add_test("callable", |value: &Value| {
        value.kind() == ValueKind::Plain && value.downcast_object_ref::<Cycler>().is_none()
    });
    environment.add_test("iterable", |value: &Value| {
        !value.is_none() && (value.is_undefined() || value.try_iter().is_ok())
    });
    environment.add_test("sequence", |value: &Value| {
        let counted = value.kind() == ValueKind::Iterable && value.len().is_some();
        value.is_undefined()
            || counted
            || matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String)
    });
    for name in ["escape", "e", "forceescape"] {
        environment.add_filter(name, escape);
    }
    environment.add_filter("indent", indent);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("attr", attr);
    environment.add_filter(
        "unique",
        |state: &State<'_, '_>, list: Value, places: Rest<Value>, names: Kwargs| {
            minijinja::filters::unique(state, list, named(places, names, &["case_sensitive", "attribute"])?)
        },
    );
    environment.add_filter(
        "dictsort",
        |state: &State<'_, '_>, map: &Value, places: Rest<Value>, names: Kwargs| {
            pay(state, map.len().unwrap_or(0).saturating_mul(64))?;
            minijinja::filters::dictsort(map, named(places, names, &["case_sensitive", "by", "reverse"])?)
        },
    );
    environment.add_function("dict", |places: Rest<Value>, names: Kwargs| dict(places, names));
    environment.add_function("lipsum", |_: Rest<Value>| -> Result<Value, Error> {
        Err(Error::new(
            minijinja::ErrorKind::UnknownFunction,
            "lipsum is not here, as it makes text by chance",
        ))
    });
    let namespace = environment.globals().find(|(name, _)| *name == "namespace").map(|(_, made)| made);
    if let Some(namespace) = namespace {
        environment.add_function(
            "namespace",
            move |state: &mut State<'_, '_>, places: Rest<Value>, names: Kwargs| {
                namespace.call(state, &[dict(places, names)?])
            },
        );
    }
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

/// Arguments without a name as those of these names.
fn named(Rest(places): Rest<Value>, names: Kwargs, order: &[&'static str]) -> Result<Kwargs, Error> {
    if places.len() > order.len() {
        return Err(failed("too many arguments"));
    }
    let mut all: Vec<(String, Value)> = Vec::new();
    for (name, value) in order.iter().zip(places) {
        all.push(((*name).to_owned(), value));
    }
    for name in names.args() {
        all.push((name.to_owned(), names.peek::<Value>(name)?));
    }
    Ok(all.into_iter().collect())
}

/// `dict(mapping or pairs, **names)`.
fn dict(Rest(places): Rest<Value>, names: Kwargs) -> Result<Value, Error> {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    let mut places_of: BTreeMap<Value, usize> = BTreeMap::new();
    let mut put = |key: Value, value: Value| {
        let place = *places_of.entry(key.clone()).or_insert(pairs.len());
        match pairs.get_mut(place) {
            Some((_, known)) => *known = value,
            None => pairs.push((key, value)),
        }
    };
    match places.as_slice() {
        [] => {}
        [map] if map.kind() == ValueKind::Map => {
            for (key, value) in map.as_object().and_then(|map| map.try_iter_pairs()).into_iter().flatten() {
                put(key, value);
            }
        }
        [list] => {
            for pair in list.try_iter()? {
                let pair: Vec<Value> = pair.try_iter()?.take(3).collect();
                match pair.as_slice() {
                    [key, value] => put(key.clone(), value.clone()),
                    _ => return Err(failed("a dictionary is made of pairs")),
                }
            }
        }
        _ => return Err(failed("too many arguments")),
    }
    for name in names.args() {
        put(Value::from(name), names.peek::<Value>(name)?);
    }
    Ok(Value::from_pairs(pairs))
}

/// HTML, as Python's markupsafe writes it.
fn escape(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let text = repr::display(state, value)?;
    pay(state, text.len())?;
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    Ok(out)
}

/// `indent(s, width=4, first=False, blank=False)`.
fn indent(
    state: &State<'_, '_>,
    text: String,
    Rest(places): Rest<Value>,
    names: Kwargs,
) -> Result<String, Error> {
    let call = Call::of(places, names, 3)?;
    let indent = match call.get(0, "width")? {
        Some(width) if width.as_str().is_some() => width.as_str().map(str::to_owned).unwrap_or_default(),
        Some(width) => " ".repeat(usize::try_from(i64::try_from(width)?.clamp(0, 1000)).unwrap_or(0)),
        None => " ".repeat(4),
    };
    let (first, blank) = (call.flag(1, "first")?, call.flag(2, "blank")?);
    call.end()?;
    let lines = super::strings::lines(&format!("{text}\n"), false);
    pay(state, lines.len().saturating_mul(indent.len()).saturating_add(text.len()))?;
    let mut out = if first { indent.clone() } else { String::new() };
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            out.push('\n');
            if blank || !line.is_empty() {
                out.push_str(&indent);
            }
        }
        out.push_str(line);
    }
    Ok(out)
}

/// `int(value, default=0, base=10)`.
fn int(value: &Value, Rest(places): Rest<Value>, names: Kwargs) -> Result<Value, Error> {
    let call = Call::of(places, names, 2)?;
    let default = call.get(0, "default")?.unwrap_or_else(|| Value::from(0));
    let base = call.number(1, "base")?.and_then(|base| u32::try_from(base).ok()).unwrap_or(10);
    call.end()?;
    if let Some(text) = value.as_str() {
        let text = text.trim().replace('_', "");
        let (sign, digits) = text.strip_prefix('-').map_or((1, &*text), |digits| (-1, digits));
        let prefix = match base {
            16 => "0x",
            8 => "0o",
            2 => "0b",
            _ => "",
        };
        let lower = digits.to_lowercase();
        let digits = lower.strip_prefix(prefix).unwrap_or(&lower);
        let whole = (2..=36).contains(&base).then(|| i64::from_str_radix(digits, base).ok()).flatten();
        if let Some(whole) = whole.and_then(|whole| whole.checked_mul(sign)) {
            return Ok(Value::from(whole));
        }
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && number.abs() < 1e18);
        return Ok(number.map_or(default, truncated));
    }
    Ok(match value.kind() {
        ValueKind::Bool => Value::from(i64::from(value.is_true())),
        ValueKind::Number if value.is_integer() => value.clone(),
        ValueKind::Number => f64::try_from(value.clone()).map_or(default, truncated),
        _ => default,
    })
}

/// A number without what follows its point.
fn truncated(number: f64) -> Value {
    format!("{:.0}", number.trunc()).parse::<i64>().map_or(Value::UNDEFINED, Value::from)
}

/// `float(value, default=0.0)`.
fn float(value: &Value, default: Option<Value>) -> Value {
    let number = match value.kind() {
        ValueKind::Bool => Some(if value.is_true() { 1.0 } else { 0.0 }),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        ValueKind::String => value.as_str().and_then(|text| text.trim().replace('_', "").parse().ok()),
        _ => None,
    };
    number.map_or_else(|| default.unwrap_or_else(|| Value::from(0.0)), Value::from)
}

/// `attr`: the items of a dictionary are none, and methods are no values here.
fn attr(value: &Value, name: &str) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Map | ValueKind::None | ValueKind::Undefined => Ok(Value::UNDEFINED),
        ValueKind::Plain => Ok(value.get_attr(name).unwrap_or(Value::UNDEFINED)),
        kind => Err(Error::new(minijinja::ErrorKind::UnknownFilter, format!("attr of a {kind} is not here"))),
    }
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

/// Python's `format % values`, by the filter of that language, which takes no `%r` but what it stands for.
fn percent(state: &mut State<'_, '_>, format: String, values: Value) -> Result<Value, Error> {
    let mut values: Vec<Value> = match values.downcast_object_ref::<Tuple>() {
        Some(_) => values.try_iter()?.collect(),
        None => vec![values],
    };
    let mut plain = String::with_capacity(format.len());
    let (mut number, mut inside) = (0usize, false);
    for c in format.chars() {
        let mut put = c;
        if !inside {
            inside = c == '%';
        } else if c == '%' {
            inside = false;
        } else if c.is_ascii_alphabetic() {
            if let (Some(value), 'r') = (values.get_mut(number), c) {
                *value = Value::from(repr::shown(value)?);
                put = 's';
            }
            (inside, number) = (false, number.saturating_add(1));
        } else if c == '(' {
            // Values by name; their letters are none of a conversion.
            number = usize::MAX;
        }
        plain.push(put);
    }
    let format = if number == usize::MAX { format } else { plain };
    let args: Vec<Value> = [Value::from(format)].into_iter().chain(values).collect();
    state.apply_filter("format", &args)
}
