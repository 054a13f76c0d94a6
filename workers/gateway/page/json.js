/*
 * JSON without loss. Numbers that JavaScript cannot hold, as many ids are, keep their digits on the way through the
 * page: a person who approves a call must not change an argument by looking at it.
 */

/** Whether this browser keeps such digits; where it does not, nobody may edit arguments. */
export const isLossless = typeof JSON.rawJSON === "function";

// Characters that cannot be seen, or that make text read other than it is.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb]/g;

const SHORT = 90;

/** The value of a JSON text. SyntaxError if it is none. */
export function parse(text) {
  return JSON.parse(text, (_key, value, context) =>
    typeof value === "number" && isLossless && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "")
      ? JSON.rawJSON(context.source)
      : value,
  );
}

/** A value as JSON text for people: indented, and with every invisible character spelt out. */
export function written(value) {
  return (JSON.stringify(value, null, 2) ?? "").replace(UNSEEN, escaped);
}

/** As `written`, on one line if it is short. */
export function compact(value) {
  const line = (JSON.stringify(value, null, 1) ?? "").replace(/\n\s*/g, " ").replace(UNSEEN, escaped);
  return line.length <= SHORT ? line : written(value);
}

/** A name or a sentence on one line, with every invisible character spelt out. */
export function plain(text) {
  return String(text ?? "").replace(UNSEEN, escaped);
}

function escaped(character) {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
