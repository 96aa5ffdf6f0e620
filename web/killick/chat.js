import { KillickError } from './error.js';

/**
 * OpenAI's shape over one conversation that is kept: messages that go on where the last request ended are not read again.
 */
export class Completions {
  /** @param {import('./index.js').Killick} engine */
  constructor(engine) {
    this.engine = engine;
    /** @type {any} */
    this.text = null;
    /** @type {{ role: string, content: string }[]} */
    this.history = [];
    /** @type {Promise<any>} */
    this.last = Promise.resolve();
    this.count = 0;
  }

  /** @param {import('./index.js').ChatRequest} request @returns {Promise<any>} */
  async create({ messages, stream = false, max_tokens, temperature, top_p, stop, seed, signal }) {
    const question = check(messages);
    const head = { id: `chatcmpl-${++this.count}`, created: Math.floor(Date.now() / 1000), model: this.engine.model.name };
    const stops = stop === undefined ? undefined : [stop].flat();
    const options = { maxTokens: max_tokens, temperature, topP: top_p, stop: stops, seed, signal };
    // One conversation, one request at a time.
    const before = this.last;
    /** @type {(value?: any) => void} */
    let over = () => {};
    this.last = new Promise((resolve) => (over = resolve));
    await before;
    let generation;
    try {
      await this.goTo(messages.slice(0, -1));
      generation = this.text.say(question, options);
    } catch (error) {
      over();
      throw error;
    }
    if (stream) return this.chunks(head, messages, generation, over);
    try {
      let content = '';
      for await (const piece of generation) content += piece.text;
      const result = await generation.result;
      this.history = [...messages, { role: 'assistant', content }];
      const message = { role: 'assistant', content };
      const usage = { prompt_tokens: result.promptTokens, completion_tokens: result.tokens, total_tokens: result.promptTokens + result.tokens };
      return { ...head, object: 'chat.completion', choices: [{ index: 0, message, finish_reason: finish(result) }], usage };
    } catch (error) {
      this.history = [];
      throw error;
    } finally {
      over();
    }
  }

  /** @param {any} head @param {any[]} messages @param {any} generation @param {() => void} over */
  async *chunks(head, messages, generation, over) {
    const chunk = (/** @type {any} */ delta, /** @type {any} */ finish_reason = null) => ({ ...head, object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason }] });
    let [content, whole] = ['', false];
    try {
      yield chunk({ role: 'assistant', content: '' });
      for await (const { text } of generation) {
        content += text;
        if (text) yield chunk({ content: text });
      }
      const result = await generation.result;
      whole = true;
      yield chunk({}, finish(result));
    } finally {
      // A listener that left early was given less than was said: then the conversation is read anew next time.
      this.history = whole ? [...messages, { role: 'assistant', content }] : [];
      await generation.result.catch(() => {});
      over();
    }
  }

  /** Brings the kept conversation to where `messages` end. @param {{ role: string, content: string }[]} messages */
  async goTo(messages) {
    const same = this.text && messages.length === this.history.length && messages.every(({ role, content }, i) => role === this.history[i].role && content === this.history[i].content);
    if (same) return;
    const [first, ...rest] = messages;
    const system = first?.role === 'system' ? first.content : undefined;
    const turns = system === undefined ? messages : rest;
    this.history = [];
    await this.text?.close();
    this.text = await this.engine.text({ system });
    for (let i = 0; i < turns.length; i += 2) await this.text.tell(turns[i].content, turns[i + 1].content);
  }
}

/** The last message, a user's; an error says what is wrong with the rest. @param {any} messages @returns {string} */
function check(messages) {
  if (!Array.isArray(messages) || messages.length === 0) throw new KillickError('bad-option', 'messages: expected a list that is not empty');
  messages.forEach((message, i) => {
    if (typeof message?.content !== 'string') throw new KillickError('bad-option', `messages[${i}].content: expected a text`);
    const at = messages[0].role === 'system' ? i - 1 : i;
    const expected = at < 0 ? 'system' : at % 2 === 0 ? 'user' : 'assistant';
    if (message.role !== expected) throw new KillickError('bad-option', `messages[${i}].role is ${JSON.stringify(message.role)}, expected is "${expected}": user and assistant take turns`);
  });
  const last = messages[messages.length - 1];
  if (last.role !== 'user') throw new KillickError('bad-option', `the last message is ${last.role}'s; it must be the user's`);
  return last.content;
}

/** @param {any} result */
const finish = ({ reason }) => (reason === 'eos' || reason === 'stop' || reason === 'cancelled' ? 'stop' : 'length');
