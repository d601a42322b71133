/** Lay out a run's nodes on a time axis: one lane per thread, one bar per node. */

export const LANE = 26;
export const TOP = 24;
export const BAR = 18;

/** Return the number in "Thread-10 (worker)", then the text: the order of lanes. */
const laneKey = (thread) => [Number(thread.match(/\d+/)?.[0] ?? 0), thread];

const compare = (one, other) => (one[0] - other[0]) || (one[1] < other[1] ? -1 : one[1] > other[1] ? 1 : 0);

/** Return bars, lanes and seconds of the nodes that ran; null if none did. Times are seconds since the first start. */
export function layOut(nodes) {
  const ran = nodes.filter((node) => node.started_at && Number.isFinite(Date.parse(node.started_at)));
  if (!ran.length) return null;
  const starts = ran.map((node) => Date.parse(node.started_at) / 1000);
  const begin = starts.reduce((least, start) => Math.min(least, start), Infinity);
  const threads = [...new Set(ran.map((node) => node.thread_id || "main"))].sort((a, b) => compare(laneKey(a), laneKey(b)));
  const laneOf = new Map(threads.map((thread, index) => [thread, index]));
  const bars = ran
    .map((node, index) => {
      const start = starts[index] - begin;
      return { node, lane: laneOf.get(node.thread_id || "main"), start, end: start + (node.execution_time || 0) };
    })
    .sort((one, other) => one.start - other.start || one.lane - other.lane);
  const seconds = bars.reduce((most, bar) => Math.max(most, bar.end), 0.01);
  return { bars, lanes: threads.map(laneName), seconds };
}

// dbt calls a thread "Thread-1 (worker)".
const laneName = (thread) => thread.split(" ")[0].replace("-", " ");

/** Return the seconds of the ticks of an axis: round numbers, about `wanted` of them. */
export function ticks(seconds, wanted = 6) {
  const rough = seconds / wanted;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const clock = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600];
  const decimal = [1, 2, 5, 10].map((factor) => unit * factor);
  const step = (rough > 1 ? clock : decimal).find((one) => one >= rough * 0.999) ?? decimal.find((one) => one >= rough);
  return Array.from({ length: Math.floor(seconds / step + 1e-9) + 1 }, (_, index) => Number((index * step).toPrecision(12)));
}

/** Return a tick as text: "0 s", "0.5 s", "2:30", "1:02:00". */
export function tickLabel(seconds) {
  if (seconds < 60) return `${seconds} s`;
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.round(seconds) % 60];
  const [hours, ...rest] = parts;
  const text = rest.map((part) => String(part).padStart(2, "0")).join(":");
  return hours ? `${hours}:${text}` : text.replace(/^0/, "");
}
