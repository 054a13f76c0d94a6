/*
 * The buttons that act on a whole run: cancel, after a question, and retry.
 */
import { ask } from "./api.js";
import { announce, el, rescueFocus, show } from "./dom.js";
import { sender, sending } from "./sending.js";
import { isFinished } from "./words.js";

const dialog = document.getElementById("cancel-dialog");
const form = document.getElementById("cancel-form");
const fields = document.getElementById("cancel-fields");
const reason = document.getElementById("cancel-reason");
const complaint = document.getElementById("cancel-complaint");
let cancelling = null;

/** The buttons of a run: `{ node, update(status) }`. `onDone` is called once something was done, with whether that was a retry. */
export function actions(runId, onDone) {
  const path = `v1/runs/${encodeURIComponent(runId)}`;
  const cancel = el("button", { type: "button", class: "danger", onclick: () => question(path, onDone) }, "Cancel run…");
  const retry = el("button", { type: "button", class: "primary", onclick: () => again() }, "Retry");
  const controls = sender(el("div", { class: "buttons" }, retry, cancel));
  controls.node.classList.add("actions");

  async function again() {
    const done = await controls.send(() => ask(`${path}/retry`, { method: "POST" }));
    if (!done) return;
    announce("The run goes on from where it failed.");
    onDone(true);
  }
  return {
    node: controls.node,
    update(status) {
      show(cancel, !isFinished(status));
      show(retry, status === "ERROR");
    },
  };
}

function question(path, onDone) {
  cancelling = { path, onDone };
  reason.value = "";
  complaint.textContent = "";
  dialog.showModal();
  document.getElementById("cancel-keep").focus();
}

dialog.addEventListener("close", rescueFocus);
document.getElementById("cancel-keep").addEventListener("click", () => dialog.close());
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { path, onDone } = cancelling;
  const work = () => ask(`${path}/cancel`, { method: "POST", body: { reason: reason.value } });
  const done = await sending(fields, complaint, work);
  if (!done) return;
  dialog.close();
  announce(done.cancelled ? "The run is cancelled." : "The run had ended before.");
  onDone(false);
});
