/** An error with a code that a program can act on (`ErrorCode` in index.d.ts). */
export class KillickError extends Error {
  /**
   * @param {import('./index.js').ErrorCode} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.name = 'KillickError';
    this.code = code;
  }
}

/**
 * Anything that was thrown, as one of these.
 * @param {any} thrown
 * @returns {KillickError}
 */
export function asKillickError(thrown) {
  if (thrown instanceof KillickError) return thrown;
  const message = thrown?.message ?? String(thrown);
  if (thrown?.name === 'AbortError') return new KillickError('aborted', message);
  if (thrown?.name === 'QuotaExceededError') return new KillickError('quota', `this browser's storage is full. Delete a kept model, or load without keeping (${message})`);
  return new KillickError(typeof thrown?.code === 'string' ? thrown.code : 'crashed', message);
}
