//! A chat that goes on in a session: only the new turn is rendered, never the conversation again.
//!
//! A template renders whole conversations. What stands between an answer and the next one is therefore cut out of a
//! short stand-in conversation, and holds for the real one if the template writes it the same whatever came before.
//! Whether it does is asked of the template each time, by a second stand-in that is longer.

use super::origin::Rendered;
use super::reasoning::Reasoning;
use super::{ChatTemplate, Message, TemplateArguments, Tokenizer, TokenizerError, mark_sentences};
use crate::kv::{Policy, Tagger};
use crate::model_file::ModelFile;

/// The answers of a stand-in conversation are made of this private-use character.
const ANSWER: char = '\u{10FFFC}';

/// A chat template as the texts that go into a session turn by turn.
#[derive(Debug, Clone)]
pub struct Turns {
    template: ChatTemplate,
    bos: Option<String>,
    eos: Option<String>,
}

impl Turns {
    /// The turns of a model by its own chat template and the names of its own tokens.
    ///
    /// # Errors
    /// [`TokenizerError::NoChatTemplate`], else as [`ChatTemplate::new`].
    pub fn of(file: &ModelFile, tokenizer: &Tokenizer) -> Result<Self, TokenizerError> {
        let missing = || TokenizerError::NoChatTemplate { file: file.label().to_owned() };
        let template = ChatTemplate::new(file.chat_template().ok_or_else(missing)?)?;
        let name = |id: Option<u32>| id.and_then(|id| tokenizer.decode(&[id], false).ok());
        Ok(Self::new(template, name(tokenizer.bos()), name(tokenizer.eos())))
    }

    /// The same with what the template is told beside the conversation.
    ///
    /// # Errors
    /// As [`ChatTemplate::with`].
    pub fn with(self, arguments: &TemplateArguments) -> Result<Self, TokenizerError> {
        Ok(Self { template: self.template.with(arguments)?, ..self })
    }

    /// `bos` and `eos` are the names of the tokens as [`ChatTemplate::render`] takes them.
    pub fn new(template: ChatTemplate, bos: Option<String>, eos: Option<String>) -> Self {
        Self { template, bos, eos }
    }

    /// The first prompt: what comes before the conversation, the user's turn, and the assistant's turn opened.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn first(&self, system: Option<&str>, user: &str) -> Result<String, TokenizerError> {
        Ok(self.render(system, &[user], &[])?.text)
    }

    /// What follows an answer in the session to ask the next question: the end of the assistant's turn, the user's
    /// turn, and the assistant's turn opened.
    ///
    /// The end of the turn is included, so the end-of-turn token that stopped the answer must not be in the session.
    ///
    /// # Errors
    /// [`TokenizerError::TemplateTurns`] for a template that changes or drops an answer, or writes a turn differently
    /// after other turns; else as [`ChatTemplate::render`].
    pub fn next(&self, system: Option<&str>, user: &str) -> Result<String, TokenizerError> {
        Ok(self.after(system, user, &[])?.text)
    }

    /// [`Turns::next`], with what of it came from outside.
    fn after(
        &self,
        system: Option<&str>,
        user: &str,
        controls: &[String],
    ) -> Result<Rendered, TokenizerError> {
        let answer = stand_in(&[system.unwrap_or_default(), user]);
        let after = |contents: &[&str]| {
            let rendered = self.render(system, contents, controls)?;
            let mut found = rendered.text.match_indices(answer.as_str());
            match (found.next(), found.next()) {
                (Some((at, answer)), None) => {
                    Ok(rendered.whole().from(at.saturating_add(answer.len())).behind(""))
                }
                _ => Err(refused("an answer does not appear in it exactly once")),
            }
        };
        let next = after(&["1", &answer, user])?;
        if next.text != after(&["1", "2", "3", &answer, user])?.text {
            return Err(refused("what it writes after an answer depends on the turns before"));
        }
        Ok(next)
    }

    /// The ids of [`Turns::first`]: only what the template wrote becomes a special token, whatever the messages spell. Anchors are put
    /// between the sentences of the messages and into segments that would grow too long, where `policy` asks for it.
    ///
    /// # Errors
    /// As [`Turns::first`], and a tokenizer without the anchor.
    pub fn first_ids(
        &self,
        tokenizer: &Tokenizer,
        system: Option<&str>,
        user: &str,
        policy: &Policy,
    ) -> Result<Vec<u32>, TokenizerError> {
        self.whole_ids(tokenizer, system, &[], user, policy)
    }

    /// The ids of [`Turns::next`], in which as in [`Turns::first_ids`] only the template writes special tokens, anchors put between the
    /// sentences of the messages where `policy` asks for it.
    ///
    /// Long segments are not closed here: how long the open one is, the session knows
    /// ([`Session::close_segments`](crate::session::Session::close_segments)).
    ///
    /// # Errors
    /// As [`Turns::next`], and a tokenizer without the anchor.
    pub fn next_ids(
        &self,
        tokenizer: &Tokenizer,
        system: Option<&str>,
        user: &str,
        policy: &Policy,
    ) -> Result<Vec<u32>, TokenizerError> {
        let (anchor, mark) = inserted(policy);
        let controls = tokenizer.controls(&self.template, policy);
        let prompt = self.after(system.map(mark).as_deref(), &mark(user), controls.spellings())?;
        tokenizer.continued(prompt.whole(), anchor, &|part| tokenizer.encode_part(part, &controls))
    }

    /// The ids of an answer that was given elsewhere, to follow the turn of the user: it comes from outside, so whatever it spells,
    /// none of them is a special token. Anchors are put between its sentences where `policy` asks for it.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`], and a tokenizer without the anchor.
    pub fn answer_ids(
        &self,
        tokenizer: &Tokenizer,
        answer: &str,
        policy: &Policy,
    ) -> Result<Vec<u32>, TokenizerError> {
        let (anchor, mark) = inserted(policy);
        let controls = tokenizer.controls(&self.template, policy);
        let answer = Rendered::outside(mark(answer));
        tokenizer.continued(answer.whole(), anchor, &|part| tokenizer.encode_part(part, &controls))
    }

    /// Whether a conversation can go on where it is: what the template wrote so far, and an answer as it was given, are how it writes
    /// them once they are past. It can not under a template that moves the system prompt to the last question, or that opens the
    /// answer with words which it leaves out later; [`Turns::whole_ids`] is for these.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn is_continued(&self, system: Option<&str>) -> Result<bool, TokenizerError> {
        match self.next(system, "2") {
            Err(TokenizerError::TemplateTurns { .. }) => return Ok(false),
            result => result?,
        };
        let answer = stand_in(&[system.unwrap_or_default()]);
        let first = self.first(system, "1")?;
        let past = self.render(system, &["1", &answer, "2"], &[])?.text;
        Ok(past.strip_prefix(first.as_str()).is_some_and(|rest| rest.starts_with(answer.as_str())))
    }

    /// The ids of the whole conversation so far and the next question of the user; `past` are the questions with their answers. As in
    /// [`Turns::first_ids`] only the template writes special tokens.
    ///
    /// # Errors
    /// As [`Turns::first_ids`], and a conversation longer than a prompt may be.
    pub fn whole_ids(
        &self,
        tokenizer: &Tokenizer,
        system: Option<&str>,
        past: &[(String, String)],
        user: &str,
        policy: &Policy,
    ) -> Result<Vec<u32>, TokenizerError> {
        let (anchor, mark) = inserted(policy);
        let controls = tokenizer.controls(&self.template, policy);
        let marked: Vec<String> = past
            .iter()
            .flat_map(|(user, answer)| [user, answer])
            .map(|text| mark(text))
            .chain([mark(user)])
            .collect();
        let contents: Vec<&str> = marked.iter().map(String::as_str).collect();
        let prompt = self.render(system.map(mark).as_deref(), &contents, controls.spellings())?;
        // The template names its special tokens itself, so none are added but the one that begins a text in some files.
        let mut ids =
            tokenizer.marked(prompt.whole(), anchor, &|part| tokenizer.encode_part(part, &controls))?;
        tokenizer.begin_chat(&mut ids);
        Ok(Tagger::default().close_segments(policy, &ids))
    }

    /// The marks around what the model thinks before it answers; `None` for a model that has none.
    pub fn reasoning(&self, tokenizer: &Tokenizer) -> Option<Reasoning> {
        Reasoning::of(&self.template, tokenizer)
    }

    /// Whether the template has opened a thought where the answer begins.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn opens_thought(&self, marks: &Reasoning) -> Result<bool, TokenizerError> {
        Ok(self.first(None, "1")?.trim_end().ends_with(marks.open))
    }

    /// Whether the template leaves what was thought out of the prompts of later turns.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn drops_thoughts(&self, marks: &Reasoning) -> Result<bool, TokenizerError> {
        let thought = stand_in(&[]);
        let past = self.render(None, &["1", &marks.around(&thought, "1"), "2"], &[])?.text;
        Ok(!past.contains(&thought))
    }

    /// The tokens that structure a conversation, which [`SamplerOptions::unpenalized`](crate::sampling::SamplerOptions::unpenalized)
    /// spares: also where a file forgot to call them special.
    pub fn structure(&self, tokenizer: &Tokenizer, policy: &Policy) -> Vec<u32> {
        tokenizer.controls(&self.template, policy).ids().collect()
    }

    /// How many tokens at the beginning of a conversation are the same whatever the user says: the system prompt, and the opening of
    /// the user's turn.
    ///
    /// # Errors
    /// As [`Turns::first_ids`].
    pub fn system_tokens(
        &self,
        tokenizer: &Tokenizer,
        system: Option<&str>,
        policy: &Policy,
    ) -> Result<u32, TokenizerError> {
        // Neither user is trimmed, as white space would be.
        let one = self.first_ids(tokenizer, system, "\u{1}", policy)?;
        let other = self.first_ids(tokenizer, system, "\u{2}", policy)?;
        let same = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
        Ok(u32::try_from(same).unwrap_or(u32::MAX))
    }

    /// The prompt for a conversation whose turns, the user's first, have these contents; `controls` are the spellings
    /// that must not come from them.
    fn render(
        &self,
        system: Option<&str>,
        contents: &[&str],
        controls: &[String],
    ) -> Result<Rendered, TokenizerError> {
        let roles = ["user", "assistant"].into_iter().cycle();
        let turns = roles.zip(contents).map(|(role, content)| Message::new(role, *content));
        let messages: Vec<Message> =
            system.map(|text| Message::new("system", text)).into_iter().chain(turns).collect();
        self.template.trace(&messages, true, self.bos.as_deref(), self.eos.as_deref(), controls)
    }
}

/// The anchor that a policy inserts, and what marks its places in a message. A written one stays text, as every token
/// does that is spelled in a message.
fn inserted(policy: &Policy) -> (Option<u32>, impl Fn(&str) -> String + Copy + '_) {
    let mark = |text: &str| match &policy.insert {
        Some(insert) => mark_sentences(text, insert.place),
        None => text.to_owned(),
    };
    (policy.insert.as_ref().map(|insert| insert.id), mark)
}

/// A text that occurs in none of `texts`: a longer run of the character than any of theirs.
fn stand_in(texts: &[&str]) -> String {
    let runs = texts.iter().flat_map(|text| text.split(|c| c != ANSWER)).map(|run| run.chars().count());
    String::from(ANSWER).repeat(runs.max().unwrap_or(0).saturating_add(1))
}

fn refused(reason: &'static str) -> TokenizerError {
    TokenizerError::TemplateTurns { reason }
}
