/*
 * The list of runs: the newest first, by status and agent, page by page, and up to date while somebody looks at it.
 */
import { ask } from "./api.js";
import { el, keyed, set, setText, show } from "./dom.js";
import { plain } from "./json.js";
import { linkState } from "./link_state.js";
import { timeElement } from "./time.js";
import { STATUSES, statusBadge, statusWord } from "./words.js";

// The list is asked for again and again: no stream tells of all runs, and one would cost every run a further write.
// One such request reads what is on the screen, and nothing is asked for while the tab is hidden.
const EVERY = 3000;
const AFTER_FAILURE = 8000;
const PAGE = 50;
const MOST_AT_ONCE = 200;

/** A view: `{ node, heading, use(filter), resume(), stop() }`. A filter holds `status` and `agent`, as the address does. */
export function listView() {
  const heading = el("h1", { tabindex: "-1" }, "Runs");
  const status = choice("Status", [["", "Any status"], ...STATUSES.map((one) => [one, statusWord(one)])]);
  const agent = choice("Agent", [["", "Any agent"]]);
  const form = el("form", { class: "filters", "aria-label": "Filter runs", onsubmit: (event) => event.preventDefault() }, status.node, agent.node);
  const body = el("tbody", { role: "rowgroup" });
  const rows = keyed(body, row);
  const table = el("table", { class: "runs", role: "table", "aria-label": "Runs, the newest first", hidden: true }, head(), body);
  const older = el("button", { type: "button", class: "more", hidden: true, onclick: () => more() }, "Show older runs");
  const empty = el("div", { class: "empty", hidden: true });
  const failure = el("p", { class: "callout bad", role: "status", hidden: true });
  const node = el("div", { class: "list" }, el("div", { class: "list-top" }, heading, form), failure, table, empty, older);
  let filter = new URLSearchParams();
  let runs = [];
  let next = null;
  let agents = null;
  let loading = null;
  let timer = null;
  let isStopped = true;

  form.addEventListener("change", () => {
    const wanted = new URLSearchParams();
    if (status.value()) wanted.set("status", status.value());
    if (agent.value()) wanted.set("agent", agent.value());
    location.hash = wanted.size ? `#/?${wanted}` : "#/";
  });

  async function load(limit, before = null) {
    const query = new URLSearchParams({ limit, ...(before ? { before } : {}) });
    for (const name of ["status", "agent"]) if (filter.get(name)) query.set(name, filter.get(name));
    return ask(`v1/runs?${query}`, { signal: loading.signal });
  }

  async function refresh() {
    clearTimeout(timer);
    if (isStopped || document.hidden) return;
    loading = new AbortController();
    const { signal } = loading;
    let wait = EVERY;
    try {
      const limit = Math.min(MOST_AT_ONCE, Math.max(PAGE, runs.length));
      const page = await load(limit);
      const isAll = page.next === null;
      // What was loaded by hand below the part that was read again stays as it was.
      const last = page.runs.at(-1);
      const fresh = new Set(page.runs.map((run) => run.run_id));
      const below = isAll || !last ? [] : runs.filter((run) => !fresh.has(run.run_id) && run.created_at <= last.created_at);
      if (!below.length) next = page.next;
      runs = [...page.runs, ...below];
      if (agents === null || !runs.length) agents = (await ask("v1/agents", { signal })).agents;
      linkState("live");
      fail(null);
      draw();
    } catch (error) {
      if (signal.aborted) return;
      wait = AFTER_FAILURE;
      linkState(error.status === 0 || error.status >= 500 ? "away" : null);
      fail(error);
      // Whoever would rather not give a key is not asked again every few seconds.
      if (error.status === 401) return;
    }
    if (!isStopped) timer = setTimeout(refresh, wait);
  }

  async function more() {
    const held = document.activeElement === older;
    older.disabled = true;
    try {
      const page = await load(PAGE, next);
      const have = new Set(runs.map((run) => run.run_id));
      runs = [...runs, ...page.runs.filter((run) => !have.has(run.run_id))];
      next = page.next;
      fail(null);
      draw();
    } catch (error) {
      fail(error);
    } finally {
      older.disabled = false;
      if (held) (older.hidden ? heading : older).focus();
    }
  }

  function fail(error) {
    const away = error?.status === 0 ? " Trying again every few seconds." : "";
    failure.replaceChildren(error ? error.message + away : "");
    if (error?.status === 401) failure.append(" ", el("button", { type: "button", onclick: () => refresh() }, "Enter a key"));
    show(failure, Boolean(error));
  }

  function draw() {
    rows(runs.map((run) => [run.run_id, run]));
    const names = new Set([...(agents ?? []), ...runs.map((run) => run.agent_name)]);
    agent.offer([...names].sort().map((name) => [name, plain(name)]));
    show(table, runs.length > 0);
    show(older, next !== null);
    show(empty, !runs.length);
    if (!runs.length) tellNext();
  }

  function tellNext() {
    const name = agents?.[0];
    const where = next === null ? "No run fits." : "None of the newest runs fits; older ones may.";
    const said = filter.size
      ? [el("p", {}, where), el("p", {}, el("a", { href: "#/" }, "Show all runs"))]
      : name
        ? [el("p", {}, "No runs yet. Submit the first one:"), el("pre", {}, `errandry submit ${plain(name)} "…"`)]
        : [el("p", {}, "No runs yet, and no agent worker is up. Start one, then submit a run:"), el("pre", {}, 'errandry up\nerrandry submit AGENT "…"')];
    if (empty.textContent !== said.map((one) => one.textContent).join("")) empty.replaceChildren(...said);
  }

  function onVisibility() {
    if (document.hidden) clearTimeout(timer);
    else refresh();
  }

  return {
    node,
    heading,
    use(wanted) {
      if (wanted.toString() === filter.toString()) return;
      filter = wanted;
      status.choose(filter.get("status") ?? "");
      agent.choose(filter.get("agent") ?? "");
      loading?.abort();
      [runs, next] = [[], null];
      if (!isStopped) refresh();
    },
    resume() {
      isStopped = false;
      document.title = "Runs - Errandry";
      document.addEventListener("visibilitychange", onVisibility);
      refresh();
    },
    stop() {
      isStopped = true;
      document.removeEventListener("visibilitychange", onVisibility);
      clearTimeout(timer);
      loading?.abort();
      linkState(null);
    },
  };
}

function head() {
  const names = ["Status", "Run", "Agent", "Details", "Created"];
  const cells = names.map((name) => el("th", { scope: "col", role: "columnheader" }, name));
  return el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...cells));
}

function row(run) {
  const badge = statusBadge();
  const link = el("a", { href: `#/runs/${encodeURIComponent(run.run_id)}`, class: "row-link" }, plain(run.input).trim() || run.run_id);
  const waits = el("div");
  const cell = (kind, ...children) => el("td", { role: "cell", class: kind }, ...children);
  const node = el(
    "tr", { role: "row" }, cell("status", badge.node), cell("input", link), cell("agent", plain(run.agent_name)),
    cell("waits", waits),
    cell("created", timeElement(Date.parse(run.created_at))),
  );
  return {
    node,
    update(given) {
      badge.update(given.status);
      setText(waits, waitsOf(given));
      set(waits, "data-person", given.waits_for.some((call) => call.for_person));
    },
  };
}

function waitsOf(run) {
  if (run.error) return plain(run.error);
  const places = new Map();
  for (const call of run.waits_for) {
    const place = call.for_person ? "a person" : `pool ${call.pool}`;
    places.set(place, [...(places.get(place) ?? []), plain(call.tool_name)]);
  }
  return [...places].map(([place, names]) => `Waits for ${place}: ${names.join(", ")}`).join("; ");
}

function choice(label, options) {
  const select = el("select", { "aria-label": label });
  const offer = (more) => {
    const there = new Set([...select.options].map((option) => option.value));
    select.append(...more.filter(([value]) => !there.has(value)).map(([value, word]) => el("option", { value }, word)));
  };
  offer(options);
  return {
    node: select,
    value: () => select.value,
    offer,
    choose(value) {
      offer([[value, plain(value)]]);
      select.value = value;
    },
  };
}
