/**
 * Killick: language models that remember through anchors, on WebGPU.
 *
 * All work is done in a worker; the page stays free. Bytes are bytes, times are milliseconds, positions are token counts from 0.
 */

/** What a text remembers. `anchor` keeps one entry a sentence, `full` everything. */
export type PolicyName = 'full' | 'window' | 'streaming' | 'sepllm' | 'anchor';

/** A policy, field by field; what is left out is as recorded with the model, or a default. */
export interface PolicyOptions {
  preset?: PolicyName;
  /** The newest tokens that a token sees, itself counted. */
  window?: number;
  /** The first tokens of a text, which never leave the cache. */
  sinks?: number;
  /** In a conversation: everything up to where the user first speaks never leaves the cache. */
  pinSystem?: boolean;
  /** The newest anchors that are kept. */
  maxAnchors?: number;
  /** The most tokens of a segment. */
  maxSegment?: number;
  /** How far back an anchor is seen. */
  maxDistance?: number;
  /** Tokens after which a text under `full` ends. */
  ctx?: number;
}

/** A picked file, bytes, or the address of a file. */
export type FileSource = Blob | Uint8Array | string;

/**
 * Where a model comes from:
 *
 * - `'killick-4m'`: the small anchor model that the package brings;
 * - an address that ends in `.gguf` or `.safetensors`;
 * - `'org/name'` or `'org/name/file.gguf'`: a model on a hub (see `LoadOptions.hub`);
 * - a picked file, or the files of a picked folder;
 * - the files by name.
 */
export type ModelSource = string | File | FileList | File[] | ModelFiles;

export interface ModelFiles {
  /** What messages call it; by default the name of its weights. */
  name?: string;
  /** Plain file name to content. */
  files: Record<string, FileSource>;
  /** What each file that is fetched must hash to, in hex. A file without one is not checked. */
  sha256?: Record<string, string>;
}

/** LoRA adapters that are merged into the weights: the same forms as a model, with a scale (1 by default). */
export interface AdapterSource {
  source: ModelSource;
  scale?: number;
}

export type Dtype = 'file' | 'f32' | 'f16' | 'q8_0' | 'q4_0';

/** `f32` is the default, `f16` takes half its memory, and `q8_0`, bytes under a scale for each head, little more than a quarter. */
export type KvFormat = 'f32' | 'f16' | 'q8_0';

export interface OpenOptions {
  model: ModelSource;
  adapters?: AdapterSource[];
  /** How weights are kept: `file`, the default, keeps a GGUF's blocks and makes f16 of the rest. */
  dtype?: Dtype;
  /** Where `org/name` is looked up; `https://huggingface.co` by default. */
  hub?: string;
  /** Keep what is fetched in this browser (the default), so that a second start needs no network. */
  cache?: boolean;
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
}

export interface LoadOptions extends OpenOptions {
  /** The policy of texts that name none; by default the one recorded with the model, else `full`. */
  policy?: PolicyName | PolicyOptions;
  /** How keys and values are kept. */
  kv?: KvFormat;
  device?: DeviceOptions;
}

export interface DeviceOptions {
  /** No optional feature and WebGPU's default limits, whatever the adapter offers. */
  baseline?: boolean;
  /** The kernels to run; those that suit the adapter where it is not given. */
  family?: 'gpu' | 'software';
  /**
   * Computes the products of prompts in 16-bit floats, `false` by default. Only with the `gpu` kernels on a device with `shader-f16`; on
   * others `load` fails with `bad-option`. It may be faster or slower: a page cannot measure that, and nobody has yet.
   */
  f16?: boolean;
}

export interface Progress {
  /** `download`: bytes from the network; `check`: bytes read again to resume; `load`: bytes on the device. */
  phase: 'download' | 'check' | 'load';
  /** The file, while it is fetched. */
  file?: string;
  done: number;
  total: number;
  /** Bytes a second over the last seconds; absent until it is known. */
  speed?: number;
  /** Until the end of this phase, if it goes on so. */
  msLeft?: number;
}

/** What a model is, and what it would take; read from its headers alone. */
export interface ModelInfo {
  name: string;
  /** `gguf v3`, `safetensors`. */
  format: string;
  /** Layers, sizes, context and constants, by the names of `killick inspect --json`. */
  config: Record<string, unknown> & { n_layers: number; hidden_size: number; vocab_size: number; context_len: number };
  /** Whether it brings a chat template: then `Text.say` and `chat.completions` work, else it continues texts. */
  chat: boolean;
  /** The preset of its own policy, and that policy in full. */
  policy: Record<string, unknown> & { preset: PolicyName };
  /** What may be worth knowing about the policy. */
  notes: string[];
  /** Bytes of the files. */
  fileBytes: number;
  /** Bytes on the device: weights, the cache of one text, everything for one text; and how many matrices are kept in which form. */
  plan: { weightsBytes: number; kvBytes: number; totalBytes: number; precisions: { precision: string; weights: number }[] };
}

/** Whether it will fit, before anything large is fetched. */
export interface Fit {
  model: ModelInfo;
  /** Bytes that are not in the cache yet. */
  downloadBytes: number;
  /** Room in this browser's storage; `null` where the browser does not say. */
  storageLeft: number | null;
  /** Empty where nothing stands against it. */
  problems: string[];
}

export interface DeviceInfo {
  name: string;
  backend: string;
  /** `discrete`, `integrated`, `virtual`, `cpu`, `other`; browsers tell only `cpu` from the rest. */
  device_type: string;
  /** The optional features that the device has and the engine can use. */
  features: string[];
  max_binding_bytes: number;
  family: 'gpu' | 'software';
  /** Whether products of prompts are computed in 16-bit floats: `DeviceOptions.f16`. */
  f16: boolean;
}

export interface GenerateOptions {
  /** 256 by default. */
  maxTokens?: number;
  /**
   * 0 takes the likeliest token. By default this and the following are what the model's files recommend, else 0, and 0.7 with a `topP` of
   * 0.95 in a conversation.
   */
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repeatPenalty?: number;
  /** A draw is a function of the seed and the position; random by default. */
  seed?: number;
  /** Texts that end it, which are not given out. */
  stop?: string[];
  /** Go on after the token that ends a text. */
  ignoreEos?: boolean;
  /** Told while a long prompt is read: tokens read so far, and of how many. */
  onPrompt?: (read: number, of: number) => void;
  /** Stops it within the batches under way; what came is kept, and the iteration ends without an error. */
  signal?: AbortSignal;
}

/** A token of a text. */
export interface Token {
  id: number;
  position: number;
  /** The text that it completes; often its own, sometimes none. */
  text: string;
}

/** What a generation gives out. */
export interface Piece {
  /** Absent for text that was held back and comes out at the end. */
  token?: { id: number; position: number };
  text: string;
}

export type StopReason = 'eos' | 'stop' | 'max_tokens' | 'context_full' | 'position_limit' | 'segment_limit' | 'cancelled';

/** Pieces as they come. `result` says, after the last piece, why it ended and how long it took. */
export interface Generation extends AsyncIterable<Piece> {
  readonly result: Promise<GenerationResult>;
  /** As the signal does. */
  stop(): void;
}

export interface GenerationResult {
  reason: StopReason;
  seed: number;
  promptTokens: number;
  tokens: number;
  /** From the call to the first token. */
  firstTokenMs: number;
  /** From the first token to the last. */
  decodeMs: number;
}

/** What the cache of a text holds. Ranges are positions `[from, to)`. */
export interface Memory {
  policy: PolicyName;
  /** Tokens of the text. */
  length: number;
  /** The first tokens, which never leave. */
  pinned: [number, number];
  /** The newest tokens, which are kept in full. */
  live: [number, number];
  /** The anchors kept, oldest first: where each lies and where its sentence begins. */
  anchors: { pos: number; start: number }[];
  kv: KvReport;
  /** Bytes of one entry in all layers. */
  entryBytes: number;
  /** What a full cache would hold now. */
  fullBytes: number;
  /** Tokens that still fit. */
  remaining: number;
}

/** As `killick generate --json` prints it. */
export interface KvReport {
  seen: number;
  live: number;
  peak_live: number;
  format: KvFormat;
  bytes_live: number;
  bytes_allocated: number;
  anchors: number;
  forced_anchors: number;
  dropped_anchors: number;
  segments: number;
}

export interface TextOptions {
  policy?: PolicyName | PolicyOptions;
  /** For a model that chats: said before everything else. */
  system?: string;
  /** Whether it is a conversation; by default where the model chats. `false`: a plain text, which is continued. */
  chat?: boolean;
}

/**
 * One text, with a memory of its own. One thing at a time: a second call waits for the first. Only `memory` and `anchors` are answered
 * while a text is written or read, between two tokens.
 */
export interface Text {
  readonly policy: Record<string, unknown> & { preset: PolicyName };
  /** All tokens so far, also after a restart of the device. */
  readonly tokens: readonly Token[];
  /** Reads text: the prompt, or what comes next. */
  append(text: string, options?: { signal?: AbortSignal; onPrompt?: (read: number, of: number) => void }): Promise<Token[]>;
  /** Goes on with the text. */
  generate(options?: GenerateOptions): Generation;
  /** Asks, and gives out the answer. Only where the model chats. */
  say(message: string, options?: GenerateOptions): Generation;
  /** Puts a question and its answer into the conversation without generating anything. */
  tell(message: string, answer: string): Promise<void>;
  /** Takes back what came since the last `say`, in a plain text since the last `append`; false if there is nothing to take back. */
  undo(): Promise<boolean>;
  /** Forgets the text. */
  reset(): Promise<void>;
  memory(): Promise<Memory>;
  /** The anchors kept, each with the sentence that it stands for. */
  anchors(): Promise<{ pos: number; start: number; text: string }[]>;
  /** Frees its memory. */
  close(): Promise<void>;
}

export interface Score {
  ids: number[];
  /** Negative log-likelihood of each token but the first, in nats. */
  nll: number[];
  /** `null` for a single token, which predicts nothing. */
  mean_nll: number | null;
  perplexity: number | null;
  kv: KvReport;
}

export interface Stats {
  /** Bytes of this engine's WebAssembly memory; it never shrinks. */
  wasmBytes: number;
  /** Bytes of device memory: weights with what all texts share, and the texts. */
  modelBytes: number;
  textBytes: number;
  /** What the device was asked for so far. */
  counters: { dispatches: number; submits: number; readbacks: number; uploads: number; pipelines: number; bind_groups: number; buffers: number };
}

/** One test of a model, in llama-bench's terms. */
export interface BenchTest {
  /** Prompt tokens timed, of each text. */
  nPrompt?: number;
  /** Generated tokens timed, of each text. */
  nGen?: number;
  /** Tokens in the cache before. */
  nDepth?: number;
  /** Texts that go on at the same time. */
  batch?: number;
}

/** The rows of `killick bench -o json`, which `killick bench --compare` takes. */
export interface BenchReport {
  rows: Record<string, unknown>[];
  markdown: string;
  /** What is to be said about them: a spread above 10 %, a kernel that is wrong. */
  remarks: string[];
}

export interface BenchRun {
  done: number;
  all: number;
  what: string;
}

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

/** The fields of OpenAI's chat completions that mean something here. */
export interface ChatRequest {
  messages: ChatMessage[];
  stream?: boolean;
  max_tokens?: number;
  temperature?: number;
  top_p?: number;
  stop?: string | string[];
  seed?: number;
  signal?: AbortSignal;
}

export interface ChatCompletion {
  id: string;
  object: 'chat.completion';
  created: number;
  model: string;
  choices: { index: 0; message: ChatMessage; finish_reason: 'stop' | 'length' }[];
  usage: { prompt_tokens: number; completion_tokens: number; total_tokens: number };
}

export interface ChatCompletionChunk {
  id: string;
  object: 'chat.completion.chunk';
  created: number;
  model: string;
  choices: { index: 0; delta: Partial<ChatMessage>; finish_reason: 'stop' | 'length' | null }[];
}

export class Killick {
  /** Opens a device in a worker, fetches a model, and puts it on the device. */
  static load(options: LoadOptions): Promise<Killick>;
  /** Reads only a model's headers and says whether it will fit. */
  static inspect(options: OpenOptions & Pick<LoadOptions, 'policy' | 'kv'>): Promise<Fit>;
  /** Whether this browser can run it at all, and what to do if not. */
  static support(): Promise<Support>;
  /** The models kept in this browser. */
  static readonly cache: ModelCache;

  readonly model: ModelInfo;
  readonly device: DeviceInfo;
  readonly chat: {
    completions: {
      create(request: ChatRequest & { stream: true }): Promise<AsyncIterable<ChatCompletionChunk>>;
      create(request: ChatRequest & { stream?: false }): Promise<ChatCompletion>;
    };
  };
  /** A text of its own. */
  text(options?: TextOptions): Promise<Text>;
  /** A prompt, gone on with in a text that is forgotten afterwards. */
  generate(prompt: string, options?: GenerateOptions & { policy?: PolicyName | PolicyOptions }): Generation;
  /** How likely a text is under a policy. */
  score(text: string | number[], options?: { policy?: PolicyName | PolicyOptions; path?: string }): Promise<Score>;
  stats(): Promise<Stats>;
  /** Times the model as `killick bench` does. Nothing else should run on the page meanwhile. */
  bench(options: { tests: BenchTest[]; policies?: (PolicyName | PolicyOptions)[]; repetitions?: number; onRun?: (run: BenchRun) => void }): Promise<BenchReport>;
  /** Times kernels, each after a check against its twin on the processor. `filter`: texts that its name has to have. */
  benchKernels(options?: { shape?: string; filter?: string[]; repetitions?: number; onRun?: (run: BenchRun) => void }): Promise<BenchReport>;
  /** After `device-lost` or `crashed`: a new worker and device, the model from the cache, and every text read again from its tokens. */
  restart(onProgress?: (progress: Progress) => void): Promise<void>;
  /** Called once when the device is lost or the worker crashes. */
  onLost: ((error: KillickError) => void) | null;
  /** Ends the worker and frees everything. */
  close(): Promise<void>;
  /** For tests: loses the device, as a driver reset would. */
  destroyDevice(): Promise<void>;
}

export interface Support {
  ok: boolean;
  /** `no-webgpu`, `insecure` (the page is not on https or localhost), `no-adapter`. */
  code?: 'no-webgpu' | 'insecure' | 'no-adapter';
  /** A sentence for the reader, with what to do in this browser. */
  help?: string;
  /** Whether models can be kept (OPFS). */
  storage: boolean;
  f16: boolean;
  /** The adapter is a program on the CPU. */
  software: boolean;
}

export interface CachedModel {
  name: string;
  files: { name: string; bytes: number; complete: boolean }[];
  bytes: number;
  /** When it was last loaded, in ms since 1970. */
  used: number;
}

export interface ModelCache {
  list(): Promise<CachedModel[]>;
  delete(name: string): Promise<void>;
  clear(): Promise<void>;
  /** Bytes that this site keeps and may keep; `null` where the browser does not say. */
  estimate(): Promise<{ used: number; quota: number } | null>;
}

export type ErrorCode =
  | 'no-webgpu'      // the browser has none
  | 'no-adapter'     // it has, and offers no device
  | 'device-lost'    // restart() helps
  | 'out-of-memory'  // on the device
  | 'bad-model'      // broken or not supported
  | 'bad-option'     // an argument
  | 'integrity'      // bytes that are not those expected; nothing of them is used or kept
  | 'network'        // could not be fetched; what came is kept, and the next try goes on there
  | 'quota'          // the browser's storage is full
  | 'aborted'
  | 'crashed'        // a fault of this library; restart() helps
  | 'closed';

export class KillickError extends Error {
  readonly code: ErrorCode;
}
