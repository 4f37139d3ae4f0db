/** The page of one call. */

import { byId, setText } from "./dom.js";

export class CallPage {
  /** Shows the call that the address names, or the wall. @param {import("./router.js").Route} route */
  show(route) {
    const isCall = route.page === "call";
    byId("call").hidden = !isCall;
    byId("home").hidden = isCall;
    if (isCall) setText(byId("call-title"), route.stream);
  }
}
