/*
 * Where on the timeline a moment lies. Long waits are drawn short, so that what was done in between can be seen.
 */

// A wait is as wide as this part of all that was done, unless it is shorter anyway; many waits share what they get.
const WAIT_SHARE = 0.8;
const WIDEST_WAIT = 0.2;
const SHORTEST_WAIT = 1500;

/** The scale for the busy intervals `[from, to]` between `start` and `end`. */
export function scaleOf(start, end, busy) {
  const spans = spansOf(start, end, busy);
  const worked = spans.reduce((sum, span) => sum + (span.isBusy ? span.to - span.from : 0), 0);
  const waits = spans.filter((span) => !span.isBusy && span.to - span.from > SHORTEST_WAIT);
  const share = Math.min(WIDEST_WAIT, WAIT_SHARE / Math.max(1, waits.length));
  const longest = Math.max(SHORTEST_WAIT, worked * share);
  let width = 0;
  for (const span of spans) {
    const length = span.to - span.from;
    span.isCut = !span.isBusy && length > longest;
    span.at = width;
    span.width = span.isCut ? longest : length;
    width += span.width;
  }
  const whole = Math.max(width, 1);
  const place = (time) => {
    const span = spans.find((one) => time <= one.to) ?? spans.at(-1);
    const part = span.to > span.from ? (Math.min(Math.max(time, span.from), span.to) - span.from) / (span.to - span.from) : 0;
    return (span.at + part * span.width) / whole;
  };
  return { start, end, place, cuts: spans.filter((span) => span.isCut), spans };
}

function spansOf(start, end, busy) {
  const spans = [];
  let reached = start;
  for (const [from, to] of busy.filter(([from, to]) => to >= from).sort((a, b) => a[0] - b[0])) {
    if (from > reached) spans.push({ from: reached, to: from, isBusy: false });
    if (to > reached) {
      const last = spans.at(-1);
      if (last?.isBusy && from <= last.to) last.to = to;
      else spans.push({ from: Math.max(from, reached), to, isBusy: true });
      reached = to;
    }
  }
  if (end > reached || !spans.length) spans.push({ from: reached, to: Math.max(end, reached), isBusy: false });
  return spans;
}
