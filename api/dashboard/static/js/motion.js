/** Moves elements of the page without a jump: they glide from where they were, and keep the focus they have. */

const GLIDE_MS = 320;
const EASING = "cubic-bezier(0.2, 0, 0, 1)";

/** @returns {boolean} whether the reader wants no motion */
export function isCalm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/**
 * Makes a change to the document and lets these elements glide to where it puts them.
 * @param {Iterable<HTMLElement>} elements
 * @param {() => void} change
 */
export function glide(elements, change) {
  if (isCalm()) return change();
  const places = [...elements].map((element) => ({ element, from: element.getBoundingClientRect() }));
  for (const { element } of places) element.getAnimations().forEach((animation) => animation.cancel());
  change();
  const moves = places.map(({ element, from }) => ({ element, from, to: element.getBoundingClientRect() }));
  for (const { element, from, to } of moves) {
    if (isMove(from, to)) start(element, from.left - to.left, from.top - to.top);
  }
}

/** @param {DOMRect} from @param {DOMRect} to @returns {boolean} whether anybody sees it move */
function isMove(from, to) {
  if (!from.width || !to.width || (from.left === to.left && from.top === to.top)) return false;
  return [from, to].some((box) => box.bottom > 0 && box.top < innerHeight);
}

/** @param {HTMLElement} element @param {number} x @param {number} y */
function start(element, x, y) {
  element.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: GLIDE_MS, easing: EASING });
}

/**
 * Puts an element before another one (or last), with the focus inside it kept.
 * @param {HTMLElement} parent
 * @param {HTMLElement} element
 * @param {Element|null} before
 */
export function place(parent, element, before) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  if (element.isConnected && parent.isConnected && "moveBefore" in parent) parent.moveBefore(element, before);
  else parent.insertBefore(element, before);
  if (focused && focused !== document.activeElement) /** @type {HTMLElement} */ (focused).focus({ preventScroll: true });
}

/**
 * Brings the children of `parent` into this order, with as few moves as a change of one place needs.
 * @param {HTMLElement} parent
 * @param {readonly HTMLElement[]} wanted  all of its children, and perhaps new ones
 */
export function arrange(parent, wanted) {
  wanted.forEach((element, index) => {
    const there = parent.children[index] ?? null;
    if (there === element) return;
    if (there && there.nextElementSibling === element) place(parent, /** @type {HTMLElement} */ (there), null);
    else place(parent, element, there);
  });
}
