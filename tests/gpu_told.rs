//! Conversations under chat templates that write earlier turns anew: the prompt of each turn is what the template renders for the whole
//! conversation, and what of it is still there is not read again.

#[path = "support/gpu.rs"]
mod device;
mod support;

use std::sync::Arc;

use device::gpu;
use killick::chat::Chat;
use killick::kernels::WeightFormat;
use killick::kv::{PolicySpec, Preset};
use killick::model::Model;
use killick::model_file::{FileSet, ModelFile};
use killick::session::{Session, SessionOptions};
use killick::tokenizer::{ChatTemplate, Message, StopStrings, Turns};
use killick::{GenerateOptions, SamplerOptions, Tokenizer};
use pollster::block_on;
use support::skip;
use support::tiny_model::TinyModel;

/// Leaves what was thought out of answers that are past.
const THINKS: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1].lstrip('\\n') if m.role == 'assistant' else m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
/// Opens the answer with an empty thought, which it leaves out later.
const THINKS_NOT: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}";
/// Puts the system prompt before the last question only.
const MOVES: &str = "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set messages = messages[1:] %}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{% if system is defined and loop.last and m.role == 'user' %}{{ system }}\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
/// Ends a turn.
const IM_END: u32 = 3;

struct Opened {
    model: Arc<Model>,
    tokenizer: Tokenizer,
    template: &'static str,
}

impl Opened {
    fn new(template: &'static str) -> Self {
        let files = TinyModel::speaking().folder(IM_END, template);
        let file = block_on(ModelFile::open(FileSet::from_bytes(files))).unwrap();
        let model = block_on(Model::load(gpu(), &file, WeightFormat::F32, &mut |_, _| {})).unwrap();
        let tokenizer = Tokenizer::from_source(file.tokenizer(), "tiny").unwrap();
        Self { model: Arc::new(model), tokenizer, template }
    }

    fn session(&self) -> Session {
        let anchors = Some(self.tokenizer.ids_of_bytes(b"."));
        let spec = PolicySpec { anchors, max_segment: Some(30), ..PolicySpec::new(Preset::Anchor) };
        let policy = spec.resolve(self.model.config()).unwrap();
        block_on(Session::new(&self.model, &policy, SessionOptions::default())).unwrap()
    }

    fn chat(&self, system: Option<&str>) -> Chat {
        let turns = Turns::new(ChatTemplate::new(self.template).unwrap(), None, None);
        Chat::new(self.session(), self.tokenizer.clone(), turns, system.map(str::to_owned)).unwrap()
    }

    /// The ids of what the template renders.
    fn rendered(&self, messages: &[Message]) -> Vec<u32> {
        let text = ChatTemplate::new(self.template).unwrap().render(messages, true, None, None).unwrap();
        self.tokenizer.encode(&text, false).unwrap()
    }

    /// Answers of eight tokens, none of them special.
    fn options(&self) -> GenerateOptions {
        let sampler =
            SamplerOptions { banned: self.tokenizer.special_ids().to_vec(), ..SamplerOptions::default() };
        GenerateOptions { max_tokens: 8, sampler, ..GenerateOptions::default() }
    }

    /// What a session answers that reads this prompt and nothing else.
    fn afresh(&self, prompt: &[u32]) -> Vec<u32> {
        let mut session = self.session();
        block_on(session.append(prompt)).unwrap();
        session.generate(self.options()).unwrap().map(|token| token.unwrap().id).collect()
    }
}

/// Asks, and returns the tokens that were read for it, and the answer.
fn ask(chat: &mut Chat, opened: &Opened, user: &str) -> (usize, Vec<u32>, String) {
    let read = block_on(chat.begin_turn(user)).unwrap();
    block_on(chat.append(&read)).unwrap();
    let mut answer = chat.answer(opened.options(), StopStrings::new(Vec::new()).unwrap()).unwrap();
    let (mut ids, mut text) = (Vec::new(), String::new());
    while let Some(piece) = block_on(chat.next_piece(&mut answer)).unwrap() {
        ids.extend(piece.token.map(|token| token.id));
        text.push_str(&piece.text);
    }
    (read.len(), ids, text)
}

fn prompt(chat: &Chat, answer: usize) -> Vec<u32> {
    let session = chat.session();
    session.tokens(0..session.length() - answer as u32).collect()
}

#[test]
fn every_prompt_is_what_the_template_renders_for_the_whole_conversation() {
    for (template, system) in [(THINKS, None), (THINKS_NOT, Some("Be brief.")), (MOVES, Some("Be brief."))] {
        let opened = Opened::new(template);
        let mut chat = opened.chat(system);
        assert!(!chat.is_continued(), "{template}");
        let mut messages: Vec<Message> =
            system.map(|text| Message::new("system", text)).into_iter().collect();
        let mut last = Vec::new();
        for turn in 0..5 {
            let user = format!("Question {turn}. It is a longer one.");
            let (read, ids, text) = ask(&mut chat, &opened, &user);
            messages.push(Message::new("user", user));
            let want = opened.rendered(&messages);
            assert_eq!(prompt(&chat, ids.len()), want, "turn {turn} of {template}");
            assert_eq!(ids, opened.afresh(&want), "turn {turn} of {template}");
            // What both prompts begin with is still there.
            let common = last.iter().zip(&want).take_while(|(last, want)| last == want).count();
            assert!(turn < 2 || common > 10, "turn {turn} of {template}");
            assert_eq!(read, want.len() - common, "turn {turn} of {template}");
            last = want;
            messages.push(Message::new("assistant", text));
        }
        assert_eq!(chat.asked(), 5);
    }
}

#[test]
fn what_was_thought_is_not_in_the_next_prompt_and_turns_can_be_taken_back() {
    let opened = Opened::new(THINKS);
    let mut chat = opened.chat(None);
    let (marks, is_open) = chat.reasoning().expect("the template names the marks");
    assert!((marks.open, marks.close, is_open) == ("<think>", "</think>", false));
    let mut messages = Vec::new();
    for (user, answer) in [("One?", "<think>\nHm. One.\n</think>\n\nOne."), ("Two?", "Two.")] {
        let read = block_on(chat.begin_turn(user)).unwrap();
        let given = chat.answer_ids(answer).unwrap();
        block_on(chat.append(&[read, given].concat())).unwrap();
        messages.extend([Message::new("user", user), Message::new("assistant", answer)]);
    }
    let asked = |messages: &[Message], user: &str| [messages, &[Message::new("user", user)]].concat();
    let (_, ids, _) = ask(&mut chat, &opened, "Three?");
    let want = opened.rendered(&asked(&messages, "Three?"));
    assert_eq!(prompt(&chat, ids.len()), want);
    assert!(!opened.tokenizer.decode(&want, false).unwrap().contains("Hm."));

    assert!(chat.undo().unwrap() && chat.undo().unwrap());
    assert_eq!(chat.asked(), 1);
    let (_, ids, _) = ask(&mut chat, &opened, "Other?");
    assert_eq!(prompt(&chat, ids.len()), opened.rendered(&asked(&messages[..2], "Other?")));
    assert!(chat.undo().unwrap() && chat.undo().unwrap() && !chat.undo().unwrap());
    let (_, ids, _) = ask(&mut chat, &opened, "First?");
    assert_eq!(prompt(&chat, ids.len()), opened.rendered(&[Message::new("user", "First?")]));
    chat.reset().unwrap();
    let (_, ids, _) = ask(&mut chat, &opened, "Again?");
    assert_eq!(prompt(&chat, ids.len()), opened.rendered(&[Message::new("user", "Again?")]));
}

/// A thought that was cut off is no answer: the next prompt has nothing of it. What was taken back can be asked again at once.
#[test]
fn a_thought_that_was_cut_off_is_not_in_the_next_prompt() {
    let opened = Opened::new(THINKS);
    let mut chat = opened.chat(None);
    let read = block_on(chat.begin_turn("One?")).unwrap();
    let given = chat.answer_ids("<think>\nHm. Hm").unwrap();
    block_on(chat.append(&[read, given].concat())).unwrap();
    let (_, ids, _) = ask(&mut chat, &opened, "Two?");
    let asked = [Message::new("user", "One?"), Message::new("assistant", ""), Message::new("user", "Two?")];
    let want = opened.rendered(&asked);
    assert_eq!(prompt(&chat, ids.len()), want);

    assert!(chat.undo().unwrap());
    assert_eq!(chat.session().length(), 0);
    assert!(block_on(chat.begin_turn("Two?")).unwrap().is_empty(), "all of it is still there");
    assert_eq!(chat.brought_back(), want);
    assert_eq!(prompt(&chat, 0), want);
    let mut answer = chat.answer(opened.options(), StopStrings::new(Vec::new()).unwrap()).unwrap();
    let first = block_on(chat.next_piece(&mut answer)).unwrap().unwrap().token.unwrap().id;
    assert_eq!(first, ids[0]);
}

/// A template whose thoughts stay is only continued.
#[test]
fn a_thought_that_the_template_keeps_is_no_reason_to_read_again() {
    let opened = Opened::new(
        "{# </think> #}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    );
    let chat = opened.chat(None);
    assert!(chat.is_continued() && chat.reasoning().is_some());
}
