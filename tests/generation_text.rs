//! The text side of generation: sentences, inserted anchors, and chats that are continued turn by turn.

use std::sync::LazyLock;

use killick::kv::{Insert, Place, Policy, PolicySpec, Preset};
use killick::model_file::TokenizerSource;
use killick::tokenizer::{
    ANCHOR_MARK, ChatTemplate, Message, StopStrings, Tokenizer, TokenizerError, Turns, mark_sentences,
    sentences,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn data(name: &str) -> Value {
    let path = format!("{}/tests/data/tokenizer/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A tokenizer of the tests with an added token `<AC>`, and that token's id.
fn with_anchor(name: &str, patch: Value) -> (Tokenizer, u32) {
    let mut json = data(name);
    json.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
    let vocab = json["model"]["vocab"].as_object().unwrap().values();
    let added = json["added_tokens"].as_array().unwrap().iter().map(|token| &token["id"]);
    let id = vocab.chain(added).map(|id| id.as_u64().unwrap() + 1).max().unwrap();
    let token = json!({ "id": id, "content": "<AC>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": false });
    json["added_tokens"].as_array_mut().unwrap().push(token);
    let source = TokenizerSource::HuggingFace {
        tokenizer_json: json.to_string().into_bytes(),
        tokenizer_config: None,
    };
    (Tokenizer::from_source(&source, name).unwrap(), u32::try_from(id).unwrap())
}

/// One tokenizer for each way in which a text may begin: with nothing, and with a space put there in three ways.
static TOKENIZERS: LazyLock<[(Tokenizer, u32); 4]> = LazyLock::new(|| {
    let byte_level =
        json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true });
    let metaspace =
        json!({ "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": false });
    [
        with_anchor("tiny.json", json!({})),
        with_anchor("tiny.json", json!({ "pre_tokenizer": byte_level })),
        with_anchor("spm.json", json!({})),
        with_anchor("spm.json", json!({ "normalizer": null, "pre_tokenizer": metaspace })),
    ]
});

fn streamed(tokenizer: &Tokenizer, ids: &[u32], hidden: &[u32]) -> String {
    let mut stream = tokenizer.decode_stream().hide(hidden);
    let text: String = ids.iter().map(|id| stream.push(*id)).collect();
    text + &stream.finish()
}

fn without(ids: &[u32], anchor: u32) -> Vec<u32> {
    ids.iter().copied().filter(|id| *id != anchor).collect()
}

/// Sentences, divided by `|`.
const SENTENCES: [&str; 72] = [
    // Plain text and the marks that end it.
    "",
    " ",
    "Hello",
    "One.| Two.| Three.",
    "One!| Two?| Three",
    "He left.|  She stayed. \n",
    "  He left.| She stayed.",
    "Really?!| Yes!!!| No?!?| Fine.",
    "what?| no way!| fine",
    // A lower-case letter, a number or a mark goes on with the sentence.
    "He came. and went.",
    "Version 2.| Then more.",
    "Pi is 3.14 and e is 2.718.| Good.",
    "It costs $1,000.50.| Cheap.",
    "Yahoo!Mail is here.| Yes.",
    // Ellipses.
    "Wait...| What?",
    "Wait... what?",
    "Wait…| What?",
    "Wait… what?",
    "\"Well...\"| He paused.",
    // Titles, abbreviations, initials.
    "Dr. Smith went.| He left.",
    "Mr. and Mrs. Jones met Prof. Lee.| They spoke.",
    "MR. JONES LEFT.| HE SMILED.",
    "Use tools, e.g. Rust, i.e. this.| Good.",
    "Apples, pears, etc. They are sweet.",
    "Left vs. Right.| Up.",
    "Martin Luther King Jr. Day is a holiday.| Yes.",
    "The U.S. Government spoke.| It did.",
    "J. K. Rowling wrote it.| Harry read it.",
    "George W. Bush won.| He did.",
    "She has a Ph.D. It took years.",
    "St. Paul's is old.| Visit.",
    "(Cf. Miller.)| Next.",
    "We met at 5 p.m. Monday.| Fine.",
    // Only before a number.
    "See No. 5.| Then go.",
    "No.| I will not.",
    "See p. 3 and pp. 4 and Fig. 2.| Done.",
    "On Jan. 5 it rained.| In Feb.| It snowed.",
    "Chanel No. 5 is a scent.| It lasts.",
    // Not abbreviations.
    "He is a mister.| She knows.",
    "It was etched.| Deeply.",
    "Look at the cat.| Cute.",
    // Quotes and brackets.
    "He said \"Go.\"| Then he left.",
    "\"Stop!\" he said.| \"Why?\"| She left.",
    "“Where?” she asked.| “Here.”",
    "He left (quietly.)| Then she came.",
    "He left (e.g. by car).| She stayed.",
    "[One.]| [Two.]",
    "«Oui.»| Il part.",
    "She asked, 'Why?'| He shrugged.",
    // Addresses and code.
    "See https://example.com/a?b=c&d=e.html for it.| Good.",
    "Visit www.Example.Com today.| Thanks.",
    "Mail a.b@example.org.| Thanks.",
    "Call obj.Method(x) or x?.y first.| Then go.",
    "Open README.md.| Read it.",
    // Lists and numbering.
    "1. First.| 2. Second.",
    "Buy:\n1. Milk\n2. Eggs",
    "It was 1999.| Then came 2000.",
    // Lines and paragraphs.
    "A line\nand its end.|\nNext",
    "A title|\n\nA paragraph.|\n\nAnother",
    "A title|\r\n\r\nA paragraph",
    "\n\nA title| \n \n\tText",
    "By Dr.|\n\nSmith",
    // Other scripts.
    "你好。|再见！|真的吗？|好",
    "他说：「走吧。」|然后走了。",
    "これは本です。|それは？|はい。",
    "यह घर है।| वह पेड़ है।",
    "Это дом.| А это кот.| Да!",
    "هل أنت هنا؟| نعم.",
    "Ποιος είναι;  Εγώ.| Ναι.",
    "ეს სახლია.| ის კატაა.",
    "Great!| 😀 Then more.",
    "a.b.c. d",
];

#[test]
fn sentences_end_where_a_reader_ends_them() {
    let mut wrong = Vec::new();
    for case in SENTENCES {
        let want: Vec<&str> = case.split('|').filter(|part| !part.is_empty()).collect();
        let text = case.replace('|', "");
        let got = sentences(&text);
        if got != want {
            wrong.push(got.join("|"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_text_takes_long_to_divide() {
    let bytes = 1 << 20;
    let runs = [
        "a. ", "A. ", "a.", " ", ". ", "?", "1. ", "\n", "a.\n\n", "。", "\u{301}", "\u{93f}", "\u{345}",
        "Mr. ",
    ];
    let rest = [")", " )", "\u{200b}", " \u{301}", "\u{102b}", "9", "9 ", "\u{345}\u{301}", "」", "…", "x"];
    let texts = runs.iter().chain(&rest).flat_map(|run| {
        let many = run.repeat(bytes / run.len());
        [many.clone(), format!("a.{many}"), format!("a. {many}b")]
    });
    for text in texts {
        let started = std::time::Instant::now();
        assert_eq!(sentences(&text).concat(), text);
        let head: String = text.chars().take(8).collect();
        assert!(started.elapsed().as_secs_f64() < 4.0, "{head:?} took {:?}", started.elapsed());
    }
}

#[test]
fn marks_stand_between_sentences_or_after_each() {
    let marked = |text: &str, place| mark_sentences(text, place).replace(ANCHOR_MARK, "|");
    assert_eq!(marked("Hi. You. \n", Place::Between), "Hi.| You. \n");
    assert_eq!(marked("Hi. You. \n", Place::After), "Hi.| You.| \n");
    assert_eq!(marked("Hi", Place::Between), "Hi");
    assert_eq!(marked("Hi", Place::After), "Hi|");
    assert_eq!(marked("", Place::After), "");
    assert_eq!(marked(" \n", Place::After), " \n");
    let forged = format!("a{ANCHOR_MARK}b. {ANCHOR_MARK}C{ANCHOR_MARK}");
    assert_eq!(marked(&forged, Place::Between), "ab.| C", "marks that come with the text are taken out");
}

#[test]
fn an_inserted_anchor_is_one_token_and_the_text_stays() {
    let text = "Hi there.  You! \n\nNew line? ⚓ yes\n";
    for (tokenizer, anchor) in &*TOKENIZERS {
        let anchor = *anchor;
        for (place, count) in [(Place::Between, 3), (Place::After, 4)] {
            let insert = Insert { id: anchor, place };
            let ids = tokenizer.encode_with_anchors(text, false, Some(&insert)).unwrap();
            assert_eq!(ids.iter().filter(|id| **id == anchor).count(), count, "{ids:?}");
            assert_eq!(
                tokenizer.decode(&without(&ids, anchor), false).unwrap(),
                tokenizer_text(tokenizer, text)
            );
        }
        let plain = tokenizer.encode(text, true).unwrap();
        assert_eq!(tokenizer.encode_with_anchors(text, true, None).unwrap(), plain);
        let between = Insert { id: anchor, place: Place::Between };
        assert_eq!(
            tokenizer.encode_with_anchors("Hi there", true, Some(&between)),
            tokenizer.encode("Hi there", true),
            "one sentence has nothing between"
        );
        let unknown = Insert { id: anchor + 1, ..between };
        let error = TokenizerError::UnknownId { id: anchor + 1, vocab_size: anchor + 1 };
        assert_eq!(tokenizer.encode_with_anchors(text, true, Some(&unknown)), Err(error));
    }
}

/// What a text is once it has been encoded and decoded: the same, or with the vocabulary's own space.
fn tokenizer_text(tokenizer: &Tokenizer, text: &str) -> String {
    tokenizer.decode(&tokenizer.encode(text, false).unwrap(), false).unwrap()
}

#[test]
fn special_tokens_stay_around_the_whole_text() {
    let (tokenizer, anchor) = with_anchor("tiny.json", json!({}));
    let insert = Insert { id: anchor, place: Place::After };
    let ids = tokenizer.encode_with_anchors("Hi. You.", true, Some(&insert)).unwrap();
    assert_eq!((ids[0], ids[ids.len() - 2], ids[ids.len() - 1]), (0, anchor, 1));
    assert_eq!(ids.iter().filter(|id| **id <= 1).count(), 2);
}

#[test]
fn a_space_of_the_vocabulary_is_not_doubled_after_an_anchor() {
    let (spm, anchor) = with_anchor("spm.json", json!({}));
    let text = format!("Hi.{ANCHOR_MARK} You.{ANCHOR_MARK}  Two spaces.{ANCHOR_MARK}\nLine");
    let ids = spm.encode_marked(&text, false, anchor).unwrap();
    let bytes: Vec<u8> = ids.iter().flat_map(|id| spm.token_bytes(*id).unwrap()).collect();
    let shown = String::from_utf8(bytes).unwrap();
    assert_eq!(shown, " Hi.<AC> You.<AC>  Two spaces.<AC>\nLine");
    // The control: encoded on its own each sentence gets a space more.
    let alone = spm.encode(" You.", false).unwrap();
    let bytes: Vec<u8> = alone.iter().flat_map(|id| spm.token_bytes(*id).unwrap()).collect();
    assert_eq!(bytes, b"  You.");
}

#[test]
fn a_stream_gives_the_same_text_wherever_an_anchor_is_hidden() {
    let text = "Hi ⚓⚓. é You";
    for (tokenizer, anchor) in &*TOKENIZERS {
        let anchor = *anchor;
        let ids = tokenizer.encode(text, false).unwrap();
        let want = streamed(tokenizer, &ids, &[]);
        for at in 0..=ids.len() {
            let mut with = ids.clone();
            with.splice(at..at, [anchor, anchor]);
            assert_eq!(streamed(tokenizer, &with, &[anchor, 1]), want, "anchors at {at}");
            assert_ne!(
                streamed(tokenizer, &with, &[anchor + 1]),
                want,
                "an anchor that is not hidden is shown"
            );
        }
    }
}

#[test]
fn in_a_chat_only_the_contents_of_messages_get_anchors() {
    let (tokenizer, anchor) = with_anchor("tiny.json", json!({}));
    let template = ChatTemplate::new(CHATML).unwrap();
    let render = |system: &str, user: &str| {
        let messages = [Message::new("system", system), Message::new("user", user)];
        template.render(&messages, true, None, None).unwrap()
    };
    let (system, user) = ("Be brief. Be kind.", "What is 2. 5? Say it.\n");
    let mark = |text| mark_sentences(text, Place::After);
    let ids = tokenizer.encode_marked(&render(&mark(system), &mark(user)), false, anchor).unwrap();
    let shown = tokenizer.decode(&ids, false).unwrap();
    assert_eq!(
        shown,
        "<|im_start|>system\nBe brief.<AC> Be kind.<AC><|im_end|>\n<|im_start|>user\n\
         What is 2.<AC> 5?<AC> Say it.<AC>\n<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(tokenizer.decode(&without(&ids, anchor), false).unwrap(), render(system, user));
    assert_eq!(ids.iter().filter(|id| [2, 3].contains(*id)).count(), 5, "the template's tokens are tokens");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn sentences_lose_nothing_of_any_text(text in "(\\PC|[A-Da-d.?!)\"' \n1。\u{345}\u{301}]|Mr\\. |\r\n){0,40}") {
        let found = sentences(&text);
        prop_assert_eq!(found.concat(), text.clone());
        prop_assert!(found.iter().all(|sentence| !sentence.is_empty()));
        let inner = found.len().saturating_sub(1);
        prop_assert!(found[..inner].iter().all(|sentence| !sentence.ends_with(char::is_whitespace)));
        // White space alone is no sentence, unless the text is nothing else.
        prop_assert!(found.iter().filter(|s| s.trim().is_empty()).count() <= usize::from(text.trim().is_empty()));
    }

    #[test]
    fn inserted_anchors_change_no_text(text in "([A-Da-d.?!)\"' \n1é⚓]|Mr\\. |\\. [A-D]){0,30}", after in any::<bool>()) {
        let place = if after { Place::After } else { Place::Between };
        let marks = mark_sentences(&text, place).matches(ANCHOR_MARK).count();
        for (tokenizer, anchor) in &*TOKENIZERS {
            let anchor = *anchor;
            let ids = tokenizer.encode_with_anchors(&text, false, Some(&Insert { id: anchor, place })).unwrap();
            prop_assert_eq!(ids.iter().filter(|id| **id == anchor).count(), marks);
            let rest = without(&ids, anchor);
            prop_assert_eq!(tokenizer.decode(&rest, false).unwrap(), tokenizer_text(tokenizer, &text));
            prop_assert_eq!(streamed(tokenizer, &ids, &[anchor]), streamed(tokenizer, &rest, &[]));
        }
    }
}

const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
const LLAMA3: &str = "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";
const MISTRAL: &str = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\n\n' %}{% set messages = messages[1:] %}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + (system if loop.first and system is defined else '') + message['content'] + ' [/INST]' }}{% else %}{{ ' ' + message['content'] | trim + eos_token }}{% endif %}{% endfor %}";
const ZEPHYR: &str = "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n' + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}";
/// The name of the token that begins a text, and of the one that ends a turn.
const NAMES: [&str; 2] = ["<s>", "</s>"];

fn turns(source: &str) -> Turns {
    let [bos, eos] = NAMES.map(|name| Some(name.to_owned()));
    Turns::new(ChatTemplate::new(source).unwrap(), bos, eos)
}

#[test]
fn a_chat_turn_by_turn_is_the_chat_as_a_whole() {
    let golden = data("smollm2.json");
    assert_eq!(golden["chat_template"], CHATML, "the template is SmolLM2's");
    let users = ["Hello", "2 + 2?", "Why \"4\"?\nSay.", "\u{10FFFC}\u{10FFFC}", "Bye"];
    // A Mistral model writes the space before its answer itself.
    for (source, lead) in [(CHATML, ""), (LLAMA3, ""), (MISTRAL, " "), (ZEPHYR, "")] {
        let (turns, template) = (turns(source), ChatTemplate::new(source).unwrap());
        for system in [None, Some("Be brief.")] {
            let mut messages: Vec<Message> =
                system.map(|text| Message::new("system", text)).into_iter().collect();
            let mut session = String::new();
            for (i, user) in users.into_iter().enumerate() {
                messages.push(Message::new("user", user));
                session +=
                    &if i == 0 { turns.first(system, user) } else { turns.next(system, user) }.unwrap();
                let whole = template.render(&messages, true, Some(NAMES[0]), Some(NAMES[1])).unwrap();
                assert_eq!(session, whole, "turn {i} of {source}");
                let answer = format!("Answer {i}.");
                session += &format!("{lead}{answer}");
                messages.push(Message::new("assistant", answer));
            }
        }
    }
}

#[test]
fn the_next_turn_depends_on_nothing_but_the_question() {
    let next = turns(CHATML).next(None, "And?").unwrap();
    assert_eq!(next, "<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n");
    assert_eq!(turns(CHATML).next(Some("Be brief."), "And?").unwrap(), next);
    // What a template trims is trimmed in the question too.
    let trimmed = turns(LLAMA3).next(None, " And?\n").unwrap();
    assert_eq!(trimmed, turns(LLAMA3).next(None, "And?").unwrap());
    assert!(trimmed.starts_with("<|eot_id|>") && trimmed.contains("\n\nAnd?<|eot_id|>"));
}

/// The system part of a prompt, in tokens: all that is the same for every user, marks included.
#[test]
fn the_system_part_ends_where_the_user_begins() {
    let (tokenizer, anchor) = &TOKENIZERS[0];
    let full = PolicySpec::new(Preset::Full).resolve(1024).unwrap();
    for (source, system, want) in [
        (CHATML, Some("Be brief."), "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"),
        (LLAMA3, None, "<s><|start_header_id|>user<|end_header_id|>\n\n"),
        (MISTRAL, Some("Be brief."), "<s>[INST] Be brief.\n\n"),
    ] {
        let count = turns(source).system_tokens(tokenizer, system, &full).unwrap() as usize;
        let ids = turns(source).first_ids(tokenizer, system, "Hello", &full).unwrap();
        assert_eq!(tokenizer.decode(&ids[..count], false).unwrap(), want);
    }
    let insert = Some(Insert { id: *anchor, place: Place::After });
    let spec = PolicySpec { anchors: Some(vec![*anchor]), insert, ..PolicySpec::new(Preset::Anchor) };
    let inserting = spec.resolve(1024).unwrap();
    let count =
        |policy: &Policy| turns(CHATML).system_tokens(tokenizer, Some("Be brief. Be kind."), policy).unwrap();
    let (plain, marked) = (count(&full), count(&inserting));
    assert_eq!(marked, plain + 2, "an anchor after each sentence is part of it");
    // And so is one in a segment that would grow too long.
    let short = Policy { max_segment: 5, ..inserting };
    assert!(count(&short) > marked, "{} and {marked}", count(&short));
}

/// What goes on after another text gets no space of the vocabulary's own, so a chat turn by turn has the ids of the whole.
#[test]
fn a_continuation_adds_nothing_between_the_texts() {
    for (tokenizer, anchor) in TOKENIZERS.iter() {
        let anchor = *anchor;
        let bytes = |ids: &[u32]| -> Vec<u8> {
            ids.iter()
                .filter(|id| **id != anchor)
                .flat_map(|id| tokenizer.token_bytes(*id).unwrap())
                .collect()
        };
        for (before, after) in
            [("I am.", " You are."), ("I am", "</s> You"), ("no", "body"), ("a", ""), ("", " b")]
        {
            let first = tokenizer.encode(before, false).unwrap();
            let next = tokenizer.encode_continuation(after, None).unwrap();
            // A space after a special token inside the text is the tokenizer's own, and the same in the whole.
            let whole = tokenizer.encode(&format!("{before}{after}"), false).unwrap();
            let joined = [bytes(&first), bytes(&next)].concat();
            assert_eq!(joined.trim_ascii_start(), bytes(&whole).trim_ascii_start(), "{before:?} {after:?}");
        }
        let marked = mark_sentences(" One. Two.", Place::Between);
        let ids = tokenizer.encode_continuation(&marked, Some(anchor)).unwrap();
        assert_eq!(ids.iter().filter(|id| **id == anchor).count(), 1);
        assert_eq!(bytes(&ids), b" One. Two.");
    }
}

#[test]
fn a_template_that_cannot_be_continued_is_refused() {
    let all = "{% for m in messages %}{{ m.role }}:{{ m.content }}|{% endfor %}";
    assert_eq!(turns(all).next(None, "b").unwrap(), "|user:b|");
    let cases = [
        ("{{ messages[-1].content }}", "exactly once"),
        ("{% for m in messages %}{{ m.content }}{{ m.content }}|{% endfor %}", "exactly once"),
        (
            "{% for m in messages %}{{ loop.index }}:{{ m.content }}|{% endfor %}",
            "depends on the turns before",
        ),
        (
            "{% for m in messages %}{{ m.content }}|{% endfor %}{{ messages | length }}",
            "depends on the turns before",
        ),
    ];
    for (source, reason) in cases {
        let error = turns(source).next(Some("s"), "b").unwrap_err();
        assert!(matches!(error, TokenizerError::TemplateTurns { .. }), "{error:?}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}{{ messages }}";
    let error = turns(strict).next(Some("s"), "b").unwrap_err();
    assert!(matches!(error, TokenizerError::TemplateRefused { .. }), "{error:?}");
}

#[test]
fn a_stop_that_spells_a_special_token_is_that_token() {
    for (tokenizer, _) in &*TOKENIZERS {
        let special = tokenizer.special_ids().first().copied().unwrap();
        let spelling = String::from_utf8(tokenizer.token_bytes(special).unwrap()).unwrap();
        let ids = |stops: &[&str]| {
            let stops = StopStrings::new(stops.iter().map(|stop| (*stop).to_owned()).collect()).unwrap();
            stops.special_ids(tokenizer).collect::<Vec<_>>()
        };
        assert_eq!(ids(&[".", &spelling]), [special]);
        // A part of it, or more than it, is text.
        assert!(ids(&[&spelling[1..], &format!("{spelling}."), "a"]).is_empty());
    }
}
