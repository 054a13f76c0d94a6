/*
 * Times and durations in words. Reckons by the gateway's clock: that of the device may be wrong.
 */
import { el, setText } from "./dom.js";

const ABSOLUTE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
// Less is within what a header of whole seconds can tell.
const LEAST_OFFSET = 2000;
let offset = 0;

/** Takes note of the `Date` header of an answer that has just come. */
export function noteServerTime(header) {
  const found = Date.parse(header ?? "") - Date.now();
  if (!Number.isNaN(found)) offset = Math.abs(found) > LEAST_OFFSET ? found : 0;
}

/** What the time is, in milliseconds. */
export function now() {
  return Date.now() + offset;
}

/** A length of time in one or two units: `19 ms`, `1.2 s`, `3 min 12 s`, `2 h 5 min`, `3 d 4 h`. */
export function duration(milliseconds) {
  const ms = Math.max(0, milliseconds);
  if (ms < 995) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (seconds < 600) return both(Math.floor(Math.round(seconds) / 60), "min", Math.round(seconds) % 60, "s");
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 24 * 60) return both(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(minutes / 60);
  return both(Math.floor(hours / 24), "d", hours % 24, "h");
}

/** How long ago, roughly: what is read at a glance. */
export function ago(time) {
  const seconds = Math.max(0, (now() - time) / 1000);
  if (seconds < 3) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

/** The whole date and time, where the reader is. */
export function absolute(time) {
  return ABSOLUTE.format(time);
}

/** A `<time>` that goes on reading right by itself, with the whole date as its title. */
export function timeElement(time) {
  return el("time", { datetime: new Date(time).toISOString(), title: absolute(time) }, ago(time));
}

setInterval(() => {
  if (document.hidden) return;
  for (const element of document.querySelectorAll("time")) setText(element, ago(Date.parse(element.dateTime)));
}, 1000);

function both(large, largeUnit, small, smallUnit) {
  return small ? `${large} ${largeUnit} ${small} ${smallUnit}` : `${large} ${largeUnit}`;
}
