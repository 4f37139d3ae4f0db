/** Moves elements of the page without a jump: they glide from where they were, and keep the focus they have. */

export const GLIDE_MS = 320;
const EASING = "cubic-bezier(0.2, 0, 0, 1)";

/** @returns {boolean} whether the reader wants no motion */
export function isCalm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/**
 * Makes a change to the document and lets these elements glide to where it puts them. In the frame of the change a
 * plain transform holds each where it was, which is what keeps browsers from counting it as a shift of the layout; an
 * animation from the start would not. Not for use while a glide is under way: see GLIDE_MS.
 * @param {Iterable<HTMLElement>} elements
 * @param {() => void} change
 */
export function glide(elements, change) {
  if (isCalm()) return change();
  const places = [...elements].map((element) => ({ element, from: element.getBoundingClientRect() }));
  change();
  const moves = places.map(({ element, from }) => ({ element, from, to: element.getBoundingClientRect() }));
  const seen = moves.filter(({ from, to }) => isMove(from, to));
  for (const { element, from, to } of seen) {
    element.style.transition = "none";
    element.style.transform = `translate(${from.left - to.left}px, ${from.top - to.top}px)`;
  }
  if (seen.length) requestAnimationFrame(() => requestAnimationFrame(() => release(seen.map(({ element }) => element))));
}

/** @param {DOMRect} from @param {DOMRect} to @returns {boolean} whether anybody sees it move */
function isMove(from, to) {
  if (!from.width || !to.width || (from.left === to.left && from.top === to.top)) return false;
  return [from, to].some((box) => box.bottom > 0 && box.top < innerHeight);
}

/** @param {HTMLElement[]} elements */
function release(elements) {
  for (const { style } of elements) {
    style.transition = `transform ${GLIDE_MS}ms ${EASING}`;
    style.transform = "";
  }
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
