/** The two things that every part of the page does with the document. Text goes in as text, never as HTML. */

/** @typedef {Node | string | null | undefined | false} Child what is not there is left out */

/**
 * The element of this id.
 * @param {string} id
 * @returns {any} whatever kind of element the page gave this id
 */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * A new element. Properties that the element has are set on it, `on…` are listeners, the rest are attributes.
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {...Child} children
 * @returns {any} the element
 */
export function make(tag, properties = {}, ...children) {
  const element = /** @type {any} */ (document.createElement(tag));
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.startsWith('aria') && name !== 'list') element[name] = value;
    else element.setAttribute(name, String(value));
  }
  element.append(...shown(children));
  return element;
}

/**
 * Puts other children in place of those there are.
 * @param {Element} element
 * @param {...Child} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...shown(children));
}

/**
 * @param {Child[]} children
 * @returns {(Node | string)[]}
 */
function shown(children) {
  return children.filter((child) => child instanceof Node || typeof child === 'string');
}
