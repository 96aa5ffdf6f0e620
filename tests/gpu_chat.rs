//! Conversations and streamed text on a tiny random model with a real tokenizer and a chat template.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

#[path = "support/gpu.rs"]
mod device;
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use device::{gpu, share};
use killick::chat::Chat;
use killick::kernels::WeightFormat;
use killick::kv::{Insert, Place, PolicySpec, Preset};
use killick::model::Model;
use killick::model_file::{FileSet, ModelFile, WeightName};
use killick::session::{Session, SessionOptions};
use killick::tokenizer::{ChatTemplate, Message, StopStrings, Turns};
use killick::{
    Batch, BatchEvent, GenerateOptions, Piece, Pool, SamplerOptions, Steps, StopReason, TextId, Tokenizer,
};
use pollster::block_on;
use support::skip;
use support::tiny_model::TinyModel;

const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
/// Ends a turn.
const IM_END: u32 = 3;
/// An added token that can stand for `<AC>`.
const AC: u32 = 510;

struct Opened {
    model: Arc<Model>,
    tokenizer: Tokenizer,
}

fn open() -> Opened {
    let files = TinyModel::speaking().folder(IM_END, CHATML);
    let file = block_on(ModelFile::open(FileSet::from_bytes(files))).unwrap();
    let model = block_on(Model::load(gpu(), &file, WeightFormat::F32, &mut |_, _| {})).unwrap();
    Opened { model: Arc::new(model), tokenizer: Tokenizer::from_source(file.tokenizer(), "tiny").unwrap() }
}

impl Opened {
    fn session(&self, spec: &PolicySpec) -> Session {
        let policy = spec.resolve(self.model.config()).unwrap();
        block_on(Session::new(&self.model, &policy, SessionOptions::default())).unwrap()
    }

    fn turns(&self) -> Turns {
        Turns::new(ChatTemplate::new(CHATML).unwrap(), None, None)
    }

    fn chat(&self, spec: &PolicySpec, system: Option<&str>) -> Chat {
        let system = system.map(str::to_owned);
        Chat::new(self.session(spec), self.tokenizer.clone(), self.turns(), system).unwrap()
    }

    fn stops(&self) -> Vec<u32> {
        self.tokenizer.ids_of_bytes(b".")
    }

    fn specs(&self) -> [PolicySpec; 4] {
        let anchors = Some(self.stops());
        [
            PolicySpec::new(Preset::Full),
            PolicySpec { anchors: anchors.clone(), max_segment: Some(30), ..PolicySpec::new(Preset::Anchor) },
            PolicySpec { anchors, window: Some(20), ..PolicySpec::new(Preset::SepLlm) },
            PolicySpec {
                anchors: Some(vec![AC]),
                insert: Some(Insert { id: AC, place: Place::Between }),
                max_segment: Some(40),
                ..PolicySpec::new(Preset::Anchor)
            },
        ]
    }
}

fn none() -> StopStrings {
    StopStrings::new(Vec::new()).unwrap()
}

fn options(max_tokens: u32) -> GenerateOptions {
    GenerateOptions { max_tokens, ..GenerateOptions::default() }
}

/// Every third answer ends by itself at once; the others are cut. None holds a special token, which would not be shown.
fn turn_options(tokenizer: &Tokenizer, turn: usize) -> GenerateOptions {
    let logit_bias = if turn % 3 == 2 { vec![(IM_END, 100.0)] } else { vec![(IM_END, -100.0)] };
    let banned = tokenizer.special_ids().iter().copied().filter(|id| *id != IM_END).collect();
    GenerateOptions {
        sampler: SamplerOptions { logit_bias, banned, ..SamplerOptions::default() },
        ..options(8)
    }
}

fn question(turn: usize) -> String {
    format!("Turn {turn}. Dr. Who has {}.5 apples. And you?", turn * 3)
}

/// Asks and returns the answer: its ids and its text.
fn ask(chat: &mut Chat, user: &str, options: GenerateOptions) -> (Vec<u32>, String) {
    let mut generation = block_on(chat.say(user, options, none())).unwrap();
    let (mut ids, mut text) = (Vec::new(), String::new());
    for piece in generation.by_ref() {
        let piece = piece.unwrap();
        ids.extend(piece.token.map(|token| token.id));
        text.push_str(&piece.text);
    }
    (ids, text)
}

fn whole_text(session: &Session) -> Vec<u32> {
    session.tokens(0..session.length()).collect()
}

#[test]
fn ten_turns_equal_one_prompt_with_the_same_text_and_nothing_is_read_twice() {
    let opened = open();
    let systems = [None, Some("Be brief. Be kind.")];
    for (spec, system) in opened.specs().into_iter().rev().take(share(4, 2)).zip(systems.into_iter().cycle())
    {
        let mut afresh = opened.session(&spec);
        let mut chat = opened.chat(&spec, system);
        let template = ChatTemplate::new(CHATML).unwrap();
        let mut messages: Vec<Message> =
            system.map(|text| Message::new("system", text)).into_iter().collect();
        for turn in 0..10 {
            let (ids, text) = ask(&mut chat, &question(turn), turn_options(&opened.tokenizer, turn));
            let everything = whole_text(chat.session());
            let prompt = &everything[..everything.len() - ids.len()];
            afresh.reset().unwrap();
            block_on(afresh.append(prompt)).unwrap();
            let again = afresh
                .generate(turn_options(&opened.tokenizer, turn))
                .unwrap()
                .map(|token| token.unwrap().id);
            assert_eq!(again.collect::<Vec<_>>(), ids, "{} turn {turn}", spec.preset);

            // What the session holds is what the template writes for the whole conversation.
            messages.push(Message::new("user", question(turn)));
            let rendered = template.render(&messages, true, None, None).unwrap();
            let shown: Vec<u32> = prompt.iter().copied().filter(|id| *id != AC).collect();
            assert_eq!(opened.tokenizer.decode(&shown, false).unwrap(), rendered);
            messages.push(Message::new("assistant", text));

            // Every token of the text was consumed once, but the last, which is pending.
            assert_eq!(chat.session().kv().seen as usize, everything.len() - 1);
        }
        let kv = chat.session().kv();
        let inserted = whole_text(chat.session()).iter().filter(|id| **id == AC).count();
        match spec.insert {
            // Three sentences a question, so two anchors between them, and one in the system prompt. More stand where a segment
            // was full, so every anchor is one that was inserted; the last may be pending.
            Some(_) => {
                assert!(inserted >= 20 + usize::from(system.is_some()), "{inserted}");
                assert!((inserted - 1..=inserted).contains(&(kv.anchors as usize)), "{inserted} {kv:?}");
            }
            None => {
                let written = kv.anchors - kv.forced_anchors;
                assert!(inserted == 0 && (spec.preset == Preset::Full || written >= 20), "{kv:?}");
            }
        }
    }
}

#[test]
fn a_turn_can_be_taken_back_once_and_a_conversation_forgotten() {
    let opened = open();
    for spec in opened.specs().into_iter().rev().take(share(4, 2)) {
        let mut chat = opened.chat(&spec, None);
        assert!(!chat.undo().unwrap(), "nothing was said");
        ask(&mut chat, "One. Two.", options(5));
        let before = (whole_text(chat.session()), chat.session().kv(), chat.remembered());
        let answer = ask(&mut chat, "Three. Four.", options(9));
        assert!(chat.undo().unwrap());
        assert_eq!((whole_text(chat.session()), chat.session().kv(), chat.remembered()), before);
        assert!(!chat.undo().unwrap(), "only the last turn");
        assert_eq!(ask(&mut chat, "Three. Four.", options(9)), answer, "{}", spec.preset);
        assert_eq!(chat.asked(), 2);

        chat.reset().unwrap();
        assert_eq!((chat.asked(), chat.session().kv().seen), (0, 0));
        let afresh = ask(&mut opened.chat(&spec, None), "Five.", options(6));
        assert_eq!(ask(&mut chat, "Five.", options(6)), afresh, "{}", spec.preset);
    }
}

#[test]
fn anchors_are_remembered_with_their_sentences() {
    let opened = open();
    let mut chat = opened.chat(&opened.specs()[1], None);
    ask(&mut chat, "Ada has a boat. Bob has a kite. And", options(1));
    let texts: Vec<String> = chat.remembered().into_iter().map(|known| known.text).collect();
    assert!(texts[0].ends_with("Ada has a boat.") && texts[1] == " Bob has a kite.", "{texts:?}");
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_lost() {
    let opened = open();
    let spec = PolicySpec { ctx: Some(120), ..PolicySpec::new(Preset::Full) };
    let mut chat = opened.chat(&spec, None);
    ask(&mut chat, "Short.", options(4));
    let before = whole_text(chat.session());
    let error = block_on(chat.say(&"Long. ".repeat(50), options(4), none())).unwrap_err().to_string();
    assert!(error.contains("limit of 120"), "{error}");
    assert_eq!(whole_text(chat.session()), before);
    assert_eq!(ask(&mut chat, "Short again.", options(4)).0.len(), 4);
}

#[test]
fn a_stop_string_in_a_batch_leaves_no_trace_of_what_followed() {
    let opened = open();
    let free = |sampler: &SamplerOptions| GenerateOptions {
        max_tokens: 60,
        ignore_eos: true,
        sampler: sampler.clone(),
        ..GenerateOptions::default()
    };
    // A random model repeats itself when greedy; drawn text has something to look for.
    let sampler = SamplerOptions { temperature: 1.0, seed: 3, ..SamplerOptions::default() };
    for spec in opened.specs().into_iter().rev().take(share(4, 2)) {
        let prompt = opened.tokenizer.encode("The boat is red. The kite", true).unwrap();
        let start = || {
            let mut session = opened.session(&spec);
            block_on(session.append(&prompt)).unwrap();
            session
        };
        let mut session = start();
        let whole: String = session
            .generate_text(&opened.tokenizer, free(&sampler), none())
            .unwrap()
            .map(|piece| piece.unwrap().text)
            .collect();
        // Three characters from the middle: they seldom are one token.
        let at = whole.char_indices().map(|(at, _)| at).nth(whole.chars().count() / 2).unwrap();
        let stop: String = whole[at..].chars().take(3).collect();
        let first = whole.find(&stop).unwrap();
        let run = |steps| {
            let mut session = start();
            let options = GenerateOptions { steps, ..free(&sampler) };
            let stops = StopStrings::new(vec![stop.clone()]).unwrap();
            let mut generation = session.generate_text(&opened.tokenizer, options.clone(), stops).unwrap();
            let mut text: String = generation.by_ref().map(|piece| piece.unwrap().text).collect();
            assert_eq!(generation.stop_reason(), Some(StopReason::Stop), "{:?}", spec.preset);
            assert_eq!(text, whole[..first], "{} with {steps:?}", spec.preset);
            drop(generation);
            text.push('|');
            let more = session.generate_text(&opened.tokenizer, options, none()).unwrap();
            text.extend(more.map(|piece| piece.unwrap().text));
            (text, session.kv(), whole_text(&session))
        };
        let want = run(Steps::Fixed(1));
        for steps in [Steps::Fixed(16), Steps::Auto] {
            assert_eq!(run(steps), want, "{} with {steps:?}", spec.preset);
        }
    }
}

/// A `tokenizer.model` alone does not say which of its pieces are special.
#[test]
fn a_token_that_ends_the_text_is_not_shown_though_the_tokenizer_takes_it_for_a_word() {
    let ends_at = |eos: u32| {
        let files = TinyModel::speaking().folder(eos, CHATML);
        let file = block_on(ModelFile::open(FileSet::from_bytes(files))).unwrap();
        let model = block_on(Model::load(gpu(), &file, WeightFormat::F32, &mut |_, _| {})).unwrap();
        let tokenizer = Tokenizer::from_source(file.tokenizer(), "tiny").unwrap();
        let opened = Opened { model: Arc::new(model), tokenizer };
        let mut session = opened.session(&PolicySpec::new(Preset::Full));
        block_on(session.append(&opened.tokenizer.encode("The boat is red.", true).unwrap())).unwrap();
        let generation = session.generate_text(&opened.tokenizer, options(8), none()).unwrap();
        let pieces: Vec<_> = generation.map(|piece| piece.unwrap()).collect();
        let ids: Vec<u32> =
            pieces.iter().filter_map(|piece| piece.token.as_ref()).map(|token| token.id).collect();
        let text: String = pieces.into_iter().map(|piece| piece.text).collect();
        (ids, text, opened.tokenizer)
    };
    let (ids, text, tokenizer) = ends_at(IM_END);
    let word = tokenizer.decode(&ids[..1], true).unwrap();
    assert!(!word.is_empty() && text.starts_with(&word), "{word:?} is a word, in {text:?}");
    let (ended, text, _) = ends_at(ids[0]);
    assert_eq!((ended, text), (vec![ids[0]], String::new()));
}

/// A model that breaks when it reads token 7, and only then: embedding and head are two matrices.
fn breaks_at_token_7() -> Arc<Model> {
    let mut tiny =
        TinyModel { hidden: 32, heads: 4, kv_heads: 2, head_dim: 8, tied: false, ..TinyModel::new() };
    tiny.randomize(5);
    let (_, cols, values) = tiny.weights.get_mut(&WeightName::TokenEmbedding).unwrap();
    let cols = *cols as usize;
    values[7 * cols..8 * cols].fill(f32::NAN);
    let file = block_on(ModelFile::open(FileSet::from_bytes(tiny.files()))).unwrap();
    Arc::new(block_on(Model::load(gpu(), &file, WeightFormat::F32, &mut |_, _| {})).unwrap())
}

/// A model that breaks when it reads one certain token: what was drawn before comes out, then the error, then nothing.
#[test]
fn logits_that_are_not_finite_end_the_text_after_the_tokens_before_them() {
    let model = breaks_at_token_7();
    let policy = PolicySpec::new(Preset::Full).resolve(64).unwrap();
    // Token 7 is drawn once nothing else is left: each token drawn is penalized beyond all others.
    let sampler = SamplerOptions {
        presence_penalty: 1000.0,
        logit_bias: vec![(7, -500.0)],
        banned: vec![2], // the end of a text, which no penalty touches
        ..SamplerOptions::default()
    };
    let run = |steps| {
        let mut session = block_on(Session::new(&model, &policy, SessionOptions::default())).unwrap();
        block_on(session.append(&[3])).unwrap();
        let options = GenerateOptions {
            sampler: sampler.clone(),
            ignore_eos: true,
            steps,
            max_tokens: 40,
            ..GenerateOptions::default()
        };
        let mut generation = session.generate(options).unwrap();
        let mut ids = Vec::new();
        let error = loop {
            match generation.next().expect("an error before the end") {
                Ok(token) => ids.push(token.id),
                Err(error) => break error.to_string(),
            }
        };
        assert!(generation.next().is_none(), "nothing follows an error");
        (ids, error)
    };
    let (ids, error) = run(Steps::OnHost);
    assert_eq!((ids.len(), ids.last()), (10, Some(&7)), "all other tokens, then token 7");
    assert!(
        error.contains("position 10 are not finite") && !error.contains("f32"),
        "no advice already followed: {error}"
    );
    for steps in [Steps::Fixed(1), Steps::Fixed(16)] {
        assert_eq!(run(steps), (ids.clone(), error.clone()), "{steps:?}");
    }
}

/// In a batch the error is that of the one text that broke, at its first token or later; the others are as they would be alone.
#[test]
fn what_is_wrong_with_one_text_of_a_batch_does_not_touch_the_others() {
    let model = breaks_at_token_7();
    let policy = PolicySpec::new(Preset::Full).resolve(64).unwrap();
    let pool = block_on(Pool::new(&model, &policy, SessionOptions::default(), 4)).unwrap();
    let begin = |id: u32| {
        let mut session = block_on(pool.session()).unwrap();
        block_on(session.append(&[3, id])).unwrap();
        session
    };
    let leaning = |nats: f32| {
        let sampler = SamplerOptions { logit_bias: vec![(7, nats)], ..SamplerOptions::default() };
        GenerateOptions { max_tokens: 20, ignore_eos: true, sampler, ..GenerateOptions::default() }
    };
    let alone = |id| begin(id).generate(leaning(-1e6)).unwrap().map(|token| token.unwrap().id).collect();
    let want: [Vec<u32>; 2] = [alone(4), alone(9)];
    let mut batch = Batch::new(&pool, Steps::Fixed(4)).unwrap();
    let mut add = |id, nats| batch.add(begin(id), leaning(nats)).unwrap();
    let (sound, broken) = ([add(4, -1e6), add(9, -1e6)], [add(7, -1e6), add(5, 1e6)]);
    let (mut tokens, mut errors) = (BTreeMap::<_, Vec<u32>>::new(), BTreeMap::new());
    while let Some(event) = block_on(batch.next_event()).unwrap() {
        match event {
            BatchEvent::Piece { id, piece } => {
                tokens.entry(id).or_default().extend(piece.token.map(|token| token.id));
            }
            BatchEvent::Ended { id, end, .. } => {
                _ = errors.insert(id, end.map_err(|error| error.to_string()));
            }
        }
    }
    for (id, pos, drawn) in [(broken[0], 1, None), (broken[1], 2, Some(&vec![7]))] {
        let error = errors[&id].as_ref().unwrap_err();
        assert!(error.contains(&format!("position {pos} are not finite")), "text {id}: {error}");
        assert_eq!(tokens.get(&id), drawn, "text {id}");
    }
    for (id, want) in sound.iter().zip(want) {
        assert_eq!((tokens[id].clone(), errors[id].clone()), (want, Ok(StopReason::MaxTokens)), "text {id}");
    }
}

/// Each text of a batch has stop strings of its own; its pieces are those of the text alone.
#[test]
fn the_texts_of_a_batch_are_streamed_as_they_are_alone() {
    let Opened { model, tokenizer } = open();
    let policy = PolicySpec { max_segment: Some(20), ..PolicySpec::new(Preset::Anchor) };
    let policy = PolicySpec { anchors: Some(vec![7, 30]), ..policy }.resolve(256).unwrap();
    let pool = block_on(Pool::new(&model, &policy, SessionOptions::default(), 4)).unwrap();
    let begin = |i: u32| {
        let mut session = block_on(pool.session()).unwrap();
        block_on(session.append(&[40 + i, 5, 100 + 3 * i])).unwrap();
        session
    };
    let options = |i: u32| {
        let sampler = SamplerOptions { temperature: 1.0, seed: i.into(), ..SamplerOptions::default() };
        GenerateOptions { max_tokens: 40, ignore_eos: true, sampler, ..GenerateOptions::default() }
    };
    let alone = |i, max_tokens, stops: Vec<String>| {
        let mut session = begin(i);
        let stops = StopStrings::new(stops).unwrap();
        let options = GenerateOptions { max_tokens, ..options(i) };
        let mut pieces = session.generate_text(&tokenizer, options, stops).unwrap();
        let told: Vec<Piece> = pieces.by_ref().map(Result::unwrap).collect();
        (told, pieces.stop_reason())
    };
    // Every other text is stopped by a string from its own middle.
    let stops: Vec<Vec<String>> = (0..4)
        .map(|i| {
            let whole: String = alone(i, 40, Vec::new()).0.into_iter().map(|piece| piece.text).collect();
            let middle: String = whole.chars().skip(whole.chars().count() / 3).take(4).collect();
            if i % 2 == 0 { vec![middle] } else { Vec::new() }
        })
        .collect();
    // One comes to its stop with the last token that it may have.
    let last = alone(2, 40, stops[2].clone()).0.len() as u32;
    let most = |i: u32| if i == 2 { last } else { 40 };
    let want: Vec<_> = (0..4).zip(&stops).map(|(i, stops)| alone(i, most(i), stops.clone())).collect();
    let mut batch = Batch::new(&pool, Steps::Fixed(5)).unwrap();
    let mut got: BTreeMap<TextId, (Vec<Piece>, Option<StopReason>)> = BTreeMap::new();
    for (i, stops) in (0..4).zip(stops) {
        let stops = StopStrings::new(stops).unwrap();
        let options = GenerateOptions { max_tokens: most(i), ..options(i) };
        got.insert(batch.add_text(begin(i), &tokenizer, options, stops).unwrap(), (Vec::new(), None));
    }
    while let Some(event) = block_on(batch.next_event()).unwrap() {
        match event {
            BatchEvent::Piece { id, piece } => got.get_mut(&id).unwrap().0.push(piece),
            BatchEvent::Ended { id, end, .. } => got.get_mut(&id).unwrap().1 = Some(end.unwrap()),
        }
    }
    assert_eq!(got.into_values().collect::<Vec<_>>(), want);
    let reasons: Vec<_> = want.iter().map(|(_, reason)| *reason).collect();
    let [stop, budget] = [Some(StopReason::Stop), Some(StopReason::MaxTokens)];
    assert_eq!(reasons, [stop, budget, stop, budget]);
}

/// What can be taken back is there before anything changes, whatever becomes of the question.
#[test]
fn a_question_that_is_refused_changes_nothing() {
    let opened = open();
    let mut chat = opened.chat(&opened.specs()[0], None);
    ask(&mut chat, "One.", options(4));
    let before = (whole_text(chat.session()), chat.asked());
    let wrong = GenerateOptions {
        sampler: SamplerOptions { top_p: 2.0, ..SamplerOptions::default() },
        ..GenerateOptions::default()
    };
    assert!(block_on(chat.say("Two.", wrong, none())).unwrap_err().to_string().contains("top_p is 2"));
    assert_eq!((whole_text(chat.session()), chat.asked()), before);
    // An answer that nobody listens to was still asked for, and can be taken back.
    drop(block_on(chat.say("Three.", options(4), none())).unwrap());
    assert_eq!(chat.asked(), 2);
    assert!(chat.undo().unwrap());
    assert_eq!((whole_text(chat.session()), chat.asked()), before);
}
