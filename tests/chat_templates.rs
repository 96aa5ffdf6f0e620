//! Chat templates against Jinja2 with the settings of transformers' `apply_chat_template`: snippets for each thing that
//! a template can use, and whole templates in the style of the model families (`tools/golden/templates.py`).

#![allow(clippy::print_stdout, reason = "how many were compared is part of a test's report")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use killick::tokenizer::{ChatTemplate, Message, TemplateArguments, TokenizerError};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Golden {
    now: String,
    context: Map<String, Value>,
    messages: Vec<Turn>,
    /// Source, and what comes of it; `None` where Jinja2 refuses.
    snippets: Vec<(String, Option<String>)>,
    conversations: BTreeMap<String, Map<String, Value>>,
    sources: BTreeMap<String, String>,
    whole: Vec<(String, String, Option<String>)>,
}

#[derive(Deserialize, Clone)]
struct Turn {
    role: String,
    content: String,
}

fn messages(turns: &[Turn]) -> Vec<Message> {
    turns.iter().map(|turn| Message::new(&turn.role, &turn.content)).collect()
}

fn golden() -> Golden {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizer/templates.golden.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn render(
    source: &str,
    now: &str,
    values: &Map<String, Value>,
    turns: &[Turn],
    open: bool,
) -> Result<String, TokenizerError> {
    let values = values.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let arguments = TemplateArguments { values, date: Some(now.parse().unwrap()) };
    ChatTemplate::new(source)?.with(&arguments)?.render(&messages(turns), open, Some("<s>"), Some("</s>"))
}

/// What is refused here although Jinja2 has it, and the words of the refusal, which name it.
const REFUSED: [(&str, &str); 15] = [
    ("{{ s|wordwrap(5) }}", "filter wordwrap"),
    ("{{ 'a b c d e f'|wordwrap(4) }}", "filter wordwrap"),
    ("{{ html|striptags }}", "filter striptags"),
    ("{{ s|attr('upper')|string|length>0 }}", "attr of a string"),
    ("{{ [1,2]|random>0 }}", "filter random"),
    ("{{ 'a b'|urlencode }}", "filter urlencode"),
    ("{{ 'a=1&b'|urlencode }}", "filter urlencode"),
    ("{{ 2048|filesizeformat }}", "filter filesizeformat"),
    ("{{ 2048|filesizeformat(true) }}", "filter filesizeformat"),
    ("{{ 'http://x.y'|urlize|length>0 }}", "filter urlize"),
    ("{{ +n }}", "unexpected `+`"),
    ("{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, a=2) }}", "too many arguments"),
    ("{{ [1]|batch(0)|list }}", "invalid operation"),
    ("{{ lipsum() }}", "lipsum"),
    ("{{ s.nope() }}", "\"nope\""),
];
/// What is taken here although Jinja2 refuses it, or means something else where no method is looked at as a value.
const TAKEN: [&str; 4] = [
    "a {{+ s +}} b",
    "{{ 'a' < 1 }}",
    "{{ s.upper is callable }}",
    "{% macro m(a) %}{{ m.name }}{{ m.arguments }}{% endmacro %}{{ m(1) }}",
];

#[test]
fn snippets_render_as_jinja2_renders_them() {
    let golden = golden();
    assert!(golden.snippets.len() >= 300, "{} snippets", golden.snippets.len());
    let mut wrong = Vec::new();
    let (mut same, mut refused) = (0, 0);
    for (source, want) in &golden.snippets {
        let ours = render(source, &golden.now, &golden.context, &golden.messages, true);
        if let Some((_, words)) = REFUSED.iter().find(|(refused, _)| refused == source) {
            let message = ours.map_or_else(|error| error.to_string(), |text| format!("rendered {text:?}"));
            if !message.contains(words) {
                wrong.push(format!("{source:?}: {message}, but {words:?} should be named"));
            }
            refused += 1;
            continue;
        }
        match (&ours, want) {
            (Ok(ours), Some(want)) if ours == want => same += 1,
            (Err(_), None) => same += 1,
            (Ok(_), _) if TAKEN.contains(&source.as_str()) => {}
            _ => wrong.push(format!("{source:?}: {ours:?}, but Jinja2 {want:?}")),
        }
    }
    println!("{same} snippets equal, {refused} refused by name");
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), golden.snippets.len(), wrong.join("\n"));
}

#[test]
fn whole_templates_render_as_jinja2_renders_them() {
    let golden = golden();
    assert!(golden.sources.len() >= 15, "{} templates", golden.sources.len());
    let mut wrong = Vec::new();
    for (template, conversation, want) in &golden.whole {
        let mut values = golden.conversations[conversation].clone();
        let turns: Vec<Turn> = serde_json::from_value(values.remove("messages").unwrap()).unwrap();
        let open = values.remove("add_generation_prompt").is_none_or(|open| open == Value::Bool(true));
        let ours = render(&golden.sources[template], &golden.now, &values, &turns, open);
        if ours.as_ref().ok() != want.as_ref() {
            wrong.push(format!("{template}, {conversation}:\n{ours:?}\n{want:?}"));
        }
    }
    println!("{} conversations through {} templates", golden.whole.len(), golden.sources.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), golden.whole.len(), wrong.join("\n"));
}
