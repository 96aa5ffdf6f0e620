//! The arguments of a call, by place and by name.

use minijinja::value::{Kwargs, Rest, from_args};
use minijinja::{Error, Value};

use super::failed;

/// The arguments of a call of Python's kind.
pub(super) struct Call {
    places: Vec<Value>,
    names: Kwargs,
}

impl Call {
    /// Takes the arguments apart; more than `most` without a name are too many.
    pub(super) fn new(args: &[Value], most: usize) -> Result<Self, Error> {
        let (Rest(places), names): (Rest<Value>, Kwargs) = from_args(args)?;
        Self::of(places, names, most)
    }

    /// The same of arguments that are taken apart.
    pub(super) fn of(places: Vec<Value>, names: Kwargs, most: usize) -> Result<Self, Error> {
        if places.len() > most {
            return Err(failed("too many arguments"));
        }
        Ok(Self { places, names })
    }

    /// The argument at a place, or by its name if it has one.
    pub(super) fn get(&self, place: usize, name: &str) -> Result<Option<Value>, Error> {
        let named = if name.is_empty() { None } else { self.names.get::<Option<Value>>(name)? };
        match (self.places.get(place), named) {
            (Some(_), Some(_)) => Err(failed("an argument is given twice")),
            (Some(value), None) => Ok(Some(value.clone())),
            (None, named) => Ok(named),
        }
    }

    /// The same where it must be there.
    pub(super) fn need(&self, place: usize, name: &str) -> Result<Value, Error> {
        self.get(place, name)?.ok_or_else(|| failed("an argument is missing"))
    }

    /// The same as a text.
    pub(super) fn text(&self, place: usize, name: &str) -> Result<String, Error> {
        let value = self.need(place, name)?;
        value.as_str().map(str::to_owned).ok_or_else(|| failed("an argument must be a string"))
    }

    /// A number, if it is there and not `none`.
    pub(super) fn number(&self, place: usize, name: &str) -> Result<Option<i64>, Error> {
        match self.get(place, name)?.filter(|value| !value.is_none()) {
            Some(value) if value.is_number() || value.is_true() || !value.is_undefined() => {
                i64::try_from(value).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A yes or no, by default no.
    pub(super) fn flag(&self, place: usize, name: &str) -> Result<bool, Error> {
        Ok(self.get(place, name)?.is_some_and(|value| value.is_true()))
    }

    /// That no argument is left over.
    pub(super) fn end(&self) -> Result<(), Error> {
        self.names.assert_all_used()
    }
}
