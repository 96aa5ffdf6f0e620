/** Lets the page open without a network next time. Where the browser has nothing for that, the page works all the same. */

// Registered when the page is at rest: the first visit should not be slower for it.
addEventListener('load', () => navigator.serviceWorker?.register(new URL('../offline.js', import.meta.url)).catch(() => {}));
