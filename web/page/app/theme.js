// Runs before the first paint, as a plain script, so that a chosen theme does not flash the other one first.
// The choice is `light`, `dark`, or none: then the page follows the system.
(() => {
  const KEY = 'killick-theme';
  const root = document.documentElement;
  const system = matchMedia('(prefers-color-scheme: dark)');

  /** Storage may be forbidden; then the choice lives as long as the page. */
  function stored() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  }

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === 'dark' : system.matches;
  }

  /** @param {HTMLButtonElement} button */
  function label(button) {
    const next = isDark() ? 'light' : 'dark';
    button.setAttribute('aria-label', `Use ${next} colours`);
    button.title = `Use ${next} colours`;
    button.dataset.shows = next;
  }

  const choice = stored();
  if (choice === 'light' || choice === 'dark') root.dataset.theme = choice;

  document.addEventListener('DOMContentLoaded', () => {
    const button = /** @type {HTMLButtonElement} */ (document.getElementById('theme'));
    label(button);
    system.addEventListener('change', () => label(button));
    button.addEventListener('click', () => {
      root.dataset.theme = isDark() ? 'light' : 'dark';
      try {
        localStorage.setItem(KEY, root.dataset.theme);
      } catch {
        // Kept for this visit only.
      }
      label(button);
    });
  });
})();
