// The engine's worker is a module that imports others, and it finds its files beside itself: so it is not bundled beforehand.
export default {
  base: './',
  worker: { format: 'es' },
  optimizeDeps: { exclude: ['killick'] },
};
