//! The flags that say what a chat template is told.

use clap::Args as ClapArgs;

use crate::cli::voice::ReasoningArg;
use crate::tokenizer::{Date, TemplateArguments};

#[derive(ClapArgs, Debug)]
#[command(next_help_heading = "Chat template")]
pub(crate) struct TemplateArgs {
    /// A value that the chat template knows by this name, as JSON or else as text, such as `enable_thinking=false`;
    /// repeatable.
    #[arg(long, value_name = "NAME=JSON", value_parser = parse_argument)]
    pub(crate) template_arg: Vec<(String, serde_json::Value)>,
    /// The date that the chat template is told if it asks, such as 2026-03-05 or 2026-03-05T14:07:09, so that a prompt
    /// is the same on every day. Default: now, in UTC.
    #[arg(long, value_name = "DATE")]
    pub(crate) date: Option<Date>,
    /// What becomes of what a model thinks before it answers (between <think> and </think>, or marks like these). Default: show.
    #[arg(long, value_enum, value_name = "show|hide")]
    reasoning: Option<ReasoningArg>,
}

impl TemplateArgs {
    /// The flag that was given first, if one was.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--template-arg", !self.template_arg.is_empty()),
            ("--date", self.date.is_some()),
            ("--reasoning", self.reasoning.is_some()),
        ];
        flags.into_iter().find_map(|(flag, is_given)| is_given.then_some(flag))
    }

    /// What becomes of thoughts.
    pub(crate) fn reasoning(&self) -> ReasoningArg {
        self.reasoning.unwrap_or(ReasoningArg::Show)
    }

    /// What they say.
    pub(crate) fn arguments(&self) -> TemplateArguments {
        TemplateArguments { values: self.template_arg.clone(), date: self.date }
    }
}

/// What is no JSON is a text, so that `name=Ann` needs no quotes.
fn parse_argument(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("it must be a name, an equals sign and a value, such as enable_thinking=false")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse_argument;

    #[test]
    fn values_are_json_or_else_text() {
        for (text, name, value) in [
            ("enable_thinking=false", "enable_thinking", json!(false)),
            ("n=3", "n", json!(3)),
            ("who=Ann B", "who", json!("Ann B")),
            ("who=\"3\"", "who", json!("3")),
            ("who=", "who", json!("")),
            ("a=[1, {\"b\": null}]", "a", json!([1, {"b": null}])),
            ("a=b=c", "a", json!("b=c")),
        ] {
            assert_eq!(parse_argument(text), Ok((name.to_owned(), value)));
        }
        assert!(parse_argument("enable_thinking").is_err());
    }
}
