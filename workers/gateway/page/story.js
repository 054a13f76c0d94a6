/*
 * What a run's events tell: its model turns, its tool calls with their attempts, its pauses. Draws nothing.
 */

// More of a tool's output is not kept here; the end of it is what people look for.
const LONGEST_OUTPUT = 100_000;

/** The story of one run, told event by event from the first on. Times are milliseconds; null is "not yet". */
export class Story {
  constructor(askedAt) {
    this.askedAt = askedAt;
    this.startedAt = null;
    this.endedAt = null;
    this.status = null;
    this.step = 0;
    /** Turns and calls in the order in which they began. */
    this.entries = [];
    this.pausedAt = null;
    this.events = 0;
    this.lastAt = null;
    /** Counts what changes the messages of the run. */
    this.chapters = 0;
    this._calls = new Map();
    this._turn = null;
  }

  /** The model turn that is under way, or null. */
  get turn() {
    return this._turn;
  }

  /** The calls, in the order in which the model asked for them. */
  get calls() {
    return [...this._calls.values()];
  }

  /** Takes in what happened next. An event that this page does not know changes nothing. */
  take(event) {
    const at = Date.parse(event.created_at);
    this.events += 1;
    this.lastAt = Math.max(this.lastAt ?? at, at);
    this[`_on${event.event}`]?.(event, at);
  }

  _onRunStarted(event, at) {
    this.startedAt ??= at;
    this.status = "RUNNING";
    this._open(event.step, at);
  }

  _onRunContent(event, at) {
    if (this._turn?.step !== event.step) this._open(event.step, at);
    this._turn.text += typeof event.content === "string" ? event.content : "";
    this._turn.firstAt ??= at;
  }

  _onRunPaused(_event, at) {
    this.status = "PAUSED";
    this.pausedAt = at;
    this._close(at, "asked");
  }

  _onRunContinued(event, at) {
    this.status = "RUNNING";
    this.pausedAt = this.endedAt = null;
    for (const call of this.calls) {
      // What a person let run is executed by the agent worker now, unless a pool has it.
      if (call.answered && call.isInline && !call.attempts.length && !call.done) this._begin(call, { attempt: 1 }, at);
    }
    if (event.voids_text) {
      const last = this.entries.findLast((entry) => entry.kind === "turn" && entry.step === event.step);
      if (last && last.outcome !== "failed") last.outcome = "void";
      this._close(at, "void");
      this._open(event.step, at);
    } else this._goOn(at);
  }

  _onToolCallStarted(event, at) {
    const { tool } = event;
    // A turn that seemed to be next had not begun: the batch before it has another call.
    if (this._turn && this._turn.step > tool.step && !this._turn.text) this._drop(this._turn);
    this._close(at, "asked");
    this.step = Math.max(this.step, tool.step);
    const call = this._call(tool.step, tool.tool_call_id, tool.tool_name, at);
    call.tool = tool;
    call.pool ??= tool.pool ?? null;
    const waits = tool.requires_confirmation || tool.requires_user_input || tool.requires_approval;
    call.isInline = !tool.external_execution_required;
    if (call.isInline && !waits && !call.attempts.length) this._begin(call, { attempt: 1 }, at);
  }

  _onToolCallExecuting(event, at) {
    const call = this._call(event.step, event.tool_call_id, event.tool_name, at);
    call.pool = event.pool;
    this._begin(call, event, at);
  }

  _onToolCallOutput(event, at) {
    const call = this._call(event.step, event.tool_call_id, event.tool_name, at);
    const attempt = call.attempts.find((one) => one.number === event.attempt) ?? this._begin(call, event, at);
    const text = attempt.output + event.content;
    attempt.isCut ||= text.length > LONGEST_OUTPUT;
    attempt.output = text.slice(-LONGEST_OUTPUT);
  }

  _onToolCallAnswered(event, at) {
    const call = this._call(event.step, event.tool_call_id, event.tool_name, at);
    call.answered = { at, by: event.answered_by ?? null, note: event.content ?? null };
    if (event.tool_args) call.changed = event.tool_args;
  }

  _onToolCallSettled(event, at) {
    const call = this._call(event.step, event.tool_call_id, event.tool_name, at);
    if (event.answered_by || event.answered_at) {
      call.answered ??= { at, by: event.answered_by ?? null, note: event.content ?? null };
    }
    this._settle(call, event.outcome, at, event);
  }

  _onToolCallCompleted(event, at) {
    this._done(event, at);
  }

  _onToolCallError(event, at) {
    this._done(event, at);
  }

  _onRunCompleted(event, at) {
    this._end("COMPLETED", at, "answered");
  }

  _onRunCancelled(event, at) {
    this._end("CANCELLED", at, "cancelled");
  }

  _onRunError(event, at) {
    this._end("ERROR", at, "failed");
  }

  _done({ tool }, at) {
    const call = this._call(tool.step, tool.tool_call_id, tool.tool_name, at);
    const wall = tool.metrics?.wall_seconds;
    const last = call.attempts.at(-1);
    // Inline calls of a batch are announced together and may be executed one after the other.
    if (call.isInline && last && last.to === null && wall) last.from = Math.max(last.from, at - 1000 * wall);
    if (call.settledAt === null) this._settle(call, tool.outcome, at, {});
    call.tool = tool;
    call.done = { at };
    this.chapters += 1;
    if (tool.answered_at) call.answered ??= { at: Date.parse(tool.answered_at), by: tool.answered_by, note: null };
    this._goOn(at);
  }

  _settle(call, outcome, at, event) {
    call.settledAt = at;
    call.outcome = outcome;
    const attempt = call.attempts.find((one) => one.number === event.attempt) ?? call.attempts.at(-1);
    if (attempt && attempt.to === null) Object.assign(attempt, { to: at, outcome, wall: event.wall_seconds ?? null });
  }

  _begin(call, event, at) {
    for (const before of call.attempts) {
      if (before.to === null && before.number !== event.attempt) Object.assign(before, { to: at, outcome: "repeated" });
    }
    const attempt = {
      number: event.attempt ?? 1, from: at, to: null, outcome: null, wall: null, output: "", isCut: false,
      worker: event.worker ?? null, level: event.sandbox_level ?? null, wait: event.queue_wait_seconds ?? null,
    };
    call.attempts.push(attempt);
    return attempt;
  }

  _call(step, id, name, at) {
    const key = `${step}/${id}`;
    let call = this._calls.get(key);
    if (!call) {
      call = {
        kind: "call", key, step, id, name, from: at, pool: null, tool: null, isInline: false, answered: null,
        changed: null, attempts: [], settledAt: null, outcome: null, done: null, endedAt: null,
      };
      this._calls.set(key, call);
      this.entries.push(call);
    }
    return call;
  }

  /** The next model turn begins once every call of the step has come back. */
  _goOn(at) {
    if (this._turn || this.endedAt !== null) return;
    const calls = this.calls.filter((call) => call.step === this.step);
    if (calls.every((call) => call.done)) this._open(this.step + 1, at);
  }

  _open(step, at) {
    this._close(at, "asked");
    this._turn = { kind: "turn", key: `turn ${this.entries.length}`, step, from: at, to: null, firstAt: null, text: "",
      outcome: null };
    this.entries.push(this._turn);
  }

  _close(at, outcome) {
    if (!this._turn) return;
    Object.assign(this._turn, { to: at, outcome: this._turn.outcome ?? outcome });
    this._turn = null;
    this.chapters += 1;
  }

  _drop(turn) {
    this.entries.splice(this.entries.indexOf(turn), 1);
    this._turn = null;
  }

  _end(status, at, outcome) {
    this._close(at, outcome);
    Object.assign(this, { status, endedAt: at, pausedAt: null });
    this.chapters += 1;
  }
}

/** Whom a call waits for, as `{ kind, since }`; null if for nobody. Kinds: approval, confirmation, input, result, pool. */
export function awaited(call) {
  const { tool } = call;
  if (!tool || call.done || call.settledAt !== null) return null;
  if (!call.answered) {
    if (tool.requires_approval) return { kind: "approval", since: call.from };
    if (tool.requires_confirmation) return { kind: "confirmation", since: call.from };
    if (tool.requires_user_input) return { kind: "input", since: call.from };
  }
  if (!tool.external_execution_required) return null;
  if (call.pool === null) return { kind: "result", since: call.from };
  const last = call.attempts.at(-1);
  return { kind: "pool", since: call.answered?.at ?? call.from, attempt: last ?? null };
}
