/*
 * Form fields for the arguments that a call asks a person for: one for each field of its schema, checked by its type.
 */
import { el, set, setText } from "./dom.js";
import { isLossless, parse, plain, written } from "./json.js";

let lastId = 0;

/** A label with its input and a place for what is wrong with it: `{ node, input, complain(text) }`; empty clears it. */
export function labelled(label, input, { hint = null } = {}) {
  const id = `field-${++lastId}`;
  input.id = id;
  const complaint = el("p", { class: "complaint", id: `${id}-complaint`, role: "alert" });
  const told = hint ? el("p", { class: "hint", id: `${id}-hint` }, hint) : null;
  set(input, "aria-describedby", [told?.id, complaint.id].filter(Boolean).join(" "));
  return {
    node: el("div", { class: "field" }, el("label", { for: id }, label), told, input, complaint),
    input,
    complain(text) {
      setText(complaint, text);
      set(input, "aria-invalid", text ? "true" : null);
    },
  };
}

/** A field of `user_input_schema`: `{ name, node, input, read() }`. `read` throws `RangeError` with what is wrong. */
export function typedField({ name, field_type: type, description, required, value }) {
  const kind = KINDS[type] ?? KINDS.any;
  const label = `${plain(name)}${required ? "" : " (may be left empty)"}`;
  const hint = [plain(description), kind.hint].filter(Boolean).join(" ");
  const field = labelled(label, kind.make(), { hint: hint || null });
  if (value !== null && value !== undefined) field.input.value = kind.write(value);
  set(field.input, "aria-required", required ? "true" : null);
  return {
    ...field,
    name,
    /** The value as it is sent; undefined if it is left out. */
    read() {
      const given = field.input.value;
      const isEmpty = type === "string" ? given === "" : given.trim() === "";
      if (isEmpty && required) throw new RangeError("This is needed.");
      return isEmpty ? undefined : kind.read(given.trim() === "" ? given : kind.trims ? given.trim() : given);
    },
  };
}

/** The JSON object in a text. `RangeError` says what is wrong with it. */
export function readObject(text) {
  const value = readJson(text);
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new RangeError('This is no JSON object; it begins with { and ends with }, as in {"name": "value"}.');
  }
  return value;
}

const area = () => el("textarea", { rows: "1", spellcheck: "false" });
const line = (mode) => () => el("input", { type: "text", inputmode: mode, autocomplete: "off" });
const readNumber = (pattern, wrong) => (text) => {
  if (!pattern.test(text)) throw new RangeError(wrong);
  const number = Number(text);
  // As it is written, where that is more than a number can hold.
  return isLossless && !Number.isSafeInteger(number) && /^-?\d+$/.test(text) ? JSON.rawJSON(text.replace(/^(-?)0+(?=\d)/, "$1")) : number;
};

const KINDS = {
  string: { make: area, write: String, read: (text) => text },
  integer: {
    make: line("numeric"), write: String, trims: true, hint: "A whole number.",
    read: readNumber(/^-?\d+$/, "This is no whole number; write it with digits only, as in 42."),
  },
  number: {
    make: line("decimal"), write: String, trims: true, hint: "A number.",
    read: readNumber(/^-?\d+(\.\d+)?([eE][+-]?\d{1,2})?$/, "This is no number; write it as in 42 or 4.2."),
  },
  boolean: {
    make: () => el("select", {}, ...[["", "choose"], ["true", "yes"], ["false", "no"]].map(([value, word]) => el("option", { value }, word))),
    write: String, read: (text) => text === "true",
  },
  array: {
    make: area, write: written, trims: true, hint: 'A list as JSON, as in ["a", "b"].',
    read(text) {
      const value = readJson(text);
      if (!Array.isArray(value)) throw new RangeError('This is no JSON list; it begins with [ and ends with ], as in ["a", "b"].');
      return value;
    },
  },
  object: { make: area, write: written, trims: true, hint: 'An object as JSON, as in {"a": 1}.', read: readObject },
  any: { make: area, write: written, trims: true, hint: 'Any JSON: text stands in quotes, as in "text".', read: readJson },
};

function readJson(text) {
  try {
    return parse(text);
  } catch (error) {
    throw new RangeError(`This is no JSON: ${error.message}`);
  }
}
