//! Format strings: what the two languages of them may not hold here.
//!
//! minijinja 3.1.0 goes through the keys of a format byte by byte and panics inside a letter of several bytes: `"%(é)s"|format(é=1)`,
//! `"{0[é]}".format(x)`. Templates come from files, so such keys are refused before it sees them. Found by the fuzzer `template`.

use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Error, State, Value, filters};

use super::failed;

/// Jinja's filter `format`, by the engine.
///
/// # Errors
/// As the engine's, and a key that is not ASCII.
pub(super) fn format(
    state: &mut State<'_, '_>,
    text: &Value,
    args: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    check_percent(text.as_str().unwrap_or_default())?;
    filters::format(state, text, args)
}

/// Refuses a format of `%` with a key that is not ASCII.
///
/// # Errors
/// It holds one.
fn check_percent(format: &str) -> Result<(), Error> {
    let mut rest = format;
    while let Some((_, after)) = rest.split_once('%') {
        rest = after.strip_prefix('%').unwrap_or(after);
        if let Some(key) = rest.strip_prefix('(').filter(|_| rest.len() == after.len()) {
            check_key(key.split(')').next().unwrap_or(key))?;
        }
    }
    Ok(())
}

/// Refuses a format of braces with a key in brackets that is not ASCII.
///
/// # Errors
/// It holds one.
pub(super) fn check_braces(format: &str) -> Result<(), Error> {
    for field in format.split('{').skip(1) {
        let field = field.split('}').next().unwrap_or(field);
        field.split('[').skip(1).try_for_each(|key| check_key(key.split(']').next().unwrap_or(key)))?;
    }
    Ok(())
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.is_ascii() { Ok(()) } else { Err(failed(format!("the key {key:?} of a format is not ASCII"))) }
}

#[cfg(test)]
mod tests {
    use super::{check_braces, check_percent};

    #[test]
    fn a_key_that_is_not_ascii_is_refused_and_all_else_is_not() {
        for format in ["%(\u{e9})s", "a%%%(\u{ffff}", "%(ab\u{e9}", "%d %(\u{e9})s"] {
            assert!(check_percent(format).is_err(), "{format}");
        }
        for format in ["", "%", "%%(\u{e9})s", "%(a)s \u{e9} %(b)s (\u{e9})", "\u{e9}%s", "100 %\u{e9}"] {
            assert!(check_percent(format).is_ok(), "{format}");
        }
        for format in ["{0[\u{e9}]}", "{a[b][\u{ffff}", "{{{x[\u{e9}]}"] {
            assert!(check_braces(format).is_err(), "{format}");
        }
        for format in ["", "{", "{0} [\u{e9}]", "{a[b]}\u{e9}", "\u{e9}[{}]"] {
            assert!(check_braces(format).is_ok(), "{format}");
        }
    }
}
