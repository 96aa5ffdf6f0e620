//! Multiple-choice items: one JSON object a line, `{"query": "...", "choices": ["...", "..."], "gold": 0}`.

use serde_json::Value;

use super::{EvalError, shortened};

/// A question, its possible answers, and which is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What is asked, without the white space at its end.
    pub query: String,
    /// The answers, two at least, none of them empty, without the white space around them.
    pub choices: Vec<String>,
    /// Index of the right one.
    pub gold: usize,
}

/// The items of `text`, which is the content of `file`; empty lines and other fields are passed over.
///
/// # Errors
/// The line that is no item, with the field and what it holds; a file without items.
pub fn items(file: &str, text: &str) -> Result<Vec<Item>, EvalError> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let items: Vec<Item> =
        lines.map(|(number, line)| item(&Line { file, number }, line)).collect::<Result<_, _>>()?;
    if items.is_empty() {
        return Err(EvalError::TooFew { what: "items in the file", have: 0, need: 1 });
    }
    Ok(items)
}

/// Where an error is.
struct Line<'a> {
    file: &'a str,
    number: usize,
}

impl Line<'_> {
    fn refuse(&self, field: &'static str, value: Option<&Value>, need: &str) -> EvalError {
        let found = value.map_or_else(|| "missing".to_owned(), shortened);
        EvalError::Field {
            file: self.file.to_owned(),
            line: self.number,
            field,
            found,
            need: need.to_owned(),
        }
    }
}

fn item(line: &Line<'_>, text: &str) -> Result<Item, EvalError> {
    let problem =
        |problem: String| EvalError::Line { file: line.file.to_owned(), line: line.number, problem };
    let value: Value = serde_json::from_str(text).map_err(|error| problem(no_json(&error)))?;
    let Value::Object(fields) = value else {
        return Err(problem("an item must be a JSON object".to_owned()));
    };
    let (query, choices, gold) = (fields.get("query"), fields.get("choices"), fields.get("gold"));

    let words =
        |value: &Value| value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let need = "a list of two texts or more, none of them empty";
    let texts = choices.and_then(Value::as_array).filter(|list| list.len() > 1);
    let texts: Option<Vec<String>> = texts.and_then(|list| list.iter().map(words).collect());
    let texts = texts.ok_or_else(|| line.refuse("choices", choices, need))?;
    let asked = query.and_then(Value::as_str).map(str::trim_end).filter(|text| !text.is_empty());
    let asked = asked.ok_or_else(|| line.refuse("query", query, "a text that is not empty"))?;
    let right = gold.and_then(Value::as_u64).and_then(|gold| usize::try_from(gold).ok());
    let right = right
        .filter(|right| *right < texts.len())
        .ok_or_else(|| line.refuse("gold", gold, &format!("a number from 0 to {}", texts.len() - 1)))?;
    Ok(Item { query: asked.to_owned(), choices: texts, gold: right })
}

/// What is wrong with a line of JSON. The parser has seen one line only, so that its own number of it is no help.
fn no_json(error: &serde_json::Error) -> String {
    let (text, column) = (error.to_string(), error.column());
    let cause = text.strip_suffix(&format!(" at line {} column {column}", error.line())).unwrap_or(&text);
    format!("no JSON, {cause} at column {column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_and_trimmed() {
        let text = "{\"query\": \"Q \\n\", \"choices\": [\" a\", \"b \"], \"gold\": 1, \"more\": []}\n\n";
        let read = items("x.jsonl", text).unwrap();
        let choices = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(read, [Item { query: "Q".to_owned(), choices, gold: 1 }]);
    }

    #[test]
    fn a_line_that_is_no_item_is_named_with_its_field() {
        let good = r#"{"query": "Q", "choices": ["a", "b"], "gold": 0}"#;
        for (bad, words) in [
            ("{", vec!["no JSON, EOF while parsing an object at column 1"]),
            (r#"{"query": "Q", "choices": ["a", "b"], "gold": "0"}"#, vec!["\"gold\" is \"0\", it"]),
            ("[1]", vec!["JSON object"]),
            (r#"{"choices": ["a", "b"], "gold": 0}"#, vec!["\"query\"", "missing"]),
            (r#"{"query": 3, "choices": ["a", "b"], "gold": 0}"#, vec!["\"query\"", "is 3"]),
            (r#"{"query": " ", "choices": ["a", "b"], "gold": 0}"#, vec!["\"query\"", "not empty"]),
            (r#"{"query": "Q", "choices": ["a"], "gold": 0}"#, vec!["\"choices\"", "two"]),
            (r#"{"query": "Q", "choices": ["a", ""], "gold": 0}"#, vec!["\"choices\"", "empty"]),
            (r#"{"query": "Q", "choices": ["a", 2], "gold": 0}"#, vec!["\"choices\""]),
            (r#"{"query": "Q", "choices": "ab", "gold": 0}"#, vec!["\"choices\"", "ab"]),
            (r#"{"query": "Q", "choices": ["a", "b"], "gold": 2}"#, vec!["\"gold\"", "is 2", "0 to 1"]),
            (r#"{"query": "Q", "choices": ["a", "b"], "gold": -1}"#, vec!["\"gold\"", "-1"]),
            (r#"{"query": "Q", "choices": ["a", "b"], "gold": 0.5}"#, vec!["\"gold\"", "0.5"]),
            (r#"{"query": "Q", "choices": ["a", "b"]}"#, vec!["\"gold\"", "missing"]),
        ] {
            let message = items("x.jsonl", &format!("{good}\n{bad}\n")).unwrap_err().to_string();
            assert_eq!(message.matches("line ").count(), 1, "{message}");
            for word in [vec!["x.jsonl", "line 2"], words].concat() {
                assert!(message.contains(word), "{bad}: no {word:?} in {message}");
            }
        }
        assert!(items("x.jsonl", "\n").is_err());
        let long = items(
            "x",
            &format!("{{\"query\": [\"\u{1b}{}\"]", "x".repeat(999))
                .replace(']', "], \"choices\": [\"a\", \"b\"], \"gold\": 0}"),
        );
        let message = long.unwrap_err().to_string();
        assert!(message.len() < 200 && !message.contains('\u{1b}'), "{message}");
    }
}
