//! Chat templates that try to run for ever, fill the memory or reach outside.

use std::time::Duration;

use killick::tokenizer::{ChatTemplate, MAX_PROMPT_BYTES, MAX_TEMPLATE_BYTES, Message, TokenizerError};

use super::Kind::Template;
use super::assert_refused;

/// Time a template may take until its fuel is used up.
const TEMPLATE_LIMIT: Duration = Duration::from_secs(2);

#[test]
fn template_bombs_are_refused() {
    let doubling = |n: usize| {
        let steps = "{% set ns.s = ns.s ~ ns.s %}".repeat(n);
        format!("{{% set ns = namespace(s='aaaaaaaaaa') %}}{steps}{{{{ ns.s|length }}}}")
    };
    let parens = |n: usize| format!("{{{{ {}1{} }}}}", "(".repeat(n), ")".repeat(n));
    let lists = |n: usize| format!("{{{{ {}{} }}}}", "[".repeat(n), "]".repeat(n));
    let nested_for = format!("{}x{}", "{% for i in range(9) %}".repeat(2000), "{% endfor %}".repeat(2000));
    let cases: Vec<(&str, String, &str)> = vec![
        ("template of 257 KiB", "x".repeat(MAX_TEMPLATE_BYTES + 1), "limit of 262144 bytes"),
        ("1,000 parentheses", parens(1000), "line 1"),
        ("6,000 parentheses", parens(6000), "line 1"),
        ("100,000 parentheses", parens(100_000), "line 1"),
        ("1,000 lists", lists(1000), "line 1"),
        ("100,000 lists", lists(100_000), "line 1"),
        ("2,000 nested loops", nested_for, "line 1"),
        ("recursive macro", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".into(), "invalid operation"),
        ("loops in loops", "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}".into(), "fuel"),
        ("silent loops", "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}".into(), "fuel"),
        ("text repeated", "{{ 'a' * 4000000000 }}".into(), "fuel"),
        ("text doubled", doubling(40), "fuel"),
        ("output of 5 MB", "{{ 'a' * 5000000 }}".into(), "output is more than the limit of 4194304 bytes"),
        ("output in many parts", "{% for i in range(9000) %}{{ 'a' * 1000 }}{% endfor %}".into(), "limit of 4194304 bytes"),
        ("JSON of a long list", "{{ ([0] * 100000000) | tojson }}".into(), "chat template"),
        ("JSON again and again", "{% set t = 'a' * 3000000 %}{% for i in range(90000) %}{% set x = t | tojson %}{% endfor %}".into(), "fuel"),
        ("replacement that grows", "{% set ns = namespace(s='a') %}{% for i in range(99) %}{% set ns.s = ns.s.replace('a', 'aaaaaaaaaa') %}{% endfor %}".into(), "fuel"),
        ("upper case again and again", "{% set t = 'a' * 30000000 %}{% for i in range(90000) %}{% set x = t.upper() %}{% endfor %}".into(), "fuel"),
        ("join of a long list", "{{ range(100000) | join('a' * 100000) | length }}".into(), "fuel"),
        ("sort again and again", "{% set t = range(90000) | list %}{% for i in range(90000) %}{% set x = t | sort %}{% endfor %}".into(), "fuel"),
        ("range beyond its limit", "{{ range(100000000000) | list | length }}".into(), "chat template"),
        ("Python internals", "{{ ''.__class__.__mro__ }}".into(), "undefined value"),
        ("include of a file", "{% include '/etc/passwd' %}".into(), "chat template"),
        ("a width without end", "{{ 'a'.center(1000000000) }}".into(), "invalid operation"),
        ("zeros without end", "{{ 'a'.zfill(9000000000000000000) }}".into(), "invalid operation"),
        ("a format that grows", "{{ '{:>999999999}'.format('x') }}".into(), "fuel"),
        ("a format of a width that is a value", "{{ '{:{}}'.format('x', 999999999) }}".into(), "invalid operation"),
        ("a percent format that grows", "{{ '%999999999d' % 1 }}".into(), "fuel"),
        ("an indent without end", "{{ [[[1]]] | tojson(indent=999999999) | length }}{{ nope() }}".into(), "nope is unknown"),
        ("lines that are indented again and again", "{% set ns = namespace(s='a\n' * 1000) %}{% for i in range(9999) %}{% set ns.s = ns.s | indent(1000) %}{% endfor %}".into(), "fuel"),
        ("a list searched again and again", "{% set l = [0] * 90000 %}{% for i in range(90000) %}{% set x = l.count(1) %}{% endfor %}".into(), "fuel"),
        ("formats in formats", format!("{{{{ {}1{} }}}}", "'%s' % (".repeat(20_000), ")".repeat(20_000)), "line 1"),
        ("text shown again and again", "{% set l = ['a' * 1000000] %}{% for i in range(90000) %}{% set x = l | string %}{% endfor %}".into(), "fuel"),
        ("a method that there is not", "{{ 'a'.no_such_method() }}".into(), "\"no_such_method\""),
        ("a function that there is not", "{{ no_such_function(1) }}".into(), "no_such_function is unknown; to go on without the template"),
        ("unknown filter", "{{ 'a' | no_such_filter }}".into(), "unknown filter"),
        ("unclosed block", "{% if true %}".into(), "line 1"),
        ("unknown tag", "{% trans %}x{% endtrans %}".into(), "unknown statement trans; to go on without the template"),
    ];
    for (name, source, words) in &cases {
        assert_refused(name, (Template, words), TEMPLATE_LIMIT, || {
            ChatTemplate::new(source)?.render(&[Message::new("user", "hi")], true, None, None)
        });
    }
}

#[test]
fn messages_beyond_the_output_bound_are_refused() {
    let template = ChatTemplate::new("{% for m in messages %}{{ m.content }}{% endfor %}").unwrap();
    let messages = vec![Message::new("user", "a".repeat(MAX_PROMPT_BYTES / 4)); 4];
    assert_eq!(template.render(&messages, false, None, None).unwrap().len(), MAX_PROMPT_BYTES);
    let messages = [&messages[..], &[Message::new("user", "a")]].concat();
    let error = template.render(&messages, false, None, None).unwrap_err();
    assert_eq!(error, TokenizerError::TemplateTooLarge { what: "output", limit: MAX_PROMPT_BYTES });
}
