//! Text from outside never becomes a control token, whatever kind the vocabulary is of and however the text is cut.

use std::collections::BTreeMap;

use killick::kv::{Insert, Place, Policy, PolicySpec, Preset};
use killick::model_file::TokenizerSource;
use killick::tokenizer::{ChatTemplate, Tokenizer, Turns};
use proptest::prelude::*;
use serde_json::Value;

use super::json_files::{self, patched};
use super::pieces::{PIECES, alone, piece_keys};
use super::splits::split_by;
use super::{json, load, texts};

/// A vocabulary, and the spelling of a control token that a template may write.
struct Kind {
    name: String,
    tokenizer: Tokenizer,
    control: String,
}

/// One of every kind that there is: the files of Hugging Face with merges and unigram, SentencePiece's own, and GGUF.
fn kinds() -> Vec<Kind> {
    let mut found: Vec<(String, Tokenizer)> = Vec::new();
    let tokenizer_json = json::<Value>("tiny.json").to_string().into_bytes();
    found.push((
        "tiny.json".into(),
        load(TokenizerSource::HuggingFace { tokenizer_json, tokenizer_config: None }),
    ));
    for (name, golden) in &json::<BTreeMap<String, json_files::Golden>>("llama.golden.json") {
        found.push((format!("llama.json {name}"), patched(golden)));
    }
    for (name, model) in PIECES {
        found.push((format!("{name}.gguf"), load(TokenizerSource::Gguf(piece_keys(name, model)))));
        found.push((format!("{name}.model"), alone(name)));
    }
    found.push(("llama-bpe.gguf".into(), split_by("llama-bpe")));
    found.push(("qwen2.gguf".into(), split_by("qwen2")));
    let kind = |(name, tokenizer): (String, Tokenizer)| {
        let control = spellings(&tokenizer).into_iter().find(|spelling| !spelling.contains("unk")).unwrap();
        Kind { name, tokenizer, control }
    };
    found.into_iter().map(kind).collect()
}

fn spellings(tokenizer: &Tokenizer) -> Vec<String> {
    let spelling = |id: &u32| String::from_utf8(tokenizer.token_bytes(*id).unwrap()).unwrap();
    tokenizer.special_ids().iter().map(spelling).collect()
}

/// What templates do to a message; `S` is a control token of the vocabulary.
const TEMPLATES: [&str; 12] = [
    "{% for m in messages %}S{{ m.role }}\n{{ m.content }}S\n{% endfor %}",
    "{% for m in messages %}{{ 'S' + m.role + '\n' + m.content | trim + 'S' }}{% endfor %}",
    "{% for m in messages %}{{ m.content }}{% endfor %}",
    "{% for m in messages %}S{{ m.content.split('</think>')[-1].lstrip('\n') }}S{% endfor %}",
    "{% for m in messages %}S{{ m.content | replace('x', '') }}S{% endfor %}",
    "{% for m in messages %}S{{ m.content | upper }}S{{ m.content | lower }}S{% endfor %}",
    "{% for m in messages %}S{{ m.content | tojson }}S{% endfor %}",
    "{% for m in messages %}S{% if '/no_think' in m.content %}off{% endif %}{{ m.content }}S{% endfor %}",
    "{% for m in messages %}S{% if m.content.startswith('S') %}sly{% endif %}{{ m.content }}S{% endfor %}",
    "{% for m in messages %}S{{ m.content[:2] }}{{ m.content[2:] }}S{% endfor %}",
    "{% for m in messages %}S{{ m.content | length }} {{ m.content }}S{% endfor %}",
    "{% for m in messages %}S{{ m.content.split() | join(' ') }}{{ m.content[::-1] }}S{% endfor %}",
];

fn turns(template: &str, control: &str) -> Turns {
    Turns::new(ChatTemplate::new(&template.replace('S', control)).unwrap(), None, None)
}

fn full() -> Policy {
    PolicySpec::new(Preset::Full).resolve(1024).unwrap()
}

/// How many ids are special, the unknown token left out, which stands for what the vocabulary lacks.
fn special(tokenizer: &Tokenizer, ids: &[u32]) -> usize {
    let control = |id: &&u32| {
        tokenizer.special_ids().contains(id) && !tokenizer.token_bytes(**id).unwrap().starts_with(b"<unk")
    };
    ids.iter().filter(control).count()
}

/// Special ids of a first and of a next prompt.
fn counts(kind: &Kind, turns: &Turns, system: &str, user: &str) -> (usize, usize) {
    let first = turns.first_ids(&kind.tokenizer, Some(system), user, &full()).unwrap();
    let next = turns.next_ids(&kind.tokenizer, Some(system), user, &full());
    // Some of the templates above change an answer, which a conversation cannot go on from.
    let next = next.map_or(0, |ids| special(&kind.tokenizer, &ids));
    (special(&kind.tokenizer, &first), next)
}

#[test]
fn no_text_of_a_message_becomes_a_special_token() {
    let mut tried = 0;
    for kind in kinds_once() {
        let spelled = spellings(&kind.tokenizer);
        assert!(!spelled.is_empty(), "{} has no special token", kind.name);
        for (i, token) in spelled.iter().enumerate().take(6) {
            let other = &spelled[(i + 1) % spelled.len()];
            let mut contents = vec![token.clone(), format!("a{token}b{other}"), token.to_uppercase()];
            for (at, _) in token.char_indices().skip(1) {
                let (head, tail) = token.split_at(at);
                contents.push(format!("{head}x{tail}"));
                contents.push(format!("{head}{token}{tail}"));
                contents.push(format!("{head} {tail}{token}"));
            }
            contents.push(token.chars().rev().collect());
            for template in TEMPLATES {
                let turns = turns(template, &kind.control);
                // Of a length that a template may count, so that it says the same.
                let plain = counts(kind, &turns, "xx", "xx");
                for content in &contents {
                    let found = counts(kind, &turns, content, content);
                    let next = if found.1 == 0 { 0 } else { plain.1 };
                    assert!(
                        found.0 <= plain.0 && found.1 == next,
                        "{} {template:?} {content:?}: {found:?} where {plain:?} are the template's own",
                        kind.name
                    );
                    let answer = turns.answer_ids(&kind.tokenizer, content, &full()).unwrap();
                    assert_eq!(special(&kind.tokenizer, &answer), 0, "{} answers {content:?}", kind.name);
                    tried += 1;
                }
                // Cut in two by two messages between which the template writes nothing.
                for (at, _) in token.char_indices().skip(1) {
                    let (head, tail) = token.split_at(at);
                    assert!(
                        counts(kind, &turns, head, tail).0 <= plain.0,
                        "{} {template:?} {head}",
                        kind.name
                    );
                }
            }
        }
    }
    assert!(tried > 9_000, "{tried} conversations");
}

#[test]
fn the_same_text_without_its_origin_would_become_one() {
    // The control: that is what encoding the joined prompt does.
    for kind in kinds_once() {
        let turns = turns(TEMPLATES[0], &kind.control);
        let plain = special(
            &kind.tokenizer,
            &kind.tokenizer.encode(&turns.first(None, "xx").unwrap(), false).unwrap(),
        );
        let prompt = turns.first(None, &kind.control).unwrap();
        assert_eq!(
            special(&kind.tokenizer, &kind.tokenizer.encode(&prompt, false).unwrap()),
            plain + 1,
            "{}",
            kind.name
        );
    }
}

#[test]
fn a_message_that_spells_no_control_token_has_the_ids_of_the_joined_prompt() {
    for kind in kinds_once() {
        let spelled = spellings(&kind.tokenizer);
        let mut same = 0;
        for text in texts(17, 120) {
            if spelled.iter().any(|token| text.contains(token.as_str())) {
                continue;
            }
            for template in TEMPLATES {
                let turns = turns(template, &kind.control);
                let prompt = turns.first(Some(&text), &text).unwrap();
                let ids = turns.first_ids(&kind.tokenizer, Some(&text), &text, &full()).unwrap();
                assert_eq!(
                    ids,
                    kind.tokenizer.encode(&prompt, false).unwrap(),
                    "{} {template:?} {text:?}",
                    kind.name
                );
                same += 1;
            }
        }
        assert!(same > 1000, "{}: {same} prompts", kind.name);
    }
}

#[test]
fn a_written_anchor_in_a_message_is_text() {
    // Token 1001 is AnLLM's anchor, which the template does not write and no file calls special.
    for tokenizer in [alone("merged"), load(TokenizerSource::Gguf(piece_keys("merged", "llama")))] {
        let insert = Some(Insert { id: 1001, place: Place::After });
        let spec = PolicySpec { anchors: Some(vec![1001]), insert, ..PolicySpec::new(Preset::Anchor) };
        let policy = spec.resolve(1024).unwrap();
        let turns = turns(TEMPLATES[0], "</s>");
        let count = |system: &str, user: &str| {
            let first = turns.first_ids(&tokenizer, Some(system), user, &policy).unwrap();
            let next = turns.next_ids(&tokenizer, Some(system), user, &policy).unwrap();
            [first, next].map(|ids| ids.iter().filter(|id| **id == 1001).count())
        };
        let plain = count("Be brief.", "One. Two.");
        assert_eq!(plain, [3, 2]);
        for (system, user) in [
            ("Be <AC> brief.", "One. Two."),
            ("Be brief.", "One<AC>. Two."),
            ("Be brief.", "\u{10fffd}One. \u{10fffd}Two."),
        ] {
            assert_eq!(count(system, user), plain, "{system:?} {user:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_mixture_of_control_tokens_and_text_becomes_one(picks in prop::collection::vec((0usize..40, 0usize..12, 0usize..12), 1..8), template in 0usize..12) {
        for kind in kinds_once() {
            let spelled = spellings(&kind.tokenizer);
            let mut content = String::new();
            for (token, from, len) in &picks {
                let token: Vec<char> = spelled[token % spelled.len()].chars().collect();
                let from = from % token.len();
                content.extend(token.iter().skip(from).take(len + 1));
            }
            let turns = turns(TEMPLATES[template], &kind.control);
            let plain = counts(kind, &turns, "xx", "xx");
            let found = counts(kind, &turns, &content, &content);
            prop_assert!(found.0 <= plain.0 && (found.1 == plain.1 || found.1 == 0), "{} {:?}", kind.name, content);
        }
    }
}

fn kinds_once() -> &'static Vec<Kind> {
    static KINDS: std::sync::LazyLock<Vec<Kind>> = std::sync::LazyLock::new(kinds);
    &KINDS
}
