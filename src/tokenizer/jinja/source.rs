//! The text of a template, before it is parsed.

use std::borrow::Cow;

/// Replaces what the engine would read otherwise than Jinja2 with transformers' settings.
///
/// Line ends become `\n`, in strings as well. `{% generation %}` only tells a trainer which tokens are an answer's, and
/// has a scope of its own like `{% with %}`, which takes its place.
pub(in crate::tokenizer) fn prepare(source: &str) -> String {
    let source: Cow<'_, str> = if source.contains('\r') {
        source.replace("\r\n", "\n").replace('\r', "\n").into()
    } else {
        source.into()
    };
    if !source.contains("generation") {
        return source.into_owned();
    }
    let mut made = String::with_capacity(source.len());
    let mut rest = &*source;
    while let Some((before, from)) = rest.find('{').and_then(|at| rest.split_at_checked(at)) {
        made.push_str(before);
        let len = match from.get(..2) {
            Some("{#") => from.find("#}").map_or(from.len(), |at| at.saturating_add(2)),
            Some("{{") => end_of_code(from, "}}"),
            Some("{%") => {
                let len = end_of_code(from, "%}");
                let (tag, after) = from.split_at_checked(len).unwrap_or((from, ""));
                match name(tag) {
                    "raw" => len.saturating_add(end_of_raw(after)),
                    found @ ("generation" | "endgeneration") => {
                        let new = if found == "generation" { "with" } else { "endwith" };
                        made.push_str(&tag.replacen(found, new, 1));
                        rest = after;
                        continue;
                    }
                    _ => len,
                }
            }
            _ => 1,
        };
        let (part, after) = from.split_at_checked(len).unwrap_or((from, ""));
        made.push_str(part);
        rest = after;
    }
    made.push_str(rest);
    made
}

/// The first word of a tag.
fn name(tag: &str) -> &str {
    let inner = tag.trim_start_matches("{%").trim_start_matches(['-', '+']).trim_start();
    inner.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default()
}

/// Bytes of a tag or an expression, up to its end outside of strings.
fn end_of_code(code: &str, end: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in code.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if code.get(at..).is_some_and(|rest| rest.starts_with(end)) => {
                return at.saturating_add(end.len());
            }
            None => {}
        }
    }
    code.len()
}

/// Bytes up to and with the end of a raw block.
fn end_of_raw(text: &str) -> usize {
    let mut from = 0usize;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find("{%")) {
        let start = from.saturating_add(at);
        let tag = text.get(start..).unwrap_or_default();
        if name(tag) == "endraw" {
            return start.saturating_add(tag.find("%}").map_or(tag.len(), |end| end.saturating_add(2)));
        }
        from = start.saturating_add(2);
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::prepare;

    #[test]
    fn only_the_tag_itself_is_replaced() {
        let same = [
            "{{ '{% generation %}' }}",
            "{# {% generation %} #}",
            "{% raw %}{% generation %}{%- endraw %}",
            "{% set generation = 1 %}{{ generation }}",
            "{% generations %}",
            "generation {",
            "{% generation",
        ];
        for source in same.iter().take(6) {
            assert_eq!(prepare(source), *source);
        }
        assert_eq!(prepare(same[6]), "{% with");
        let tags = "{%- generation -%}x{%endgeneration%}{% raw %}{{{% endraw %}{% generation %}";
        assert_eq!(prepare(tags), "{%- with -%}x{%endwith%}{% raw %}{{{% endraw %}{% with %}");
        assert_eq!(prepare("a\r\nb\rc\n"), "a\nb\nc\n");
    }
}
