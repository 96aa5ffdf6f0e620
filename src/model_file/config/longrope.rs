//! The scaling of long Phi models: LongRoPE (Ding et al., "LongRoPE: Extending LLM Context Window Beyond 2 Million Tokens", 2024).
//!
//! Each frequency is divided by a number of its own, of one list for texts within the context before it was extended and of another for
//! longer ones. transformers takes the one or the other by the length of the text so far, so that a text changes all its keys when it
//! grows beyond; llama.cpp by the length that is planned for. Here a key is rotated once, so it is what is planned for as well:
//! the largest distance that the policy lets a token see ([`Policy::reach`](crate::kv::Policy::reach)).

use serde::Serialize;
use serde_json::Value;

use super::rope::ScalingDraft;
use super::{Architecture, MAX_HEAD_DIM, Named, invalid, positive};
use crate::model_file::error::ModelFileError;
use crate::model_file::json::{Object, wrong_type};
use crate::model_file::reader::{at_most, len_u64};

/// The largest divisor of a frequency.
const MAX_DIVISOR: f32 = 1e6;
/// `original_max_position_embeddings` of Phi-3 where the file has no such key.
const PHI3_ORIGINAL: u64 = 4096;

/// What each rotary frequency is divided by, `rope_dim / 2` numbers above 0 in each list.
#[derive(Serialize, Debug, Clone, PartialEq)]
pub struct RopeDivisors {
    /// Where no distance is beyond the original context.
    pub short: Vec<f32>,
    /// Elsewhere, where that is another list.
    pub long: Option<Vec<f32>>,
}

/// The lists as config.json has them.
pub(super) struct FactorsDraft<'a> {
    short: Factors<'a>,
    long: Factors<'a>,
}

/// One list.
struct Factors<'a> {
    file: &'a str,
    field: String,
    values: Vec<f64>,
}

impl<'a> ScalingDraft<'a> {
    /// The numbers of `rope`; `original` is the context before it was extended, if the file says it.
    pub(super) fn longrope(
        json: &Object<'a>,
        rope: &Object<'a>,
        architecture: Architecture,
        original: Option<Named<'a, u64>>,
    ) -> Result<Self, ModelFileError> {
        const ORIGINAL: &str = "original_max_position_embeddings";
        let given = |key: &str| Ok(rope.f64(key)?.map(|value| rope.named(key, value)));
        let list = |key: &str| Factors::read(rope, key);
        Ok(Self::LongRope {
            factor: given("factor")?,
            attention: given("attention_factor")?,
            original: original.or_else(|| {
                (architecture == Architecture::Phi3).then(|| json.named(ORIGINAL, PHI3_ORIGINAL))
            }),
            factors: Some(FactorsDraft { short: list("short_factor")?, long: list("long_factor")? }),
        })
    }
}

impl FactorsDraft<'_> {
    /// Both lists, with a number for each of `pairs` frequencies.
    pub(super) fn check(self, pairs: u32) -> Result<RopeDivisors, ModelFileError> {
        Ok(RopeDivisors { short: self.short.check(pairs)?, long: Some(self.long.check(pairs)?) })
    }
}

impl<'a> Factors<'a> {
    fn read(rope: &Object<'a>, key: &str) -> Result<Self, ModelFileError> {
        let (file, field) = (rope.file, rope.field(key));
        let list = rope.required(key, rope.array(key)?)?;
        at_most(file, &format!("{field} count"), len_u64(list.len()), MAX_HEAD_DIM)?;
        let number = |value: &Value| {
            value.as_f64().ok_or_else(|| wrong_type(file, field.clone(), value, "a list of numbers"))
        };
        let values = list.iter().map(number).collect::<Result<_, _>>()?;
        Ok(Self { file, field, values })
    }

    fn check(self, pairs: u32) -> Result<Vec<f32>, ModelFileError> {
        let (file, field) = (self.file, &self.field);
        if len_u64(self.values.len()) != u64::from(pairs) {
            let count = Named { file, field: format!("{field} count"), value: self.values.len() };
            return Err(invalid(&count, format!("the {pairs} pairs of columns that turn")));
        }
        let number = |value| positive(&Named { file, field: field.clone(), value }, MAX_DIVISOR);
        self.values.into_iter().map(number).collect()
    }
}

/// What queries and keys grow by, of a context that was extended by `factor`: the paper's suggestion.
pub(super) fn suggested_growth(factor: f64, original: u32) -> f64 {
    if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / f64::from(original).ln()).sqrt() }
}
