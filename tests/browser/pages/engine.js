// Runs what `GET /test/job` asks for, and posts what came of it. The same page runs in every browser, without a driver.

import { Killick } from '/killick/index.js';

/** What can be asked. Each gives what the test compares. */
const jobs = {
  /** Greedy tokens, drawn tokens, a stop, scores, and what it took. */
  async writes({ model, load = {}, prompt, tokens, draw, scores = [] }) {
    const begun = performance.now();
    const phases = new Set();
    const engine = await Killick.load({ model, ...load, onProgress: ({ phase }) => phases.add(phase) });
    const text = await engine.text();
    await text.append(prompt);
    const before = (await engine.stats()).counters;
    let first = 0;
    const greedy = text.generate({ maxTokens: tokens, temperature: 0 });
    for await (const piece of greedy) first ||= piece.token ? performance.now() - begun : 0;
    const result = await greedy.result;
    const after = (await engine.stats()).counters;
    const ids = text.tokens.map(({ id }) => id).slice(-result.tokens);
    const words = text.tokens.slice(-result.tokens).map((token) => token.text).join('');
    const memory = await text.memory();
    const drawn = draw && (await all(engine.generate(prompt, draw)));
    const scored = [];
    for (const { policy, ids, path } of scores) scored.push(await engine.score(ids, { policy, path }));
    const stats = await engine.stats();
    await engine.close();
    return { device: engine.device, model: engine.model, ids, words, result, memory, drawn, scored, stats, first, phases: [...phases], readbacks: after.readbacks - before.readbacks, buffers: after.buffers - before.buffers, cached: await Killick.cache.list() };
  },

  /** A stop takes effect, the text goes on, and a turn is taken back. */
  async stops({ model, prompt }) {
    const engine = await Killick.load({ model });
    const text = await engine.text();
    await text.append(prompt);
    const controller = new AbortController();
    const generation = text.generate({ maxTokens: 4000, temperature: 0, signal: controller.signal });
    let [seen, atStop] = [0, 0];
    for await (const piece of generation) {
      if (piece.token) seen++;
      if (seen === 20 && !atStop) {
        atStop = seen;
        controller.abort();
      }
    }
    const stopped = await generation.result;
    const on = text.generate({ maxTokens: 24, temperature: 0 });
    await on.result;
    const together = text.tokens.map(({ id }) => id);
    // Taken back is what came since the last text that was put in.
    const undone = await text.undo();
    const left = text.tokens.length;
    await text.append(prompt);
    const again = text.generate({ maxTokens: 40, temperature: 0 });
    await again.result;
    const same = text.tokens.map(({ id }) => id);
    await text.reset();
    const { length } = await text.memory();
    await engine.close();
    return { stopped, extra: stopped.tokens - atStop, together, undone, left, same, length };
  },

  /** The device goes in the middle; the text goes on as if it had not. */
  async loses({ model, prompt }) {
    const engine = await Killick.load({ model });
    const told = [];
    engine.onLost = (error) => told.push(error.code);
    const text = await engine.text();
    await text.append(prompt);
    const generation = text.generate({ maxTokens: 2000, temperature: 0 });
    let seen = 0;
    let code = null;
    try {
      for await (const piece of generation) if (piece.token && ++seen === 12) engine.destroyDevice();
    } catch (error) {
      code = error.code;
    }
    const kept = text.tokens.length;
    await engine.restart();
    await text.generate({ maxTokens: 24, temperature: 0 }).result;
    const ids = text.tokens.map(({ id }) => id);
    // And with nothing under way.
    await engine.destroyDevice();
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await engine.close();
    return { code, kept, ids, told, seen };
  },

  /** Errors, each with its code and its words. */
  async errors({ tries }) {
    const found = [];
    for (const { load, then } of tries) {
      let engine = null;
      try {
        engine = await Killick.load(load);
        if (then?.generate) await all(engine.generate(then.prompt ?? 'The', then.generate));
        if (then?.text) await engine.text(then.text);
        if (then?.say) await all((await engine.text()).say(then.say));
        found.push({ code: null });
      } catch (error) {
        found.push({ code: error.code, message: error.message, name: error.name });
      }
      await engine?.close();
    }
    return found;
  },

  /** Headers alone. */
  async inspects({ options }) {
    return Killick.inspect(options);
  },

  /** A load that is called off after so many bytes, and what is kept then. */
  async cuts({ load, after }) {
    const controller = new AbortController();
    let done = 0;
    const error = await Killick.load({
      ...load,
      signal: controller.signal,
      onProgress: (progress) => {
        if (progress.phase !== 'download') return;
        done = progress.done;
        if (done > after) controller.abort();
      },
    }).then((engine) => (engine.close(), null), (error) => ({ code: error.code, message: error.message }));
    return { error, done, cached: await Killick.cache.list() };
  },

  /** What reading and writing takes, for tools/peers: the load is left out. */
  async costs({ load, words, tokens }) {
    const engine = await Killick.load({ policy: 'full', ...load });
    await fetch('/test/loaded');
    const begun = performance.now();
    const { text, ids, result } = await all(engine.generate('the '.repeat(words), { maxTokens: tokens, temperature: 0, ignoreEos: true }));
    const seconds = (performance.now() - begun) / 1000;
    await engine.close();
    return { text, written: ids.length, read: result.promptTokens, seconds, device: engine.device.name };
  },

  /** Minutes of conversation: what memory does meanwhile. */
  async soaks({ model, load = {}, minutes, tokens }) {
    const engine = await Killick.load({ model, ...load });
    const text = await engine.text();
    const { chat } = engine.model;
    const questions = ['Tell me about the sea.', 'And what else is there to say?', 'Name three colours.', 'Why?'];
    if (!chat) await text.append('The Lord is');
    const samples = [];
    const begun = performance.now();
    while (performance.now() - begun < minutes * 60_000) {
      const options = { maxTokens: tokens, temperature: 0.8, topP: 0.95 };
      if (chat) {
        await text.say(questions[samples.length % questions.length], options).result;
      } else {
        await text.generate({ ...options, ignoreEos: true }).result;
        await text.append(' And then he said unto them,');
      }
      const { wasmBytes, modelBytes, textBytes, counters } = await engine.stats();
      const heap = performance.memory?.usedJSHeapSize ?? 0;
      samples.push({ seconds: (performance.now() - begun) / 1000, tokens: text.tokens.length, heap, wasmBytes, modelBytes, textBytes, buffers: counters.buffers, bindGroups: counters.bind_groups });
    }
    await engine.close();
    return samples;
  },

  /** What is kept, before and after it is deleted. */
  async kept({ remove }) {
    const before = await Killick.cache.list();
    if (remove) await Killick.cache.delete(remove);
    return { before, after: await Killick.cache.list(), room: await Killick.cache.estimate() };
  },

  /** A conversation in OpenAI's shape, whole and in chunks. */
  async chats({ model, load = {}, questions, max_tokens }) {
    const engine = await Killick.load({ model, ...load });
    const messages = [];
    const answers = [];
    for (const content of questions) {
      messages.push({ role: 'user', content });
      const chunks = await engine.chat.completions.create({ messages, stream: true, max_tokens, temperature: 0 });
      let answer = '';
      let finish = null;
      for await (const chunk of chunks) {
        answer += chunk.choices[0].delta.content ?? '';
        finish = chunk.choices[0].finish_reason ?? finish;
      }
      messages.push({ role: 'assistant', content: answer });
      answers.push({ answer, finish });
    }
    const before = (await engine.stats()).counters.dispatches;
    const whole = await engine.chat.completions.create({ messages: messages.slice(0, -1), max_tokens, temperature: 0 });
    const anchors = await (await engine.text()).anchors();
    const stats = await engine.stats();
    await engine.close();
    return { answers, whole, stats, anchors, dispatches: stats.counters.dispatches - before };
  },
};

async function all(generation) {
  let [text, ids] = ['', []];
  for await (const piece of generation) {
    text += piece.text;
    if (piece.token) ids.push(piece.token.id);
  }
  return { text, ids, result: await generation.result };
}

const problems = [];
addEventListener('error', (event) => problems.push(String(event.message)));
addEventListener('unhandledrejection', (event) => problems.push(String(event.reason?.message ?? event.reason)));
addEventListener('securitypolicyviolation', (event) => problems.push(`CSP: ${event.violatedDirective} ${event.blockedURI}`));

const post = (report) => fetch('/test/report', { method: 'POST', body: JSON.stringify(report) });
for (;;) {
  const job = await (await fetch('/test/job')).json();
  if (!job) break;
  try {
    await post({ value: await jobs[job.name](job), problems });
  } catch (error) {
    await post({ error: { code: error.code, message: error.message, stack: error.stack }, problems });
  }
}
