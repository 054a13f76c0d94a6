/*
 * Makes elements and keeps lists of them up to date in place.
 * What a run says only ever becomes text here, never markup.
 */

/** An element with attributes; `on…` are listeners, false and null leave an attribute out. Children are nodes or text. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else set(element, name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The attribute as given, if it is not so already. True makes it empty, false takes it away, but for `aria-…`. */
export function set(element, name, value) {
  const isFlag = typeof value === "boolean" && !name.startsWith("aria-");
  const wanted = isFlag ? (value ? "" : null) : value === null || value === undefined ? null : String(value);
  if (element.getAttribute(name) === wanted) return;
  if (wanted === null) element.removeAttribute(name);
  else element.setAttribute(name, wanted);
}

/** The text as given, if it is not so already: a screen reader and a selection notice every change. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows or hides. Whoever has the focus in what is hidden finds it on the nearest heading. */
export function show(element, visible) {
  if (element.hidden === !visible) return;
  const held = !visible && element.contains(document.activeElement);
  element.hidden = !visible;
  if (held) refuge(element)?.focus();
}

/**
 * A list whose items come and go while people read it. `make(value)` gives `{ node, update }`; the function returned
 * takes `[key, value]` pairs. Items that stay are updated in place and not moved, so focus and selection stay, too.
 */
export function keyed(parent, make) {
  const shown = new Map();
  return (entries) => {
    const wanted = new Map(entries);
    let held = false;
    for (const [key, item] of shown) {
      if (wanted.has(key)) continue;
      held ||= item.node.contains(document.activeElement);
      item.node.remove();
      shown.delete(key);
    }
    let next = parent.firstElementChild;
    for (const [key, value] of wanted) {
      let item = shown.get(key);
      if (!item) shown.set(key, (item = make(value)));
      if (item.node === next) next = next.nextElementSibling;
      else parent.insertBefore(item.node, next);
      item.update?.(value);
    }
    if (held) refuge(parent)?.focus();
  };
}

/** Says it to screen readers, once. */
export function announce(text) {
  setText(document.getElementById("announcer"), text);
}

/** Runs `draw` once before the next frame, however often it is asked for. */
export function framed(draw) {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    const now = () => {
      due = false;
      draw();
    };
    // A hidden tab is given no frames.
    if (document.hidden) setTimeout(now, 250);
    else requestAnimationFrame(now);
  };
}

/** Whoever has lost the focus, because what held it is gone, finds it on the heading of the view. */
export function rescueFocus() {
  const held = document.activeElement;
  // What was hidden a moment ago may still be said to hold it.
  if (held && held !== document.body && held.checkVisibility()) return;
  document.querySelector("main h1[tabindex]")?.focus();
}

function refuge(element) {
  for (let place = element; place; place = place.parentElement) {
    const heading = place.querySelector(":scope > h1[tabindex], :scope > h2[tabindex]");
    if (heading && !place.hidden) return heading;
  }
  return document.querySelector("main h1[tabindex]");
}
