/** Animates position changes of elements, and keeps their focus. */

const GLIDE_MS = 320;
const EASING = "cubic-bezier(0.2, 0, 0, 1)";

/** @returns {boolean} whether the reader wants no motion */
export function isCalm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/**
 * Animates one change at a time. In the frame of the change, a transform holds each element at its old position, so that
 * browsers do not count a layout shift; an element that is already animated would be counted.
 */
export class Glider {
  /** @type {HTMLElement[]} */
  #moving = [];
  #held = false;

  /** Whether something moves, or did when this was asked last (and so in the frame that is on screen). @returns {boolean} */
  isBusy() {
    if (this.#held) return true;
    const wasMoving = this.#moving.length > 0;
    this.#moving = this.#moving.filter((element) => element.getAnimations().length > 0);
    return wasMoving;
  }

  /**
   * Applies a DOM change and animates these elements to their new positions. Not during an animation.
   * @param {Iterable<HTMLElement>} elements
   * @param {() => void} change
   */
  glide(elements, change) {
    if (isCalm()) return change();
    const places = [...elements].map((element) => ({ element, from: element.getBoundingClientRect() }));
    change();
    const moves = places.map(({ element, from }) => ({ element, from, to: element.getBoundingClientRect() }));
    const seen = moves.filter(({ from, to }) => isMove(from, to));
    for (const { element, from, to } of seen) {
      element.style.transition = "none";
      element.style.transform = `translate(${from.left - to.left}px, ${from.top - to.top}px)`;
    }
    this.#moving = seen.map(({ element }) => element);
    this.#held = seen.length > 0;
    if (this.#held) requestAnimationFrame(() => requestAnimationFrame(() => this.#release()));
  }

  #release() {
    this.#held = false;
    for (const { style } of this.#moving) {
      style.transition = `transform ${GLIDE_MS}ms ${EASING}`;
      style.transform = "";
    }
  }
}

/** @param {DOMRect} from @param {DOMRect} to @returns {boolean} whether anybody sees it move */
function isMove(from, to) {
  if (!from.width || !to.width || (from.left === to.left && from.top === to.top)) return false;
  return [from, to].some((box) => box.bottom > 0 && box.top < innerHeight);
}

/**
 * Inserts an element before another one (or last) and keeps the focus inside it.
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
 * Reorders the children of `parent` with a minimal number of moves.
 * @param {HTMLElement} parent
 * @param {readonly HTMLElement[]} wanted  all children, and possibly new ones
 */
export function arrange(parent, wanted) {
  wanted.forEach((element, index) => {
    const there = parent.children[index] ?? null;
    if (there === element) return;
    if (there && there.nextElementSibling === element) place(parent, /** @type {HTMLElement} */ (there), null);
    else place(parent, element, there);
  });
}
