// Executes the calls of one pool, fetched over HTTP. Needs Node 18 or newer and no package; ends with Ctrl-C.
//   ERRANDRY_KEY=ek_… node executor.mjs http://gateway:8700 remote
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

// Your tools. What they return, or throw, is what the model reads; once `signal` is aborted they should stop.
const tools = {
  count_letters: ({ text }) => ({ letters: text.length, words: text.split(/\s+/).filter(Boolean).length }),
  wait: async ({ seconds }, signal) => (await sleep(seconds * 1000, null, { signal }), `waited ${seconds} s`),
};

const [gateway, pool] = process.argv.slice(2);
const executor = `${hostname().replace(/[^A-Za-z0-9_.-]/g, "-")}:${process.pid}`;
const headers = { "Content-Type": "application/json" };
if (process.env.ERRANDRY_KEY) headers.Authorization = `Bearer ${process.env.ERRANDRY_KEY}`;

// The answer; null where there is nothing more to be said. A gateway that is away is asked again, in the same words.
async function post(path, body) {
  for (;;) {
    const request = { method: "POST", headers, body: JSON.stringify(body) };
    const answer = await fetch(gateway + path, request).catch(() => ({ status: 503 }));
    if (answer.status === 200) return answer.json();
    if ([204, 404, 409].includes(answer.status)) return null;
    if (answer.status < 500) throw new Error(await answer.text());
    await sleep(2000);
  }
}

async function execute({ tool_name, arguments: given, timeout_seconds, lease, lease_seconds, path }) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort("timed_out"), timeout_seconds * 1000);
  const beat = setInterval(async () => {
    const standing = (await post(`${path}/heartbeat`, { lease }))?.standing ?? "lost";
    if (standing !== "held") stop.abort(standing);
  }, (lease_seconds * 1000) / 3);
  let outcome, content;
  try {
    if (!Object.hasOwn(tools, tool_name)) throw new Error(`This executor has no tool named ${tool_name}.`);
    [content, outcome] = [(await tools[tool_name](given, stop.signal)) ?? "", "succeeded"];
  } catch (error) {
    [content, outcome] = [String(error), stop.signal.aborted ? stop.signal.reason : "failed"];
  }
  clearTimeout(timer);
  if (outcome === "cancelled") await post(`${path}/release`, { lease });
  else if (outcome !== "lost") await post(`${path}/settle`, { lease, outcome, content });
  clearInterval(beat);
}

for (;;) {
  const call = await post(`/v1/pools/${pool}/claim`, { executor, wait_seconds: 30 });
  if (call) await execute(call);
}
