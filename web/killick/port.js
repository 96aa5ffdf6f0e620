import { asKillickError, KillickError } from './error.js';

/** The page's end of a worker: requests with progress on the way, which can be called off. */
export class Port {
  /** @type {((error: KillickError) => void) | null} */
  onLost = null;

  constructor() {
    // Written so that bundlers find the worker and take it along.
    this.worker = new Worker(new URL('./worker/worker.js', import.meta.url), { type: 'module', name: 'killick' });
    /** @type {Map<number, { resolve: (value: any) => void, reject: (error: any) => void, tell: (event: any) => void }>} */
    this.waiting = new Map();
    this.next = 1;
    /** @type {KillickError | null} */
    this.over = null;
    this.worker.addEventListener('message', ({ data }) => this.take(data));
    this.worker.addEventListener('error', (event) => {
      event.preventDefault();
      this.end(new KillickError('crashed', `the worker could not run: ${event.message || 'its file or the engine was not found'}`));
    });
  }

  /** @param {any} data */
  take({ id, value, error, event, lost }) {
    if (lost) {
      const fault = asKillickError(lost);
      const tell = this.onLost;
      this.onLost = null;
      tell?.(fault);
      return;
    }
    const waiting = this.waiting.get(id);
    if (!waiting) return;
    if (event) return waiting.tell(event);
    this.waiting.delete(id);
    if (error) waiting.reject(asKillickError(error));
    else waiting.resolve(value);
  }

  /**
   * @param {string} call @param {any} args @param {{ signal?: AbortSignal, tell?: (event: any) => void }} [options]
   * @returns {Promise<any>}
   */
  request(call, args, { signal, tell = () => {} } = {}) {
    if (this.over) return Promise.reject(this.over);
    if (signal?.aborted) return Promise.reject(new KillickError('aborted', 'called off'));
    const id = this.next++;
    const abort = () => this.worker.postMessage({ id, abort: true });
    signal?.addEventListener('abort', abort);
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, tell });
      try {
        this.worker.postMessage({ id, call, args });
      } catch (error) {
        this.waiting.delete(id);
        reject(new KillickError('bad-option', `an option can't be sent to the worker: ${/** @type {any} */ (error)?.message}`));
      }
    }).finally(() => signal?.removeEventListener('abort', abort));
  }

  /** Ends the worker; whoever still waits gets `error`. @param {KillickError} error */
  end(error) {
    this.over ??= error;
    this.worker.terminate();
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }
}
