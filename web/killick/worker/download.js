/**
 * Fetching files: into this browser's storage where it can be kept, else into a Blob. Each file is hashed while it arrives; a cut
 * download is gone on with where it stopped.
 */

import { KillickError, asKillickError } from '../error.js';

/** Bytes written between two flushes: what a crash may lose. */
const FLUSH_BYTES = 16 << 20;
/** Bytes read at a time when the beginning of a file is hashed again. */
const CHECK_BYTES = 4 << 20;
/** Waits before another try after a cut, in milliseconds. */
const RETRIES = [500, 2000, 5000];

/**
 * @typedef {{ update(bytes: Uint8Array): void, finish(): string }} Hash
 * @typedef {(progress: { phase: 'download' | 'check', file: string, done: number, total: number }) => void} Tell
 * @typedef {{ name: string, url: string, sha256?: string, size?: number, optional?: boolean }} Wanted
 */

/** A file of the store that is written from its beginning on, or gone on with. */
class KeptTarget {
  /** @param {import('./store.js').Kept} kept @param {string} name */
  constructor(kept, name) {
    this.kept = kept;
    this.name = name;
    this.unflushed = 0;
  }

  async open() {
    this.access = await this.kept.writer(this.name);
    return this.access.getSize();
  }

  /** @param {number} at @param {number} length */
  read(at, length) {
    const bytes = new Uint8Array(length);
    this.access.read(bytes, { at });
    return bytes;
  }

  /** @param {Uint8Array} bytes @param {number} at */
  write(bytes, at) {
    let written = 0;
    // A full disk may take a part.
    while (written < bytes.length) {
      const more = this.access.write(bytes.subarray(written), { at: at + written });
      if (!more) throw new DOMException('the write was cut short', 'QuotaExceededError');
      written += more;
    }
    this.unflushed += bytes.length;
    if (this.unflushed >= FLUSH_BYTES) {
      this.access.flush();
      this.unflushed = 0;
    }
  }

  empty() {
    this.access.truncate(0);
  }

  close() {
    this.access?.flush();
    this.access?.close();
    this.access = null;
  }
}

/** Where nothing can be kept: parts of a Blob, which the browser may put on the disk. */
class BlobTarget {
  /** @type {Blob} */
  blob = new Blob();
  /** @type {Uint8Array[]} */
  parts = [];
  held = 0;

  async open() {
    return 0;
  }

  read() {
    return new Uint8Array();
  }

  /** @param {Uint8Array} bytes */
  write(bytes) {
    this.parts.push(bytes.slice());
    this.held += bytes.length;
    if (this.held >= FLUSH_BYTES) this.fold();
  }

  fold() {
    this.blob = new Blob([this.blob, .../** @type {any[]} */ (this.parts)]);
    [this.parts, this.held] = [[], 0];
  }

  empty() {
    [this.blob, this.parts, this.held] = [new Blob(), [], 0];
  }

  close() {
    this.fold();
  }
}

/**
 * Fetches a file into a target. Whatever happens, what the target then holds is the beginning of the file.
 *
 * @param {Wanted} wanted
 * @param {KeptTarget | BlobTarget} target
 * @param {{ etag: string | null, size: number | null }} known of an earlier download; filled in
 * @param {() => Hash} newHash
 * @param {Tell} tell
 * @param {AbortSignal} signal
 */
async function fetchInto(wanted, target, known, newHash, tell, signal) {
  const { name: file, url } = wanted;
  let done = await target.open();
  let hash = newHash();
  try {
    const whole = wanted.size ?? known.size;
    if (whole !== null && whole !== undefined && done > whole) {
      target.empty();
      done = 0;
    }
    for (let at = 0; at < done; ) {
      if (signal.aborted) throw new KillickError('aborted', 'called off');
      const bytes = target.read(at, Math.min(CHECK_BYTES, done - at));
      hash.update(bytes);
      at += bytes.length;
      tell({ phase: 'check', file, done: at, total: whole ?? done });
    }
    for (let attempt = 0; ; attempt++) {
      try {
        if (done > 0 && done === whole) break;
        const response = await ask(url, done, signal);
        const { from, size } = extent(response, url);
        const etag = response.headers.get('etag');
        // Another file than the one begun, or a server that always sends the whole.
        const other = (known.etag && etag && known.etag !== etag) || (known.size !== null && size !== null && known.size !== size);
        if (done > 0 && (from !== done || other)) {
          target.empty();
          [done, hash] = [0, newHash()];
          if (from !== 0) {
            await response.body?.cancel();
            [known.etag, known.size] = [null, null];
            continue;
          }
        }
        [known.etag, known.size] = [etag, size];
        const total = size ?? wanted.size ?? 0;
        const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
        for (;;) {
          const { done: over, value } = await reader.read();
          if (over) break;
          target.write(value, done);
          hash.update(value);
          done += value.length;
          attempt = 0;
          tell({ phase: 'download', file, done, total: Math.max(total, done) });
        }
        if (size !== null && done < size) throw new TypeError('the connection was closed early');
        known.size = done;
        break;
      } catch (error) {
        if (signal.aborted) throw new KillickError('aborted', 'called off');
        // fetch() says no more of a network's faults than that they are TypeErrors.
        if (!(error instanceof TypeError) || attempt >= RETRIES.length) throw network(error, wanted, done);
        await pause(RETRIES[attempt], signal);
      }
    }
  } finally {
    target.close();
  }
  const found = hash.finish();
  if (wanted.sha256 && found !== wanted.sha256.toLowerCase()) {
    throw new KillickError('integrity', `${file} is not what it should be: its SHA-256 is ${found}, expected is ${wanted.sha256}. Nothing of it was used or kept`);
  }
  if (wanted.size !== undefined && known.size !== wanted.size) {
    throw new KillickError('integrity', `${file} has ${known.size} bytes, expected are ${wanted.size}. Nothing of it was used or kept`);
  }
}

/** @param {any} error @param {Wanted} wanted @param {number} done */
function network(error, wanted, done) {
  if (!(error instanceof TypeError)) return error;
  const host = new URL(wanted.url).host;
  const kept = done > 0 ? `; the ${done} bytes that came are kept, and the next try goes on there` : '';
  return new KillickError('network', `${wanted.name}: ${host} can't be reached, or doesn't let pages of other sites read it${kept}`);
}

/** @param {string} url @param {number} from @param {AbortSignal} signal */
async function ask(url, from, signal) {
  // A plain range needs no permission of its own from another site's server.
  const headers = from > 0 ? { range: `bytes=${from}-` } : undefined;
  const response = await fetch(url, { headers, signal, cache: 'no-store' });
  if (response.ok) return response;
  // Asked for what lies behind the end: what there is of the file is not its beginning.
  if (response.status === 416 && from > 0) return fetch(url, { signal, cache: 'no-store' });
  const why = { 401: 'it asks for a login', 403: 'it forbids it', 404: 'there is no such file' }[response.status] ?? `status ${response.status}`;
  throw new KillickError('network', `${url}: the server does not give the file (${why})`);
}

/** Where the answer begins, and how large the whole file is. @param {Response} response @param {string} url */
function extent(response, url) {
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '');
  if (response.status === 206 && range) return { from: Number(range[1]), size: range[2] === '*' ? null : Number(range[2]) };
  if (response.status === 206) throw new KillickError('network', `${url}: the server sends a part and does not say which`);
  // A length that a page of another site may not see, or that counts what was compressed on the way.
  const length = response.headers.get('content-encoding') ? null : response.headers.get('content-length');
  return { from: 0, size: length === null ? null : Number(length) };
}

/** @param {number} ms @param {AbortSignal} signal */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve(undefined)), { once: true });
  });
}

/**
 * Fetches what is wanted of a model, less what is kept already.
 *
 * @param {Wanted[]} wanted
 * @param {import('./store.js').Kept | null} kept where to keep it, if anywhere
 * @param {() => Hash} newHash
 * @param {Tell} tell
 * @param {AbortSignal} signal
 * @returns {Promise<Map<string, Blob>>}
 */
export async function obtain(wanted, kept, newHash, tell, signal) {
  const files = new Map();
  const record = kept && (await kept.record());
  for (const file of wanted) {
    const before = record?.files[file.name];
    const same = before && before.url === file.url && (file.size === undefined || before.size === file.size);
    if (same && before.complete) {
      const blob = await kept?.file(file.name);
      if (blob && blob.size === before.size && (!file.sha256 || before.sha256 === file.sha256)) {
        files.set(file.name, blob);
        continue;
      }
    }
    const known = { etag: same ? before.etag : null, size: same ? before.size : null };
    if (kept && !same) await kept.remove(file.name);
    const target = kept ? new KeptTarget(kept, file.name) : new BlobTarget();
    const note = async (/** @type {boolean} */ complete) => {
      if (!kept || !record) return;
      record.files[file.name] = { url: file.url, ...known, sha256: file.sha256, complete };
      await kept.write(record);
    };
    try {
      await note(false);
      await fetchInto(file, target, known, newHash, tell, signal);
      await note(true);
    } catch (thrown) {
      const error = asKillickError(thrown);
      if (error.code === 'integrity' && kept && record) {
        await kept.remove(file.name);
        delete record.files[file.name];
        await kept.write(record);
      } else {
        await note(false).catch(() => {});
      }
      if (file.optional && error.code === 'network') continue;
      throw error;
    }
    files.set(file.name, kept ? await kept.file(file.name) : /** @type {BlobTarget} */ (target).blob);
  }
  if (kept && record) {
    // What an earlier version of the model had and this one has not.
    for (const name of Object.keys(record.files)) {
      if (files.has(name)) continue;
      delete record.files[name];
      await kept.remove(name);
    }
    record.used = Date.now();
    record.whole = true;
    await kept.write(record);
  }
  return files;
}
