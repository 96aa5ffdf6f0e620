//! Values as Python shows them: what `{{ x }}` writes, and `repr` of what a list or a dictionary holds.

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, State, Value};

use super::{failed, pay};

/// Lists in lists, beyond which a value is refused.
const DEPTH: usize = 64;
/// Most bytes of the text.
const MOST: usize = 4 << 20;

/// `str(value)`.
pub(super) fn display(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    match value.kind() {
        ValueKind::String => return Ok(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::Seq | ValueKind::Map if !is_opaque(value) => show(value, &mut out, 0)?,
        ValueKind::Number if !value.is_integer() => show(value, &mut out, 0)?,
        _ => return Ok(value.to_string()),
    }
    pay(state, out.len())?;
    Ok(out)
}

/// `repr(value)`.
pub(super) fn shown(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    show(value, &mut out, 0)?;
    Ok(out)
}

/// Objects that are of a program and not of a template, such as a loop.
fn is_opaque(value: &Value) -> bool {
    value.as_object().is_none()
}

/// `repr(value)` behind what is written.
fn show(value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
    if depth > DEPTH || out.len() > MOST {
        return Err(failed("the value is too large to be shown"));
    }
    let deeper = depth.saturating_add(1);
    match value.kind() {
        ValueKind::String => quote(value.as_str().unwrap_or_default(), out),
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(number) => out.push_str(&float(number)),
            Err(_) => out.push_str(&value.to_string()),
        },
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::Seq => {
            let tuple = value.downcast_object_ref::<Tuple>().is_some();
            out.push(if tuple { '(' } else { '[' });
            let mut count = 0usize;
            for item in value.try_iter()? {
                if count > 0 {
                    out.push_str(", ");
                }
                show(&item, out, deeper)?;
                count = count.saturating_add(1);
            }
            if tuple && count == 1 {
                out.push(',');
            }
            out.push(if tuple { ')' } else { ']' });
        }
        ValueKind::Map => {
            out.push('{');
            let pairs = value.as_object().and_then(|object| object.try_iter_pairs());
            for (number, (key, value)) in pairs.into_iter().flatten().enumerate() {
                if number > 0 {
                    out.push_str(", ");
                }
                show(&key, out, deeper)?;
                out.push_str(": ");
                show(&value, out, deeper)?;
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

/// A string in quotes, single ones unless it holds those and no double ones.
fn quote(text: &str, out: &mut String) {
    let mark = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(mark);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == mark => out.extend(['\\', c]),
            c if c < ' ' || ('\u{7f}'..='\u{a0}').contains(&c) || c == '\u{ad}' => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c if is_unprintable(c) => {
                let code = u32::from(c);
                out.push_str(&if code < 0x10000 {
                    format!("\\u{code:04x}")
                } else {
                    format!("\\U{code:08x}")
                });
            }
            c => out.push(c),
        }
    }
    out.push(mark);
}

/// White space other than the space, private and unassigned characters, as far as they are met.
fn is_unprintable(c: char) -> bool {
    c != ' ' && (c.is_whitespace() || c.is_control())
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..)
}

/// `repr` of a float: the shortest decimals that read back, with an exponent from 1e16 on and below 1e-4.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let text = number.to_string();
    if text.contains('.') { text } else { format!("{text}.0") }
}

#[cfg(test)]
mod tests {
    use super::{float, quote};

    #[test]
    fn numbers_and_strings_are_shown_as_python_does() {
        let shown = [0.1, 1.0, 1e15, 1e16, 1.5e-5, -0.0, 123_456_789.125].map(float);
        assert_eq!(shown, ["0.1", "1.0", "1000000000000000.0", "1e+16", "1.5e-05", "-0.0", "123456789.125"]);
        let mut out = String::new();
        for text in ["a'b", "a\"b", "'\"", "\n\u{7}\u{a0}\u{2028}"] {
            quote(text, &mut out);
        }
        assert_eq!(out, r#""a'b"'a"b''\'"''\n\x07\xa0\u2028'"#);
    }
}
