/** Small charts: durations of runs as bars, trends as lines. */

import { html, svg } from "./dom.js";
import { secondsBetween } from "./format.js";
import { tickLabel, ticks } from "./layout.js";
import { runSeconds } from "./run_view.js";
import { kindOf, signOf } from "./status.js";

const HEIGHT = 170;
const BOTTOM = 34;
const LEFT = 56;
const MIN_STEP = 18;
const MAX_STEP = 40;
// Pixels between two dates.
const DATE = 56;

/** Return a chart with a bar per run, its time in the queue above it; runs: oldest first. */
export function durationChart(runs, describe) {
  const bars = runs.map((run) => ({ run, took: runSeconds(run) ?? 0, queued: secondsBetween(run.created_at, run.started_at) ?? 0 }));
  const most = Math.max(0.1, ...bars.map(({ took, queued }) => took + queued));
  const perSecond = (HEIGHT - BOTTOM - 12) / most;
  const base = HEIGHT - BOTTOM;
  const step = Math.max(MIN_STEP, Math.min(MAX_STEP, Math.floor(900 / runs.length)));
  const width = LEFT + Math.max(runs.length * step, 240) + 12;
  const grid = ticks(most, 3).flatMap((second) => {
    const y = base - second * perSecond;
    return [svg("line", { class: "grid", x1: LEFT, x2: width, y1: y, y2: y }), svg("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, tickLabel(second))];
  });
  let day = "";
  let dated = -Infinity;
  const columns = bars.map(({ run, took, queued }, index) => {
    const x = LEFT + index * step;
    const height = Math.max(took * perSecond, 2);
    const kind = kindOf(run.outcome);
    const date = new Date(run.started_at ?? run.created_at ?? run.where?.at);
    const label = Number.isNaN(date.getTime()) ? "" : date.toLocaleDateString(undefined, { month: "short", day: "numeric" });
    const isNew = label !== day && x - dated >= DATE;
    if (isNew) [day, dated] = [label, x];
    return svg("g", {}, svg("title", {}, describe(run)),
      queued * perSecond > 1 && svg("rect", { class: "queue", x: x + 2, y: base - height - queued * perSecond, width: step - 4, height: queued * perSecond }),
      svg("rect", { class: `bar ${kind}`, x: x + 2, y: base - height, width: step - 4, height, rx: 2 }),
      kind !== "success" && svg("text", { x: x + step / 2, y: base + 12, "text-anchor": "middle" }, signOf(run.outcome)),
      isNew && svg("text", { x: x + 2, y: base + 28 }, label));
  });
  const label = `Durations of ${runs.length} runs, oldest first`;
  const chart = html("div", { class: "chart", tabindex: 0, role: "region", "aria-label": label },
    svg("svg", { width, height: HEIGHT, role: "img", "aria-label": `${label}: ${bars.map(({ took }) => took.toFixed(0)).join(", ")} seconds` }, grid, columns));
  // The newest run is at the right end.
  new ResizeObserver(() => { chart.scrollLeft = chart.scrollWidth; }).observe(chart);
  const item = (className, text) => html("li", {}, svg("svg", { width: 18, height: 12, "aria-hidden": "true" }, svg("rect", { class: className, x: 1.5, y: 1.5, width: 15, height: 9, rx: 2 })), text);
  return html("div", {}, chart, html("ul", { class: "legend chart", "aria-label": "Legend" },
    [...new Set(bars.map(({ run }) => run.outcome))].map((outcome) => item(`bar ${kindOf(outcome)}`, `${signOf(outcome)} ${outcome ?? "unknown"}`)),
    bars.some(({ queued }) => queued >= 1) && item("queue", "queued in dbt Cloud")));
}

/** Return a line through numbers, the newest with a dot. */
export function sparkline(numbers, width = 120, height = 24) {
  const most = Math.max(...numbers, 0.001);
  const points = numbers.map((number, index) => [3 + (index * (width - 6)) / Math.max(numbers.length - 1, 1), height - 3 - (number / most) * (height - 6)]);
  const [x, y] = points.at(-1);
  return svg("svg", { width, height, role: "img", "aria-label": `Seconds, oldest first: ${numbers.map((number) => number.toFixed(1)).join(", ")}` },
    svg("polyline", { class: "trend", points: points.map((point) => point.map((one) => one.toFixed(1)).join(",")).join(" ") }),
    svg("circle", { class: "trend-end", cx: x, cy: y, r: 3 }));
}
