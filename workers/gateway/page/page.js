/*
 * The page: which view the address asks for, and where the focus goes from one to the next.
 */
import { listView } from "./list.js";
import { runView } from "./run.js";

const main = document.getElementById("main");
const list = listView();
let view = null;
let opened = null;

function route() {
  const found = /^#\/runs\/(.+)$/.exec(location.hash);
  const wanted = found ? null : new URLSearchParams(location.hash.split("?")[1] ?? "");
  // The list that was left is the list one comes back to, with all that was loaded.
  if (wanted) list.use(wanted);
  if (wanted && view === list) return;
  const isFirst = view === null;
  view?.stop();
  view = wanted ? list : runView((opened = decoded(found[1])));
  main.replaceChildren(view.node);
  view.resume();
  if (!isFirst) moveFocus();
}

function moveFocus() {
  if (view !== list) window.scrollTo(0, 0);
  const left = view === list ? [...main.querySelectorAll("a.row-link")].find((link) => link.hash === `#/runs/${opened}`) : null;
  (left ?? view.heading).focus();
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

document.getElementById("skip").addEventListener("click", () => main.focus());
window.addEventListener("hashchange", route);
route();
