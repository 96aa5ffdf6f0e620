/**
 * Puts the parts of the page together: the model and its life, and what the reader is told.
 *
 * models.js    choosing a model: its dialog; kept.js the models kept, files.js what is dropped; loader.js loading and its progress
 * writer.js    prompt box and buttons, on one text or two; column.js one text; intro.js what stands there before
 * memory.js    the text, painted with what is left of it; anchors.js the card of an anchor
 * figures.js   figures, charts and their table; chart.js one chart; history.js what is measured
 * settings.js  the settings
 * trouble.js   errors; help.js where WebGPU is missing
 * words.js, format.js, dom.js, theme.js   names, numbers, elements, colours
 */

import { Killick } from '../killick/index.js';
import { byId, fill, make } from './dom.js';
import { Figures } from './figures.js';
import { bytes } from './format.js';
import { hideHelp, showHelp } from './help.js';
import { load, restart } from './loader.js';
import { Models, SMALL } from './models.js';
import { Settings } from './settings.js';
import { hideTrouble, showTrouble } from './trouble.js';
import { Writer } from './writer.js';

/** @typedef {import('./loader.js').Choice} Choice */

const query = new URLSearchParams(location.search);

/** @type {Killick | null} */
let engine = null;
/** What is loaded, or was last tried. */
let choice = SMALL;

const settings = new Settings(query, { onText: () => writer.startOver(), onModel: () => use(choice) });
const writer = new Writer({ settings, onChange: () => figures.change(), onTrouble: trouble, say });
const figures = new Figures(() => writer.columns);
const models = new Models({ onLoad: use, kv: () => settings.kv });

/**
 * The line that screen readers read out. Only what begins or ends is said, never each token.
 * @param {string} words
 */
function say(words) {
  byId('status').textContent = words;
}

/**
 * Loads a model in place of the one there is: two would need the memory of both.
 * @param {Choice} wanted
 */
async function use(wanted) {
  choice = wanted;
  hideTrouble();
  writer.stop();
  await writer.use(null);
  await engine?.close().catch(() => {});
  engine = null;
  showModel();
  say(`Loading ${wanted.name}.`);
  try {
    engine = await load(wanted, settings);
    engine.onLost = trouble;
    settings.fit(engine.model);
    await writer.use(engine);
    offerPrompt();
    showModel();
    say(`${wanted.name} is ready.${isSoftware(engine) ? ' This browser computes on the processor, not on a graphics device: it works, but slowly.' : ''}`);
  } catch (error) {
    showModel();
    if (/** @type {{ code?: string }} */ (error).code === 'aborted') say('Cancelled. What came of the download is kept.');
    else say('The model is not loaded.');
    trouble(error);
  }
  figures.draw();
}

/** A model that continues texts starts with words to continue, so that one key is enough to see it work. */
function offerPrompt() {
  const box = byId('prompt');
  const words = query.get('prompt') ?? 'The Lord is';
  if (box.value === '' && choice === SMALL) box.value = words;
  else if (box.value === words && choice !== SMALL) box.value = '';
  box.placeholder = writer.chat ? 'Ask something' : 'Words to go on with';
  writer.refresh();
}

/** @param {unknown} error */
function trouble(error) {
  showTrouble(error, {
    restart: engine ? again : undefined,
    retry: engine && writer.columns[0].text ? () => writer.startOver() : () => use(choice),
    choose: () => models.open(),
    small: choice === SMALL ? undefined : () => use(SMALL),
    kept: () => models.openKept(),
  });
}

/** A new device, the same model, the same text, and on with what was interrupted. */
async function again() {
  if (!engine) return;
  say('Making a new device and reading the text again.');
  writer.suspend();
  try {
    await restart(engine);
    engine.onLost = trouble;
    showModel();
    await writer.resume();
  } catch (error) {
    trouble(error);
  }
}

/**
 * The device is a program on the processor.
 * @param {Killick} engine
 */
function isSoftware({ device }) {
  return device.device_type === 'cpu';
}

/** What runs, and on what. */
function showModel() {
  byId('model-name').textContent = engine ? choice.name : 'none yet';
  byId('change-model').dataset.state = engine ? 'ready' : 'none';
  const facts = byId('device');
  const digest = byId('device-digest');
  if (!engine) {
    fill(facts);
    digest.textContent = '';
    return;
  }
  const { model, device } = engine;
  const software = isSoftware(engine);
  digest.textContent = software ? 'on the processor, so it is slow' : device.name;
  const row = (/** @type {string} */ term, /** @type {string} */ words) => make('div', {}, make('dt', { textContent: term }), make('dd', { textContent: words }));
  const kept = model.plan.precisions.map(({ precision }) => precision).join(' and ');
  fill(facts,
    software && make('p', { className: 'facts-note', textContent: 'This browser computes on the processor, not on a graphics device. It works, but slowly.' }),
    row('Device', device.name || 'the browser does not name it'),
    row('By way of', device.backend),
    row('Numbers', `weights are kept in ${kept} and computed with in 32 bits${device.f16 ? ', prompts in 16' : ''}`),
    row('Features', device.features.join(', ') || 'none, WebGPU’s baseline'),
    row('Kernels', device.family === 'software' ? 'those for processors' : 'those for graphics devices'),
    row('Model', `${model.format}, ${bytes(model.fileBytes)}`),
    row('On the device', `${bytes(model.plan.weightsBytes)} of weights, ${bytes(model.plan.kvBytes)} for the memory of a text, known before the first token`),
    ...model.notes.map((note) => row('Note', note)));
}

async function start() {
  say('Looking for a graphics device.');
  const support = await Killick.support();
  if (!support.ok) {
    showHelp(support, () => { hideHelp(); start(); });
    say('');
    return;
  }
  settings.offer16(support);
  const wanted = query.get('model');
  // A link may name a model, but a stranger's link starts no download: the reader sees the size first.
  if (wanted && wanted !== SMALL.name) {
    models.open(wanted === 'smollm2' ? 'smollm2' : 'address', wanted === 'smollm2' ? undefined : wanted);
    say('Choose a model to begin.');
    return;
  }
  await use(SMALL);
  const other = query.get('compare');
  if (other && engine) writer.compareWith(other);
}

if (query.has('test')) {
  Object.assign(window, { killickPage: { get engine() { return engine; }, destroyDevice: () => engine?.destroyDevice() } });
}

start().catch(trouble);
