//! Methods of Python's lists, tuples and dictionaries. Those that would change one are left out: transformers' sandbox
//! refuses them, too.

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, State, Value};

use super::call::Call;
use super::{failed, pay};

/// What an item costs, in bytes of text.
const ITEM_BYTES: usize = 16;

/// The method of a dictionary; `None` for one there is not.
pub(super) fn of_map(map: &Value, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let Some(object) = map.as_object() else { return Ok(None) };
    let pairs = || object.try_iter_pairs().into_iter().flatten();
    let call = Call::new(args, if name == "get" { 2 } else { 0 });
    Ok(Some(match name {
        "keys" => call.map(|_| pairs().map(|(key, _)| key).collect())?,
        "values" => call.map(|_| pairs().map(|(_, value)| value).collect())?,
        "items" => {
            call.map(|_| pairs().map(|(key, value)| Value::from(Tuple::from([key, value]))).collect())?
        }
        "copy" => call.map(|_| map.clone())?,
        "get" => {
            let call = call?;
            let found = object.get_value(&call.need(0, "")?);
            found.or(call.get(1, "")?).unwrap_or_else(|| Value::from(()))
        }
        _ => return Ok(None),
    }))
}

/// The method of a list or a tuple; `None` for one there is not.
pub(super) fn of_sequence(
    state: &State<'_, '_>,
    list: &Value,
    name: &str,
    args: &[Value],
) -> Result<Option<Value>, Error> {
    // A list times a number is made as it is read; what has no length is no list.
    if list.kind() != ValueKind::Seq && list.len().is_none() {
        return Ok(None);
    }
    // Each item is looked at.
    pay(state, list.len().unwrap_or(0).saturating_mul(ITEM_BYTES))?;
    Ok(Some(match name {
        "count" => {
            let what = Call::new(args, 1)?.need(0, "")?;
            Value::from(list.try_iter()?.filter(|item| *item == what).count())
        }
        "index" => {
            let what = Call::new(args, 1)?.need(0, "")?;
            let found = list.try_iter()?.position(|item| item == what);
            Value::from(found.ok_or_else(|| failed("the value is not in the list"))?)
        }
        "copy" => {
            Call::new(args, 0)?;
            list.clone()
        }
        _ => return Ok(None),
    }))
}
