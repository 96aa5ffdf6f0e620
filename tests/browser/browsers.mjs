// Browsers without a screen and without a driver: a page fetches what it shall do and posts what came of it.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { serve } from '../../web/serve.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
/** A job that takes longer has hung. */
const JOB_MS = 240_000;

const CHROMIUM = ['--headless', '--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--enable-unsafe-webgpu', '--enable-webgpu-developer-features'];
/** Without the first there is no WebGPU in Firefox ESR, without the second no device of software. */
const FIREFOX = {
  'dom.webgpu.enabled': true, 'gfx.webgpu.ignore-blocklist': true, 'datareporting.policy.dataSubmissionEnabled': false,
  'browser.shell.checkDefaultBrowser': false, 'toolkit.telemetry.reportingpolicy.firstRun': false, 'app.update.enabled': false,
};

const starts = {
  chromium: (url, profile) => ({ command: '/usr/bin/chromium', args: [...CHROMIUM, `--user-data-dir=${profile}`, url], env: {} }),
  firefox: (url, profile) => {
    const lines = Object.entries(FIREFOX).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${value});`);
    fs.writeFileSync(path.join(profile, 'user.js'), lines.join('\n'));
    return { command: '/usr/bin/firefox-esr', args: ['--headless', '--no-remote', '--profile', profile, url], env: { MOZ_HEADLESS: '1' } };
  },
};

/** A browser on the site in `site` that does one job after the other. `options` are the server's. */
export class Browser {
  static async open(kind, site, { files = {}, fault = () => null, env = {}, jobMs = JOB_MS, ...options } = {}) {
    const browser = new Browser();
    browser.jobMs = jobMs;
    const tests = { '/test/engine.html': path.join(here, 'pages', 'engine.html'), '/test/engine.js': path.join(here, 'pages', 'engine.js') };
    browser.server = await serve(site, {
      files: { ...tests, ...files },
      fault: (request, at) => (/^\/test\/(job|report|loaded)$/.test(at) ? browser.talk(request, at) : fault(request, at)),
      ...options,
    });
    browser.url = browser.server.url;
    browser.profile = fs.mkdtempSync(path.join(os.tmpdir(), `killick-${kind}-`));
    const { command, args, env: own } = starts[kind](`${browser.url}test/engine.html`, browser.profile);
    browser.process = spawn(command, args, { env: { ...process.env, ...own, ...env }, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    browser.said = '';
    for (const stream of [browser.process.stdout, browser.process.stderr]) stream.on('data', (data) => (browser.said = (browser.said + data).slice(-20_000)));
    return browser;
  }

  /** The page's question, answered when there is a job; or its report. */
  async talk(request, at) {
    if (at === '/test/job') {
      const job = await new Promise((resolve) => {
        if (this.job) resolve(this.job);
        else this.give = resolve;
      });
      [this.job, this.give] = [null, null];
      return { body: JSON.stringify(job) };
    }
    if (at === '/test/loaded') {
      this.loaded?.();
      return { body: 'null' };
    }
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    this.done(JSON.parse(Buffer.concat(chunks).toString()));
    return { body: 'null' };
  }

  /** Does a job; what it gives, or its error. A problem that the page noticed on the way is an error too. `loaded`: the model is there. */
  async run(name, options = {}, { loaded } = {}) {
    this.loaded = loaded;
    const report = new Promise((resolve, reject) => {
      this.done = resolve;
      const timer = setTimeout(() => reject(new Error(`${name}: nothing after ${this.jobMs} ms; the browser said:\n${this.said}`)), this.jobMs);
      timer.unref();
    });
    const job = { name, ...options };
    if (this.give) this.give(job);
    else this.job = job;
    const { value, error, problems } = await report;
    if (error) throw new Error(`${name}: ${error.code}: ${error.message}\n${error.stack}`);
    if (problems.length) throw new Error(`${name}: the page noticed: ${problems.join('; ')}`);
    return value;
  }

  async close() {
    const over = new Promise((resolve) => this.process.once('exit', resolve));
    // With its helpers, which a browser that is killed alone would leave behind.
    try {
      process.kill(-this.process.pid, 'SIGKILL');
    } catch {
      // It ended by itself.
    }
    await over;
    await this.server.close();
    fs.rmSync(this.profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}
