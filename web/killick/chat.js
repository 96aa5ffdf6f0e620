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
    /** @type {{ role: string, content: string }[] | null} what the text holds; `null` where that is not known */
    this.history = null;
    this.turn = 0;
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
    // One conversation, one request at a time: the next begins when this one's text has ended, read by its caller or not.
    const before = this.last;
    /** @type {(value?: any) => void} */
    let over = () => {};
    this.last = new Promise((resolve) => (over = resolve));
    await before;
    const turn = ++this.turn;
    let generation;
    try {
      await this.goTo(messages.slice(0, -1));
      generation = this.text.say(question, options);
    } catch (error) {
      over();
      throw error;
    }
    // What is not read to its end was not heard: then the conversation is read anew next time.
    this.history = null;
    generation.result.then(over, over);
    const heard = (/** @type {string} */ content) => {
      if (turn === this.turn) this.history = [...messages, { role: 'assistant', content }];
    };
    if (stream) return chunks(head, generation, heard);
    let content = '';
    for await (const piece of generation) content += piece.text;
    const result = await generation.result;
    heard(content);
    const message = { role: 'assistant', content };
    const usage = { prompt_tokens: result.promptTokens, completion_tokens: result.tokens, total_tokens: result.promptTokens + result.tokens };
    return { ...head, object: 'chat.completion', choices: [{ index: 0, message, finish_reason: finish(result) }], usage };
  }

  /** Brings the kept conversation to where `messages` end. @param {{ role: string, content: string }[]} messages */
  async goTo(messages) {
    const history = this.history;
    const same = this.text && history && messages.length === history.length && messages.every(({ role, content }, i) => role === history[i].role && content === history[i].content);
    if (same) return;
    const [first, ...rest] = messages;
    const system = first?.role === 'system' ? first.content : undefined;
    const turns = system === undefined ? messages : rest;
    this.history = null;
    await this.text?.close();
    this.text = await this.engine.text({ system });
    for (let i = 0; i < turns.length; i += 2) await this.text.tell(turns[i].content, turns[i + 1].content);
  }
}

/** @param {any} head @param {any} generation @param {(content: string) => void} heard */
async function* chunks(head, generation, heard) {
  const chunk = (/** @type {any} */ delta, /** @type {any} */ finish_reason = null) => ({ ...head, object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason }] });
  let content = '';
  yield chunk({ role: 'assistant', content: '' });
  for await (const { text } of generation) {
    content += text;
    if (text) yield chunk({ content: text });
  }
  const result = await generation.result;
  heard(content);
  yield chunk({}, finish(result));
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
