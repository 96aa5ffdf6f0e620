//! The library's errors in the words of the command line: settings by their flags, and what to do.
//!
//! The library names a setting as its fields do (`top_p`), because the same error reaches programs that have no flags.

use crate::error::Error;
use crate::eval::EvalError;
use crate::generate::GenerateError;
use crate::kv::{KvError, MAX_POSITIONS};
use crate::sampling::{SamplerOptions, SamplingError};
use crate::session::SessionError;
use crate::tokenizer::TokenizerError;

/// The message of `error` as a user of flags understands it; `None` where the library's own says it as well.
pub(super) fn in_flags(error: &anyhow::Error) -> Option<String> {
    // Whoever reads a file says which; what is left is written.
    let error_is_bare = error.chain().nth(1).is_none();
    if let Some(error) = error.downcast_ref::<std::io::Error>()
        && error_is_bare
    {
        return Some(format!("writing standard output: {error}"));
    }
    if let Some(SamplingError::Setting { field, value, need }) = sampling(error) {
        return Some(setting(field, value, need));
    }
    if let Some(EvalError::Setting { field, value, need }) = eval(error) {
        return Some(setting(field, value, need));
    }
    if let Some(TokenizerError::StopLength { bytes, limit, .. }) = tokenizer(error) {
        return Some(match bytes {
            0 => "--stop is empty: name the text that ends the answer".to_owned(),
            _ => format!("--stop is {bytes} bytes long, allowed are {limit}"),
        });
    }
    match kv(error)? {
        KvError::PositionLimit { pos, tokens, limit } => Some(too_long(*pos, *tokens, *limit)),
        _ => None,
    }
}

/// A setting of the library by its flag.
pub(super) fn flag(field: &str) -> String {
    let name = match field {
        "banned" => "ban",
        "window_tokens" => "max-length",
        "distance" => "distances",
        other => other,
    };
    format!("--{}", name.replace('_', "-"))
}

fn setting(field: &str, value: &str, need: &str) -> String {
    format!("{} is {value}, it must be {need}", flag(field))
}

/// How tokens are drawn, by the names of the flags; what is off is not named.
pub(super) fn sampler(options: &SamplerOptions) -> String {
    let SamplerOptions { temperature, top_k, top_p, min_p, repetition_penalty, frequency_penalty, .. } =
        options;
    let penalizes = options.has_penalties();
    let mut said = vec![match options.is_greedy() {
        true => "the likeliest token".to_owned(),
        false => format!("temperature {temperature}"),
    }];
    let mut add = |is_on: bool, text: String| said.extend(is_on.then_some(text));
    add(!options.is_greedy() && *top_k > 0, format!("top-k {top_k}"));
    add(!options.is_greedy() && *top_p < 1.0, format!("top-p {top_p}"));
    add(!options.is_greedy() && *min_p > 0.0, format!("min-p {min_p}"));
    add(penalizes && *repetition_penalty != 1.0, format!("repetition penalty {repetition_penalty}"));
    add(penalizes && *frequency_penalty != 0.0, format!("frequency penalty {frequency_penalty}"));
    add(
        penalizes && options.presence_penalty != 0.0,
        format!("presence penalty {}", options.presence_penalty),
    );
    add(penalizes, format!("penalties over the last {} tokens", options.penalty_last_n));
    add(!options.is_greedy(), format!("seed {}", options.seed));
    said.join(", ")
}

/// What to do about a text longer than the context.
fn too_long(pos: u32, tokens: usize, limit: u32) -> String {
    let text = match pos {
        0 => format!("the text has {tokens} tokens"),
        _ => format!("{pos} tokens are there and {tokens} more are to come"),
    };
    if limit == MAX_POSITIONS {
        return format!("{text}, and no text may have more than {limit}");
    }
    format!(
        "{text}, and the context of policy full has room for {limit}: give it more with --ctx, or choose a policy that forgets \
         (--policy sepllm or streaming; anchor for a model trained so), whose memory does not grow with the text"
    )
}

fn eval(error: &anyhow::Error) -> Option<&EvalError> {
    error.downcast_ref().or_else(|| match error.downcast_ref()? {
        Error::Eval(error) => Some(error),
        _ => None,
    })
}

fn sampling(error: &anyhow::Error) -> Option<&SamplingError> {
    error.downcast_ref().or_else(|| match error.downcast_ref()? {
        Error::Sampling(error) => Some(error),
        _ => None,
    })
}

fn tokenizer(error: &anyhow::Error) -> Option<&TokenizerError> {
    error.downcast_ref().or_else(|| match error.downcast_ref()? {
        Error::Tokenizer(error) => Some(error),
        _ => None,
    })
}

fn kv(error: &anyhow::Error) -> Option<&KvError> {
    if let Some(Error::Kv(error)) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(GenerateError::Session(SessionError::Kv(error))) = error.downcast_ref() {
        return Some(error);
    }
    match error.downcast_ref() {
        Some(SessionError::Kv(error)) => Some(error),
        _ => error.downcast_ref(),
    }
}
