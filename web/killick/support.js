/** Whether this browser can run the engine, and what its user can do if not. */

/** @returns {Promise<import('./index.js').Support>} */
export async function support() {
  const storage = typeof navigator !== 'undefined' && !!navigator.storage?.getDirectory;
  const none = { ok: false, storage, f16: false, software: false };
  if (!globalThis.isSecureContext) {
    return { ...none, code: 'insecure', help: 'Browsers give WebGPU only to pages on https or localhost. Open this page there.' };
  }
  const gpu = /** @type {any} */ (navigator).gpu;
  if (!gpu) return { ...none, code: 'no-webgpu', help: missing(navigator.userAgent) };
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' }).catch(() => null);
  if (!adapter) return { ...none, code: 'no-adapter', help: noAdapter(navigator.userAgent) };
  return { ok: true, storage, f16: adapter.features.has('shader-f16'), software: adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter ?? false };
}

/** @param {string} agent */
function missing(agent) {
  if (/Firefox\//.test(agent)) {
    return /Windows|Mac OS/.test(agent)
      ? 'Firefox has WebGPU from version 141 on Windows and 145 on macOS. Update it.'
      : 'In this Firefox WebGPU is off. Open about:config, set dom.webgpu.enabled to true, and restart it.';
  }
  if (/Chrome\//.test(agent)) {
    return /Linux/.test(agent) && !/Android/.test(agent)
      ? 'On Linux, open chrome://flags, enable "Unsafe WebGPU Support" and "Vulkan", and restart the browser.'
      : 'This browser is too old. Chrome and Edge have WebGPU from version 113, on Android from 121.';
  }
  if (/Safari\//.test(agent)) return 'Safari has WebGPU from version 26 on. Update the system, or use Chrome or Firefox.';
  return 'This browser has no WebGPU. Chrome, Edge, Firefox and Safari have it in their newest versions.';
}

/** @param {string} agent */
function noAdapter(agent) {
  const general = 'The browser has WebGPU and offers no graphics device. Check that hardware acceleration is switched on in its settings, and that the graphics driver is up to date.';
  if (/Firefox\//.test(agent)) return `${general} In about:config, gfx.webgpu.ignore-blocklist set to true lets Firefox use a driver that it does not know.`;
  if (/Chrome\//.test(agent)) return `${general} chrome://gpu says why; chrome://flags has "Unsafe WebGPU Support".`;
  return general;
}
