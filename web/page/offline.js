/**
 * The service worker: the page and the engine open without a network once they were opened with one. Models are kept elsewhere, by the
 * engine itself.
 *
 * The network goes first, so that a new version is seen at once; what it gave last is the answer where there is none.
 */

const KEPT = 'killick-page';
const scope = /** @type {any} */ (self);

/** All files of the site but the models; written when it is put together. */
const LIST = 'offline.json';

scope.addEventListener('install', (/** @type {any} */ event) => {
  scope.skipWaiting();
  event.waitUntil(keepAll());
});
scope.addEventListener('activate', (/** @type {any} */ event) => event.waitUntil(scope.clients.claim()));

scope.addEventListener('fetch', (/** @type {any} */ event) => {
  const { request } = event;
  const url = new URL(request.url);
  // Weights are large and asked for in parts; other sites are none of this page's business.
  const mine = url.origin === location.origin && request.method === 'GET' && !request.headers.has('range') && !/\.(safetensors|gguf)$/.test(url.pathname);
  if (mine) event.respondWith(answer(request));
});

async function keepAll() {
  const files = await (await fetch(LIST)).json();
  await (await caches.open(KEPT)).addAll(files);
}

/** @param {Request} request */
async function answer(request) {
  const kept = await caches.open(KEPT);
  // A query says what the page shall do; the page is the same.
  const key = request.mode === 'navigate' ? new URL(new URL(request.url).pathname, location.origin).href : request;
  try {
    const response = await fetch(request);
    if (response.ok && response.status === 200) await kept.put(key, response.clone());
    return response;
  } catch (error) {
    const before = await kept.match(key);
    if (before) return before;
    throw error;
  }
}
