// A server for the static site: the headers that its `_headers` file asks for, byte ranges, and faults that tests ask for.
//
// node serve.mjs FOLDER [PORT] serves until it is ended; tests import `serve`.

import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const TYPES = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8', '.json': 'application/json', '.wasm': 'application/wasm', '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2', '.png': 'image/png', '.webmanifest': 'application/manifest+json',
};

/** The rules of a `_headers` file: a path, where `*` stands for anything, and under it what is sent. */
function readRules(folder) {
  const file = path.join(folder, '_headers');
  if (!fs.existsSync(file)) return [];
  const rules = [];
  for (const line of fs.readFileSync(file, 'utf8').split('\n')) {
    if (!line.trim() || line.startsWith('#')) continue;
    const header = /^\s+([^:]+):\s*(.*)$/.exec(line);
    if (header) rules.at(-1)?.headers.push([header[1], header[2].trim()]);
    else rules.push({ of: new RegExp(`^${line.trim().split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&')).join('.*')}$`), headers: [] });
  }
  return rules;
}

/**
 * @param {string} folder
 * @param {{ port?: number, files?: Record<string, string>, fault?: (request: http.IncomingMessage, at: string) => any }} [options]
 *   `files`: further paths and the files they lead to. `fault(request, path)` may answer `{ status }`, `{ cutAfter: bytes }`,
 *   `{ slow: bytes a second }`, `{ flip: offset }`, `{ noRange: true }`, `{ body, type }`; anything else is served as it is.
 */
export async function serve(folder, { port = 0, files = {}, fault = () => null } = {}) {
  const rules = readRules(folder);
  const log = [];
  const server = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    const at = decodeURIComponent(pathname);
    log.push({ path: at, range: request.headers.range ?? null, method: request.method });
    for (const { of, headers } of rules) if (of.test(at)) for (const [name, value] of headers) response.setHeader(name, value);
    response.setHeader('cache-control', 'no-cache');
    const wanted = (await fault(request, at)) ?? {};
    if (wanted.status) return response.writeHead(wanted.status).end();
    if (wanted.body !== undefined) return response.writeHead(200, { 'content-type': wanted.type ?? 'application/json' }).end(wanted.body);
    const inside = path.join(folder, at.endsWith('/') ? `${at}index.html` : at);
    const file = files[at] ?? (inside.startsWith(path.join(folder, path.sep)) ? inside : null);
    const stat = file && fs.statSync(file, { throwIfNoEntry: false });
    if (!stat?.isFile()) return response.writeHead(404).end('not found');
    response.setHeader('content-type', TYPES[path.extname(file)] ?? 'application/octet-stream');
    response.setHeader('accept-ranges', 'bytes');
    response.setHeader('etag', `"${stat.size}-${Math.trunc(stat.mtimeMs)}"`);
    const range = wanted.noRange ? null : /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const from = range ? Number(range[1]) : 0;
    const to = Math.min(range?.[2] ? Number(range[2]) : Infinity, stat.size - 1);
    if (range && from >= stat.size) return response.writeHead(416, { 'content-range': `bytes */${stat.size}` }).end();
    if (range) response.setHeader('content-range', `bytes ${from}-${to}/${stat.size}`);
    response.writeHead(range ? 206 : 200, { 'content-length': Math.max(0, to - from + 1) });
    if (request.method === 'HEAD' || stat.size === 0) return response.end();
    let sent = 0;
    for await (const chunk of fs.createReadStream(file, { start: from, end: to, highWaterMark: 256 << 10 })) {
      const begins = from + sent;
      if (wanted.flip !== undefined && wanted.flip >= begins && wanted.flip < begins + chunk.length) chunk[wanted.flip - begins] ^= 1;
      if (wanted.cutAfter !== undefined && begins + chunk.length > wanted.cutAfter) return response.destroy();
      if (response.destroyed) return;
      sent += chunk.length;
      if (!response.write(chunk)) await new Promise((resolve) => response.once('drain', resolve).once('close', resolve).setMaxListeners(0));
      if (wanted.slow) await new Promise((resolve) => setTimeout(resolve, (chunk.length / wanted.slow) * 1000));
    }
    response.end();
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}/`;
  return { url, log, close: () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve))) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder, port = '8080'] = process.argv.slice(2);
  if (!folder) {
    console.error('usage: node serve.mjs FOLDER [PORT]');
    process.exit(2);
  }
  const { url } = await serve(folder, { port: Number(port) });
  console.log(`Killick's page: ${url}   (Ctrl-C ends it)`);
}
