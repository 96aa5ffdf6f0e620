//! Methods of Python's strings. Places and widths count characters.

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::call::Call;
use super::{failed, formats, pay};

/// Most characters that a text is filled up to.
const MOST_WIDTH: i64 = 1 << 20;
/// What each run of ten decimal digits begins with (Unicode's category Nd).
const DECIMALS: [u32; 66] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50,
    0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40,
    0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066,
    0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950,
    0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6,
    0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];
/// Further characters that Python counts as digits: small ones, and those in circles and brackets.
const DIGITS: [(u32, u32); 20] = [
    (0xb2, 0xb3),
    (0xb9, 0xb9),
    (0x1369, 0x1371),
    (0x19da, 0x19da),
    (0x2070, 0x2070),
    (0x2074, 0x2079),
    (0x2080, 0x2089),
    (0x2460, 0x2468),
    (0x2474, 0x247c),
    (0x2488, 0x2490),
    (0x24ea, 0x24ea),
    (0x24f5, 0x24fd),
    (0x24ff, 0x24ff),
    (0x2776, 0x277e),
    (0x2780, 0x2788),
    (0x278a, 0x2792),
    (0x10a40, 0x10a43),
    (0x10e60, 0x10e68),
    (0x11052, 0x1105a),
    (0x1f100, 0x1f10a),
];

/// The method of a string; `None` for one there is not.
pub(super) fn method(
    state: &State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Option<Value>, Error> {
    let Some(text) = value.as_str() else { return Ok(None) };
    if name == "format" {
        return formatted(state, text, args).map(Some);
    }
    let call = |most: usize| Call::new(args, most);
    let result = match name {
        "upper" => text_of(call(0)?, text.to_uppercase())?,
        "lower" => text_of(call(0)?, text.to_lowercase())?,
        "casefold" => text_of(call(0)?, text.to_lowercase().replace('\u{df}', "ss"))?,
        "swapcase" => text_of(call(0)?, text.chars().flat_map(swapped).collect())?,
        "title" => text_of(call(0)?, title(text))?,
        "capitalize" => text_of(call(0)?, capitalized(text))?,
        "strip" | "lstrip" | "rstrip" => {
            let call = call(1)?;
            let chars = call.get(0, "")?.filter(|chars| !chars.is_none());
            call.end()?;
            let set: Option<Vec<char>> = match &chars {
                Some(chars) => {
                    let chars = chars.as_str().ok_or_else(|| failed("the characters must be a string"))?;
                    Some(chars.chars().collect())
                }
                None => None,
            };
            let gone = |c: char| set.as_ref().map_or_else(|| is_space(c), |set| set.contains(&c));
            Value::from(match name {
                "strip" => text.trim_matches(gone),
                "lstrip" => text.trim_start_matches(gone),
                _ => text.trim_end_matches(gone),
            })
        }
        "replace" => {
            let call = call(3)?;
            let (old, new, count) = (call.text(0, "")?, call.text(1, "")?, call.number(2, "count")?);
            call.end()?;
            let count = count.and_then(|count| usize::try_from(count).ok());
            let most = text.matches(&old).take(count.unwrap_or(usize::MAX)).count();
            pay(state, most.saturating_mul(new.len()))?;
            Value::from(match count {
                Some(count) => text.replacen(&old, &new, count),
                None => text.replace(&old, &new),
            })
        }
        "removeprefix" | "removesuffix" => {
            let call = call(1)?;
            let part = call.text(0, "")?;
            call.end()?;
            let rest =
                if name == "removeprefix" { text.strip_prefix(&*part) } else { text.strip_suffix(&*part) };
            Value::from(rest.unwrap_or(text))
        }
        "split" | "rsplit" => {
            let call = call(2)?;
            let sep = call.get(0, "sep")?.filter(|sep| !sep.is_none());
            let most = call.number(1, "maxsplit")?.and_then(|most| usize::try_from(most).ok());
            call.end()?;
            let sep = match &sep {
                Some(sep) => Some(sep.as_str().ok_or_else(|| failed("the separator must be a string"))?),
                None => None,
            };
            if sep == Some("") {
                return Err(failed("the separator is empty"));
            }
            let most = most.unwrap_or(usize::MAX);
            if name == "split" { split(text, sep, most) } else { split_from_the_right(text, sep, most) }
        }
        "partition" | "rpartition" => {
            let call = call(1)?;
            let sep = call.text(0, "")?;
            call.end()?;
            if sep.is_empty() {
                return Err(failed("the separator is empty"));
            }
            let found = if name == "partition" { text.split_once(&*sep) } else { text.rsplit_once(&*sep) };
            let parts = match found {
                Some((before, after)) => [before, &sep, after],
                None if name == "partition" => [text, "", ""],
                None => ["", "", text],
            };
            Value::from(Tuple::from(parts.map(Value::from).to_vec()))
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let call = call(3)?;
            let (what, (from, part)) = (call.text(0, "")?, part(text, &call)?);
            call.end()?;
            let Some(part) = part else {
                // A beginning behind the end of the text: nothing is there, not even nothing.
                return match name {
                    "count" => Ok(Some(Value::from(0))),
                    "find" | "rfind" => Ok(Some(Value::from(-1))),
                    _ => Err(failed("the text is not in the string")),
                };
            };
            if name == "count" {
                Value::from(part.matches(&*what).count())
            } else {
                let at = if name.starts_with('r') { part.rfind(&*what) } else { part.find(&*what) };
                let place = at
                    .and_then(|at| part.get(..at))
                    .map(|before| before.chars().count().saturating_add(from));
                match place {
                    Some(place) => Value::from(place),
                    None if name.ends_with("find") => Value::from(-1),
                    None => return Err(failed("the text is not in the string")),
                }
            }
        }
        "startswith" | "endswith" => {
            let call = call(3)?;
            let (what, (_, part)) = (call.need(0, "")?, part(text, &call)?);
            call.end()?;
            let is = |what: &Value| {
                let what =
                    what.as_str().ok_or_else(|| failed("a string or a tuple of strings is asked for"))?;
                Ok::<_, Error>(part.is_some_and(|part| {
                    if name == "startswith" { part.starts_with(what) } else { part.ends_with(what) }
                }))
            };
            match what.kind() {
                ValueKind::Seq => {
                    let mut found = false;
                    for what in what.try_iter()? {
                        found |= is(&what)?;
                    }
                    Value::from(found)
                }
                _ => Value::from(is(&what)?),
            }
        }
        "zfill" => {
            let call = call(1)?;
            let missing = missing(state, text, &call)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            Value::from(format!("{sign}{}{digits}", "0".repeat(missing)))
        }
        "center" | "ljust" | "rjust" => {
            let call = call(2)?;
            let missing = missing(state, text, &call)?;
            let fill = call.get(1, "")?.map_or_else(|| Ok(" ".to_owned()), |fill| filler(&fill))?;
            let left = match name {
                "ljust" => 0,
                "rjust" => missing,
                // Python puts the odd one on the left of a text in a width that is odd, too.
                _ => {
                    let width = text.chars().count().saturating_add(missing);
                    (missing / 2).saturating_add(missing & width & 1)
                }
            };
            let right = missing.saturating_sub(left);
            Value::from(format!("{}{text}{}", fill.repeat(left), fill.repeat(right)))
        }
        "expandtabs" => {
            let call = call(1)?;
            let size = call.number(0, "tabsize")?.unwrap_or(8).clamp(0, 64);
            call.end()?;
            let size = usize::try_from(size).unwrap_or(8);
            pay(state, text.matches('\t').count().saturating_mul(size))?;
            Value::from(untabbed(text, size))
        }
        "splitlines" => {
            let call = call(1)?;
            let keep = call.flag(0, "keepends")?;
            call.end()?;
            lines(text, keep).into_iter().map(Value::from).collect()
        }
        "join" => {
            let list = call(1)?.need(0, "")?;
            let mut out = String::new();
            for (number, item) in list.try_iter()?.enumerate() {
                let item =
                    item.as_str().map(str::to_owned).ok_or_else(|| failed("only strings are joined"))?;
                pay(state, text.len().saturating_add(item.len()))?;
                if number > 0 {
                    out.push_str(text);
                }
                out.push_str(&item);
            }
            Value::from(out)
        }
        _ => match is(text, name) {
            Some(found) => {
                call(0)?.end()?;
                Value::from(found)
            }
            None => return Ok(None),
        },
    };
    Ok(Some(result))
}

/// A text as a value, if the call has no argument left.
fn text_of(call: Call, text: String) -> Result<Value, Error> {
    call.end()?;
    Ok(Value::from(text))
}

/// `str.format`, by the engine. It fills up to any width that the text names, so all of them are paid first; a width
/// that is itself a value is refused.
fn formatted(state: &State<'_, '_>, text: &str, args: &[Value]) -> Result<Value, Error> {
    let widths = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let all =
        widths.map(|digits| digits.parse().unwrap_or(usize::MAX)).fold(text.len(), usize::saturating_add);
    pay(state, all)?;
    let nested = text.split("{{").flat_map(|part| part.split('{').skip(1)).any(|field| !field.contains('}'));
    if nested {
        return Err(failed("a format in a format is not known here"));
    }
    formats::check_braces(text)?;
    minijinja::formatting::format(minijinja::formatting::FormatStyle::StrFormat, text, args)
        .map(Value::from)
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, "the string is no format for these values"))
}

/// White space as Python strips it.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The part of the text that two further arguments bound, and the place where it begins; `None` where that is behind
/// the end of the text or of the part.
fn part<'t>(text: &'t str, call: &Call) -> Result<(usize, Option<&'t str>), Error> {
    let count = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let place = |place: i64| if place < 0 { place.saturating_add(count).max(0) } else { place };
    let start = place(call.number(1, "")?.unwrap_or(0));
    let end = place(call.number(2, "")?.unwrap_or(count)).min(count);
    if start > end {
        return Ok((0, None));
    }
    let byte = |place: i64| {
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        text.char_indices().nth(place).map_or(text.len(), |(at, _)| at)
    };
    Ok((usize::try_from(start).unwrap_or(0), text.get(byte(start)..byte(end))))
}

/// How many characters are missing to the width that the first argument names.
fn missing(state: &State<'_, '_>, text: &str, call: &Call) -> Result<usize, Error> {
    let width = call.number(0, "")?.ok_or_else(|| failed("an argument is missing"))?;
    if width > MOST_WIDTH {
        return Err(failed("the width is too large"));
    }
    let missing = usize::try_from(width).unwrap_or(0).saturating_sub(text.chars().count());
    pay(state, missing)?;
    Ok(missing)
}

fn filler(fill: &Value) -> Result<String, Error> {
    let fill = fill.as_str().filter(|fill| fill.chars().count() == 1);
    fill.map(str::to_owned).ok_or_else(|| failed("the fill character must be one character"))
}

/// `str.split`.
fn split(text: &str, sep: Option<&str>, most: usize) -> Value {
    match sep {
        Some(sep) => text.splitn(most.saturating_add(1), sep).map(Value::from).collect(),
        None => {
            let (mut parts, mut rest) = (Vec::new(), text.trim_start_matches(is_space));
            while !rest.is_empty() {
                if parts.len() == most {
                    parts.push(Value::from(rest));
                    break;
                }
                let (word, after) = rest.split_at(rest.find(is_space).unwrap_or(rest.len()));
                parts.push(Value::from(word));
                rest = after.trim_start_matches(is_space);
            }
            Value::from(parts)
        }
    }
}

/// `str.rsplit`.
fn split_from_the_right(text: &str, sep: Option<&str>, most: usize) -> Value {
    let mut parts: Vec<Value> = match sep {
        Some(sep) => text.rsplitn(most.saturating_add(1), sep).map(Value::from).collect(),
        None => {
            let (mut parts, mut rest) = (Vec::new(), text.trim_end_matches(is_space));
            while !rest.is_empty() {
                if parts.len() == most {
                    parts.push(Value::from(rest));
                    break;
                }
                let word = rest.rsplit(is_space).next().unwrap_or(rest);
                parts.push(Value::from(word));
                rest = rest.strip_suffix(word).unwrap_or_default().trim_end_matches(is_space);
            }
            parts
        }
    };
    parts.reverse();
    Value::from(parts)
}

/// `str.splitlines`.
pub(super) fn lines(text: &str, keep: bool) -> Vec<String> {
    let ends = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let (mut lines, mut line) = (Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if !ends(c) {
            line.push(c);
            continue;
        }
        let second = if c == '\r' { chars.next_if_eq(&'\n') } else { None };
        if keep {
            line.push(c);
            line.extend(second);
        }
        lines.push(std::mem::take(&mut line));
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

fn untabbed(text: &str, size: usize) -> String {
    let (mut out, mut column) = (String::new(), 0usize);
    for c in text.chars() {
        match c {
            '\t' => {
                let spaces = column.checked_rem(size).map_or(0, |rest| size.saturating_sub(rest));
                out.push_str(&" ".repeat(spaces));
                column = column.saturating_add(spaces);
            }
            c => {
                column = if matches!(c, '\n' | '\r') { 0 } else { column.saturating_add(1) };
                out.push(c);
            }
        }
    }
    out
}

fn swapped(c: char) -> Vec<char> {
    if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
}

fn is_cased(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase()
}

/// `str.title`: a capital after everything that is no letter.
fn title(text: &str) -> String {
    let (mut out, mut inside) = (String::new(), false);
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = is_cased(c);
    }
    out
}

/// `str.capitalize`.
fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars.as_str().to_lowercase().chars()).collect()
}

fn is_decimal(c: char) -> bool {
    DECIMALS.iter().any(|start| (*start..start.saturating_add(10)).contains(&u32::from(c)))
}

fn is_digit(c: char) -> bool {
    is_decimal(c) || DIGITS.iter().any(|(from, to)| (*from..=*to).contains(&u32::from(c)))
}

/// The methods that ask what a text is made of; `None` for one there is not.
fn is(text: &str, name: &str) -> Option<bool> {
    let all = |is: fn(char) -> bool| !text.is_empty() && text.chars().all(is);
    Some(match name {
        "isalpha" => all(char::is_alphabetic),
        "isdecimal" => all(is_decimal),
        "isdigit" => all(is_digit),
        "isnumeric" => all(char::is_numeric),
        "isalnum" => all(char::is_alphanumeric),
        "isspace" => all(is_space),
        "isascii" => text.is_ascii(),
        "islower" => text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase),
        "isupper" => text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase),
        "istitle" => text.chars().any(is_cased) && title(text) == text,
        "isprintable" => text.chars().all(|c| c == ' ' || !(c.is_control() || is_space(c))),
        "isidentifier" => {
            let word = |c: char| c == '_' || c.is_alphanumeric();
            text.chars().all(word) && text.chars().next().is_some_and(|c| !c.is_numeric())
        }
        _ => return None,
    })
}
