// What the tests compare browsers with: the native program, and the table of tolerances.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..');

/** A variable that scripts/test.sh sets. */
export function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} must be set; run scripts/test.sh browser`);
  return value;
}

/** What the native program prints as JSON. */
export function native(...args) {
  return JSON.parse(execFileSync(setting('KILLICK_NATIVE'), [...args, '--json'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1 << 26 }));
}

/** The bound of a rule in docs/numerics.md, where all tolerances are. */
export function bound(rule) {
  const page = fs.readFileSync(path.join(root, 'docs', 'numerics.md'), 'utf8');
  const row = page.split('\n').map((line) => line.split('|').map((cell) => cell.trim())).find((cells) => cells[1] === rule);
  if (!row) throw new Error(`docs/numerics.md has no rule "${rule}"`);
  return Number(row[2]);
}
