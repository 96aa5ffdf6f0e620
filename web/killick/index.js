// What programs import; index.d.ts says what it is.
export { Killick } from './engine.js';
export { KillickError } from './error.js';
