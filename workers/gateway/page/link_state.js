/*
 * Says in the page's bar whether what is shown is live.
 */
import { set, setText } from "./dom.js";

const WORDS = { live: "Live", away: "Reconnecting…", over: "Complete" };
const node = document.getElementById("link-state");

/** "live", "away", "over", or null for nothing to say. */
export function linkState(state) {
  set(node, "data-state", state);
  setText(node, WORDS[state] ?? "");
}
