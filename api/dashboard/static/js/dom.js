/** DOM helpers. No state. */

/**
 * Returns the element of this id. Throws if index.html lacks it.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no element #${id}`);
  return element;
}

/**
 * Clones a template's first element; returns it with its `data-part` elements by name.
 * @param {string} templateId
 * @returns {{root: HTMLElement, parts: Record<string, any>}}
 */
export function clone(templateId) {
  const root = /** @type {HTMLElement} */ (byId(templateId).content.firstElementChild.cloneNode(true));
  /** @type {Record<string, any>} */
  const parts = {};
  for (const element of root.querySelectorAll("[data-part]")) {
    parts[/** @type {HTMLElement} */ (element).dataset.part ?? ""] = element;
  }
  return { root, parts };
}

/**
 * Sets text only if it differs, to avoid layout of unchanged cards.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Sets the symbol of icons.svg.
 * @param {SVGUseElement} use
 * @param {string} name
 */
export function setIcon(use, name) {
  const href = `static/icons.svg#${name}`;
  if (use.getAttribute("href") !== href) use.setAttribute("href", href);
}

/**
 * Scrolls to an element and focuses it, so that keyboard and screen reader follow.
 * @param {HTMLElement} element
 */
export function bringTo(element) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  element.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "center" });
  element.focus({ preventScroll: true });
}
