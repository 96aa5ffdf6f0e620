//! One text on a model: read, gone on with token by token, taken back.

use std::sync::Arc;

use js_sys::Uint32Array;
use killick::chat::Remembered;
use killick::session::KvReport;
use killick::tokenizer::StopStrings;
use killick::{
    Chat, Generation, Model, Opened, Piece, Preset, SamplerOptions, Session, StopReason, TextGeneration,
    Tokenizer,
};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::engine::json;
use crate::error::Fault;
use crate::options::{TextOptions, WriteOptions, parse};

/// A text, plain or a conversation.
///
/// While a promise of one of its methods is pending, no other may be called: the worker calls one after the other.
#[wasm_bindgen]
pub struct Text {
    tokenizer: Option<Tokenizer>,
    kind: Kind,
    /// How its tokens are drawn where nothing is asked for.
    sampler: SamplerOptions,
    going: Option<Going>,
}

enum Kind {
    Plain {
        session: Box<Session>,
        /// What there was before [`Text::mark`].
        before: Option<Box<Session>>,
    },
    Chat(Box<Chat>),
}

/// What goes on with the text: with a tokenizer in pieces of text, else in ids.
enum Going {
    Ids(Generation),
    Text(TextGeneration),
}

/// What [`Text::next`] gives out.
#[derive(Serialize)]
struct Written {
    /// Absent for text that was held back and comes out at the end.
    id: Option<u32>,
    /// Empty without a tokenizer.
    text: String,
}

/// `Memory` of `web/killick/index.d.ts`.
#[derive(Serialize)]
struct MemoryView {
    policy: Preset,
    length: u32,
    pinned: [u32; 2],
    live: [u32; 2],
    anchors: Vec<AnchorView>,
    kv: KvReport,
    #[serde(rename = "entryBytes")]
    entry_bytes: u64,
    #[serde(rename = "fullBytes")]
    full_bytes: u64,
    remaining: u32,
}

#[derive(Serialize)]
struct AnchorView {
    pos: u32,
    start: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl Text {
    pub(crate) async fn new(
        opened: &Opened,
        model: &Arc<Model>,
        options: TextOptions,
    ) -> Result<Self, Fault> {
        let tokenizer = opened.optional_tokenizer()?;
        let turns = if options.chat { Some(opened.turns()?) } else { None };
        let session = options.session();
        let policy = options.policy.choose(opened, options.system.as_deref())?.policy;
        let session = Session::new(model, &policy, session).await?;
        let kind = match (turns, &tokenizer) {
            (Some(turns), Some(tokenizer)) => {
                Kind::Chat(Box::new(Chat::new(session, tokenizer.clone(), turns, options.system)?))
            }
            _ => Kind::Plain { session: Box::new(session), before: None },
        };
        // An answer is drawn, a text goes on with the likeliest token, unless the model's files say otherwise.
        let base = match kind {
            Kind::Chat(_) => SamplerOptions { temperature: 0.7, top_p: 0.95, ..SamplerOptions::default() },
            Kind::Plain { .. } => SamplerOptions::default(),
        };
        Ok(Self { tokenizer, kind, sampler: opened.sampler(base), going: None })
    }

    fn session(&self) -> &Session {
        match &self.kind {
            Kind::Plain { session, .. } => session,
            Kind::Chat(chat) => chat.session(),
        }
    }

    fn tokenizer(&self) -> Result<&Tokenizer, Fault> {
        self.tokenizer
            .as_ref()
            .ok_or_else(|| Fault::option("the model has no tokenizer, so it takes ids only"))
    }

    fn started(&mut self, options: &WriteOptions) -> Result<Going, Fault> {
        let wanted = options.generate(&self.sampler);
        let stops = StopStrings::new(options.stop.clone())?;
        Ok(match (&mut self.kind, &self.tokenizer) {
            (Kind::Chat(chat), _) => Going::Text(chat.answer(wanted, stops)?),
            (Kind::Plain { session, .. }, Some(tokenizer)) => {
                Going::Text(session.start_text(tokenizer, wanted, stops)?)
            }
            (Kind::Plain { session, .. }, None) if options.stop.is_empty() => {
                Going::Ids(session.start(wanted)?)
            }
            _ => return Err(Fault::option("the model has no tokenizer, so no text can stop it")),
        })
    }

    async fn piece(&mut self) -> Result<Option<Piece>, Fault> {
        let going = self.going.as_mut().ok_or_else(|| Fault::option("nothing was started"))?;
        Ok(match (going, &mut self.kind) {
            (Going::Text(answer), Kind::Chat(chat)) => chat.next_piece(answer).await?,
            (Going::Text(text), Kind::Plain { session, .. }) => text.next_piece(session).await?,
            (Going::Ids(ids), Kind::Plain { session, .. }) => {
                let token = ids.next_token(session).await?;
                token.map(|token| Piece { token: Some(token), text: String::new() })
            }
            (Going::Ids(_), Kind::Chat(_)) => unreachable!("a conversation has a tokenizer"),
        })
    }

    async fn read(&mut self, ids: &[u32]) -> Result<(), Fault> {
        self.going = None;
        match &mut self.kind {
            Kind::Plain { session, .. } => session.append(ids).await?,
            Kind::Chat(chat) => chat.append(ids).await?,
        }
        Ok(())
    }

    async fn marked(&mut self) -> Result<(), Fault> {
        self.going = None;
        if let Kind::Plain { session, before } = &mut self.kind {
            match before {
                Some(before) => before.copy_from(session)?,
                None => *before = Some(Box::new(session.fork().await?)),
            }
        }
        Ok(())
    }

    fn taken_back(&mut self) -> Result<bool, Fault> {
        self.going = None;
        Ok(match &mut self.kind {
            Kind::Chat(chat) => chat.undo()?,
            Kind::Plain { session, before: Some(before) } if before.length() < session.length() => {
                session.copy_from(before)?;
                true
            }
            Kind::Plain { .. } => false,
        })
    }

    fn emptied(&mut self) -> Result<(), Fault> {
        self.going = None;
        match &mut self.kind {
            Kind::Chat(chat) => chat.reset()?,
            Kind::Plain { session, before } => {
                session.reset()?;
                *before = None;
            }
        }
        Ok(())
    }

    async fn taken_up(&mut self, ids: &[u32], asked: u32) -> Result<(), Fault> {
        match &mut self.kind {
            Kind::Chat(chat) => Ok(chat.resume(ids, asked).await?),
            Kind::Plain { .. } => {
                self.emptied()?;
                self.read(ids).await
            }
        }
    }
}

#[wasm_bindgen]
impl Text {
    /// The policy, resolved, as JSON.
    pub fn policy(&self) -> String {
        json(self.session().policy())
    }

    /// Tokens of the text.
    pub fn length(&self) -> u32 {
        self.session().length()
    }

    /// The ids of a text that comes next: at the beginning with the special tokens that the tokenizer asks for, and with the policy's
    /// anchors put in where it asks for that.
    ///
    /// # Errors
    /// A model without a tokenizer.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, JsValue> {
        let session = self.session();
        let ids = self.tokenizer()?.encode_for(text, session.length() == 0, session.policy());
        Ok(session.close_segments(&ids.map_err(Fault::from)?))
    }

    /// `ids` with the policy's anchor put in where a segment would grow too long.
    #[wasm_bindgen(js_name = closeSegments)]
    pub fn close_segments(&self, ids: Vec<u32>) -> Vec<u32> {
        self.session().close_segments(&ids)
    }

    /// The text that each of `ids` completes, as a JSON list of strings; special tokens give none.
    pub fn words(&self, ids: Vec<u32>) -> String {
        let Some(tokenizer) = &self.tokenizer else { return json(&vec![""; ids.len()]) };
        let mut stream =
            tokenizer.decode_stream().hide(self.session().policy().insert.map(|insert| insert.id).as_slice());
        let mut words: Vec<String> = ids.into_iter().map(|id| stream.push(id)).collect();
        if let Some(last) = words.last_mut() {
            last.push_str(&stream.finish());
        }
        json(&words)
    }

    /// Remembers a plain text as it is now, for [`Text::undo`]. A conversation does so by itself at each turn.
    ///
    /// # Errors
    /// The device has no room for it.
    pub async fn mark(&mut self) -> Result<(), JsValue> {
        Ok(self.marked().await?)
    }

    /// Begins a turn of a conversation: the ids that [`Text::append`] has to read for it. It may take the last token back first, the
    /// end of an answer, which [`Text::length`] then shows.
    ///
    /// # Errors
    /// A text that is no conversation, a template that cannot be continued, more than the policy has room for.
    #[wasm_bindgen(js_name = beginTurn)]
    pub async fn begin_turn(&mut self, user: String) -> Result<Uint32Array, JsValue> {
        self.going = None;
        let Kind::Chat(chat) = &mut self.kind else {
            return Err(Fault::option("this text is no conversation: its model has no chat template").into());
        };
        let ids = chat.begin_turn(&user).await.map_err(Fault::from)?;
        Ok(Uint32Array::from(ids.as_slice()))
    }

    /// The ids of an answer that was given elsewhere, to be read after those of [`Text::begin_turn`].
    ///
    /// # Errors
    /// A text that is no conversation.
    #[wasm_bindgen(js_name = answerIds)]
    pub fn answer_ids(&mut self, answer: &str) -> Result<Vec<u32>, JsValue> {
        let Kind::Chat(chat) = &mut self.kind else {
            return Err(Fault::option("this text is no conversation: its model has no chat template").into());
        };
        Ok(chat.answer_ids(answer).map_err(Fault::from)?)
    }

    /// The ids that [`Text::begin_turn`] has brought back without reading them, where the text was empty before.
    #[wasm_bindgen(js_name = broughtBack)]
    pub fn brought_back(&self) -> Vec<u32> {
        match &self.kind {
            Kind::Chat(chat) => chat.brought_back().to_vec(),
            Kind::Plain { .. } => Vec::new(),
        }
    }

    /// Questions asked so far.
    pub fn asked(&self) -> u32 {
        match &self.kind {
            Kind::Chat(chat) => chat.asked(),
            Kind::Plain { .. } => 0,
        }
    }

    /// Reads token ids.
    ///
    /// # Errors
    /// An id outside the vocabulary, more of them than the policy has room for (nothing was read then); the device.
    pub async fn append(&mut self, ids: Vec<u32>) -> Result<(), JsValue> {
        Ok(self.read(&ids).await?)
    }

    /// Begins to go on with the text. `options` is the JSON of [`WriteOptions`].
    ///
    /// # Errors
    /// Options of the wrong form or out of range, no text to go on with, the device.
    pub fn start(&mut self, options: &str) -> Result<(), JsValue> {
        let options = parse(options)?;
        self.going = Some(self.started(&options)?);
        Ok(())
    }

    /// The next token and the text that it completes, as JSON; nothing when the text has ended.
    ///
    /// # Errors
    /// [`Text::start`] was not called; the device.
    pub async fn next(&mut self) -> Result<Option<String>, JsValue> {
        let piece = self.piece().await?;
        Ok(piece.map(|Piece { token, text }| json(&Written { id: token.map(|token| token.id), text })))
    }

    /// Submits nothing more; what is under way is still given out.
    pub fn cancel(&mut self) {
        match &mut self.going {
            Some(Going::Ids(generation)) => generation.cancel(),
            Some(Going::Text(generation)) => generation.cancel(),
            None => {}
        }
    }

    /// Why the text ended, as JSON; nothing while it goes on.
    #[wasm_bindgen(js_name = stopReason)]
    pub fn stop_reason(&self) -> Option<String> {
        let reason: Option<StopReason> = match &self.going {
            Some(Going::Ids(generation)) => generation.stop_reason(),
            Some(Going::Text(generation)) => generation.stop_reason(),
            None => None,
        };
        reason.map(|reason| json(&reason))
    }

    /// Takes back what came since the last turn or mark; false if there is nothing to take back.
    ///
    /// # Errors
    /// The device.
    pub fn undo(&mut self) -> Result<bool, JsValue> {
        Ok(self.taken_back()?)
    }

    /// Forgets the text.
    ///
    /// # Errors
    /// The device.
    pub fn reset(&mut self) -> Result<(), JsValue> {
        Ok(self.emptied()?)
    }

    /// Reads a text again from its tokens, on a new device; `asked` is the number of turns it holds.
    ///
    /// # Errors
    /// As [`Text::append`].
    pub async fn resume(&mut self, ids: Vec<u32>, asked: u32) -> Result<(), JsValue> {
        Ok(self.taken_up(&ids, asked).await?)
    }

    /// What the cache holds, as the JSON of `Memory`.
    pub fn memory(&self) -> String {
        let session = self.session();
        let [pinned, live] = session.live_positions().map(|range| [range.start, range.end]);
        let anchors =
            session.anchors().map(|anchor| AnchorView { pos: anchor.pos, start: anchor.start, text: None });
        json(&MemoryView {
            policy: session.policy().preset,
            length: session.length(),
            pinned,
            live,
            anchors: anchors.collect(),
            kv: session.kv(),
            entry_bytes: session.entry_bytes(),
            full_bytes: u64::from(session.kv().seen) * session.entry_bytes(),
            remaining: session.remaining(),
        })
    }

    /// The anchors kept, each with the text that it stands for, as JSON.
    ///
    /// # Errors
    /// A model without a tokenizer.
    pub fn remembered(&self) -> Result<String, JsValue> {
        let all = Remembered::all(self.session(), self.tokenizer()?).into_iter();
        let views = all.map(|Remembered { anchor, text }| AnchorView {
            pos: anchor.pos,
            start: anchor.start,
            text: Some(text),
        });
        Ok(json(&views.collect::<Vec<_>>()))
    }

    /// Bytes of device memory of this text alone.
    #[wasm_bindgen(js_name = allocatedBytes)]
    pub fn allocated_bytes(&self) -> f64 {
        let bytes = match &self.kind {
            Kind::Plain { session, before } => {
                session.allocated_bytes() + before.as_ref().map_or(0, |before| before.allocated_bytes())
            }
            Kind::Chat(chat) => chat.allocated_bytes().saturating_sub(chat.session().shared_bytes()),
        };
        bytes as f64
    }
}
