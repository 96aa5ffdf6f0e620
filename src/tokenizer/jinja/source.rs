//! The text of a template, before it is parsed.

use std::borrow::Cow;

/// Replaces what the engine would read otherwise than Jinja2 with transformers' settings.
///
/// Line ends become `\n`, in strings as well. A string before `%` is a format (`without_percent`). `{% generation %}` only tells a trainer which tokens are an answer's, and
/// has a scope of its own like `{% with %}`, which takes its place.
pub(in crate::tokenizer) fn prepare(source: &str) -> String {
    let source: Cow<'_, str> = if source.contains('\r') {
        source.replace("\r\n", "\n").replace('\r', "\n").into()
    } else {
        source.into()
    };
    let mut made = String::with_capacity(source.len());
    let mut rest = &*source;
    while let Some((before, from)) = rest.find('{').and_then(|at| rest.split_at_checked(at)) {
        made.push_str(before);
        let len = match from.get(..2) {
            Some("{#") => from.find("#}").map_or(from.len(), |at| at.saturating_add(2)),
            Some("{{") => {
                let (code, after) = from.split_at_checked(end_of_code(from, "}}")).unwrap_or((from, ""));
                made.push_str(&without_percent(code, 0));
                rest = after;
                continue;
            }
            Some("{%") => {
                let len = end_of_code(from, "%}");
                let (tag, after) = from.split_at_checked(len).unwrap_or((from, ""));
                match name(tag) {
                    "raw" => len.saturating_add(end_of_raw(after)),
                    _ if tag.contains(['\'', '"']) => {
                        made.push_str(&without_percent(tag, 0));
                        rest = after;
                        continue;
                    }
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

/// Code in which `'format' % values` is a call: the engine has no such operator for strings, and what is not written out
/// it refuses.
fn without_percent(code: &str, depth: u32) -> String {
    /// Formats in the values of formats, beyond which they are left as they are.
    const MOST: u32 = 8;
    if depth > MOST {
        return code.to_owned();
    }
    let mut made = String::with_capacity(code.len());
    let mut rest = code;
    while let Some((before, from)) = rest.find(['\'', '"']).and_then(|at| rest.split_at_checked(at)) {
        made.push_str(before);
        let (literal, after) = from.split_at_checked(string(from)).unwrap_or((from, ""));
        let factor = made.trim_end().ends_with(['*', '/', '%']);
        let operator = after.trim_start();
        let values = operator.strip_prefix('%').filter(|values| !factor && !values.starts_with('}'));
        match values.and_then(|values| values.split_at_checked(operand(values)?)) {
            Some((values, after)) => {
                made.push_str(&format!(
                    "__percent({literal}, {})",
                    without_percent(values.trim(), depth.saturating_add(1))
                ));
                rest = after;
            }
            None => {
                made.push_str(literal);
                rest = after;
            }
        }
    }
    made.push_str(rest);
    made
}

/// Bytes of the string that the code begins with.
fn string(code: &str) -> usize {
    let mut chars = code.char_indices();
    let open = chars.next().map(|(_, c)| c);
    let mut escaped = false;
    for (at, c) in chars {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if Some(c) == open => return at.saturating_add(1),
            _ => {}
        }
    }
    code.len()
}

/// Bytes of what the code begins with in brackets.
fn group(code: &str) -> usize {
    let (mut depth, mut at) = (0u32, 0usize);
    while let Some(c) = code.get(at..).and_then(|rest| rest.chars().next()) {
        let len = match c {
            '\'' | '"' => string(code.get(at..).unwrap_or_default()),
            c => c.len_utf8(),
        };
        match c {
            '(' | '[' | '{' => depth = depth.saturating_add(1),
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at = at.saturating_add(len.max(1));
        if depth == 0 {
            break;
        }
    }
    at.min(code.len())
}

/// Bytes of the operand that the code begins with: a value, what is taken from it or called on it, and filters.
fn operand(code: &str) -> Option<usize> {
    let word = |text: &str| text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let blank = |text: &str| text.len().saturating_sub(text.trim_start().len());
    let mut at = blank(code);
    let rest = |at: usize| code.get(at..).unwrap_or_default();
    let sign = usize::from(rest(at).starts_with('-'));
    at = at.saturating_add(sign);
    let len = match rest(at).chars().next()? {
        '\'' | '"' => string(rest(at)),
        '(' | '[' | '{' => group(rest(at)),
        c if c.is_ascii_digit() => {
            rest(at).find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest(at).len())
        }
        _ => word(rest(at)),
    };
    if len == 0 {
        return None;
    }
    at = at.saturating_add(len);
    loop {
        let space = blank(rest(at));
        let next = rest(at.saturating_add(space));
        let len = match next.chars().next() {
            Some('(' | '[') => group(next),
            Some('.') => 1usize.saturating_add(word(next.get(1..).unwrap_or_default())),
            Some('|') => {
                let name = next.get(1..).unwrap_or_default();
                1usize.saturating_add(blank(name)).saturating_add(word(name.trim_start()))
            }
            _ => return Some(at),
        };
        at = at.saturating_add(space).saturating_add(len);
    }
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

    #[test]
    fn a_format_and_its_values_become_a_call() {
        for (source, want) in [
            ("{{ '%s' % x }}", "{{ __percent('%s', x) }}"),
            ("{{ '%s' % x.y[0](1)|upper ~ 'z' }}", "{{ __percent('%s', x.y[0](1)|upper) ~ 'z' }}"),
            ("{% if '%d' % (1, ')') == '1' %}", "{% if __percent('%d', (1, ')')) == '1' %}"),
            ("{{ '%s' % ('%s' % -1.5) }}", "{{ __percent('%s', (__percent('%s', -1.5))) }}"),
        ] {
            assert_eq!(prepare(source), want);
        }
        for same in [
            "{% set x = '%s' %}",
            "{{ 5 % 3 }}",
            "{{ '%' }}",
            "'%s' % x",
            "{{ 2 * 'x' % 3 }}",
            "{{ '%s' %",
            "{{ 'a",
        ] {
            assert_eq!(prepare(same), same);
        }
    }
}
