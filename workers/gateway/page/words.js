/*
 * The words for what the page shows: statuses, outcomes, whom a call waits for. Colours follow the words, in the styles.
 */
import { el, set, setText } from "./dom.js";

export const STATUSES = ["PENDING", "RUNNING", "PAUSED", "COMPLETED", "ERROR", "CANCELLED"];
const STATUS_WORDS = {
  PENDING: "pending", RUNNING: "running", PAUSED: "paused", COMPLETED: "completed", ERROR: "error", CANCELLED: "cancelled",
};
const FINISHED = new Set(["COMPLETED", "ERROR", "CANCELLED"]);
const ROLES = { system: "Instructions", user: "User", assistant: "Model", tool: "Tool" };

/** Whether a run with this status goes no further by itself. */
export function isFinished(status) {
  return FINISHED.has(status);
}

export function statusWord(status) {
  return STATUS_WORDS[status] ?? String(status);
}

export function roleWord(role) {
  return ROLES[role] ?? String(role);
}

/** An outcome as a word for people. */
export function outcomeWord(outcome) {
  return String(outcome ?? "").replaceAll("_", " ");
}

/** The badge of a status: `{ node, update(status) }`. */
export function statusBadge() {
  const node = el("span", { class: "badge" });
  return {
    node,
    update(status) {
      set(node, "data-status", status);
      setText(node, statusWord(status));
    },
  };
}

/** What a call waits for: a person's approval, yes, input or result, or a pool. */
export function waitWords({ kind, pool }) {
  if (kind === "approval") return "a person’s approval";
  if (kind === "confirmation") return "a person’s yes or no";
  if (kind === "input") return "a person’s input";
  if (kind === "result") return "a result by hand";
  return pool ? `pool ${pool}` : "a worker";
}
