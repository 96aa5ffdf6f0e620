//! `tojson`: what Python's `json.dumps` writes, with transformers' arguments and defaults.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::call::Call;
use super::{failed, pay, repr};

/// Lists in lists, beyond which a value is refused.
const DEPTH: usize = 64;
/// Most bytes of the text.
const MOST: usize = 4 << 20;

/// Jinja filter `tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn to_json(
    state: &State<'_, '_>,
    value: &Value,
    Rest(places): Rest<Value>,
    names: Kwargs,
) -> Result<String, Error> {
    let call = Call::of(places, names, 4)?;
    let ascii = call.flag(0, "ensure_ascii")?;
    let indent = match call.get(1, "indent")?.filter(|indent| !indent.is_none()) {
        Some(text) if text.as_str().is_some() => text.as_str().map(str::to_owned),
        Some(number) => {
            let spaces = i64::try_from(number)?.clamp(0, 64);
            Some(" ".repeat(usize::try_from(spaces).unwrap_or(0)))
        }
        None => None,
    };
    let (comma, colon) = match call.get(2, "separators")?.filter(|pair| !pair.is_none()) {
        Some(pair) => {
            let parts: Vec<Value> = pair.try_iter()?.take(3).collect();
            match parts.as_slice() {
                [comma, colon] => match (comma.as_str(), colon.as_str()) {
                    (Some(comma), Some(colon)) => (comma.to_owned(), colon.to_owned()),
                    _ => return Err(failed("separators must be two strings")),
                },
                _ => return Err(failed("separators must be two strings")),
            }
        }
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
    };
    let sort = call.flag(3, "sort_keys")?;
    call.end()?;
    let mut writer = Writer { out: String::new(), ascii, indent, comma, colon, sort };
    writer.value(value, 0)?;
    pay(state, writer.out.len())?;
    Ok(writer.out)
}

struct Writer {
    out: String,
    ascii: bool,
    indent: Option<String>,
    comma: String,
    colon: String,
    sort: bool,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH || self.out.len() > MOST {
            return Err(Error::new(ErrorKind::BadSerialization, "the value is too large for JSON"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable if value.len().is_some() => {
                self.list('[', ']', value.try_iter()?, depth, |writer, item| {
                    writer.value(&item, depth.saturating_add(1))
                })?;
            }
            ValueKind::Map => {
                let object = value.as_object().ok_or_else(|| failed("a value is no JSON"))?;
                let mut pairs = Vec::new();
                for (key, value) in object.try_iter_pairs().into_iter().flatten() {
                    pairs.push((self.key(&key)?, value));
                }
                if self.sort {
                    pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
                self.list('{', '}', pairs.into_iter(), depth, |writer, (key, value)| {
                    writer.string(&key);
                    let colon = writer.colon.clone();
                    writer.out.push_str(&colon);
                    writer.value(&value, depth.saturating_add(1))
                })?;
            }
            kind => {
                return Err(Error::new(
                    ErrorKind::BadSerialization,
                    format!("{kind} is not JSON serializable"),
                ));
            }
        }
        Ok(())
    }

    fn key(&self, key: &Value) -> Result<String, Error> {
        Ok(match key.kind() {
            ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
            ValueKind::None => "null".to_owned(),
            ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
            ValueKind::Number => number(key),
            _ => return Err(failed("a key of a dictionary must be a string or a number")),
        })
    }

    fn list<T>(
        &mut self,
        open: char,
        close: char,
        items: impl Iterator<Item = T>,
        depth: usize,
        write: impl Fn(&mut Self, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        let mut empty = true;
        for item in items {
            if !empty {
                let comma = self.comma.clone();
                self.out.push_str(&comma);
            }
            empty = false;
            self.line(depth.saturating_add(1));
            write(self, item)?;
        }
        if !empty {
            self.line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    /// A new line, where there is an indent.
    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ascii && !c.is_ascii()) || (self.ascii && c == '\u{7f}') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match f64::try_from(value.clone()) {
        Ok(number) if number.is_nan() => "NaN".to_owned(),
        Ok(number) if number.is_infinite() => if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        Ok(number) => repr::float(number),
        Err(_) => value.to_string(),
    }
}
