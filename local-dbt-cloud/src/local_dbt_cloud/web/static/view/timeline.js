/** Draw a run's nodes on a zoomable time axis, with a tooltip on hover and for the keyboard. */

import { html, svg } from "./dom.js";
import { count, duration } from "./format.js";
import { BAR, LANE, TOP, layOut, tickLabel, ticks } from "./layout.js";
import { KINDS, kindOf, nameOf, typeOf } from "./status.js";

const LEFT = 84;
const RIGHT = 12;
const MIN_WIDTH = 480;
const MAX_ZOOM = 64;
// Pixels of a letter of a bar's name.
const LETTER = 6.6;

/** Return the text of a node's tooltip: name, status, seconds, rows. */
export function describe(node) {
  const rows = Number.isInteger(node.rows) ? `, ${count(node.rows, typeOf(node).endsWith("test") ? "failing row" : "row")}` : "";
  const path = node.critical ? ", on the critical path" : "";
  return `${typeOf(node)} ${nameOf(node)}: ${node.status}, ${duration(node.execution_time)}${rows}${path}`;
}

/**
 * Return the timeline, or null if no node ran: `element`, and `filter(isShown)`, which fades the other nodes.
 *
 * `onPick` is called with the node of a bar that is clicked or chosen with Enter.
 */
export function timeline(nodes, { onPick = () => {} } = {}) {
  const layout = layOut(nodes);
  if (!layout) return null;
  const { bars, lanes, seconds } = layout;
  const height = TOP + lanes.length * LANE + 6;
  const said = html("p", { class: "tip", role: "status", hidden: true });
  const axis = svg("g", { "aria-hidden": "true" });
  const rects = bars.map(drawBar);
  const names = bars.map((bar) => svg("text", { class: `name ${kindOf(bar.node.status)}`, y: top(bar) + 13 }, nameOf(bar.node)));
  const cursor = svg("rect", { class: "cursor", height: BAR + 6, rx: 3, visibility: "hidden" });
  const drawing = svg("svg", { height, "aria-hidden": "true" }, patterns(), axis, rects, names, cursor);
  const labels = lanes.map((name, lane) => html("span", { class: `lane`, "data-lane": lane }, name));
  const scroller = html("div", {
    class: "timeline", tabindex: 0, role: "application",
    "aria-label": `Timeline of ${count(bars.length, "node")} in ${duration(seconds)}. Left and right arrows go from node to node, plus and minus zoom.`,
  }, html("div", { class: "lanes", "aria-hidden": "true" }, labels), drawing);
  labels.forEach((label, lane) => { label.style.top = `${TOP + lane * LANE}px`; });

  let zoom = 1;
  let at = -1;
  const scale = () => (width() - LEFT - RIGHT) / seconds;
  const width = () => Math.max(scroller.clientWidth || 0, MIN_WIDTH) * zoom;

  function place() {
    const perSecond = scale();
    drawing.setAttribute("width", width());
    bars.forEach((bar, index) => {
      const x = LEFT + bar.start * perSecond;
      const size = Math.max((bar.end - bar.start) * perSecond, 1.5);
      rects[index].setAttribute("x", x.toFixed(2));
      rects[index].setAttribute("width", size.toFixed(2));
      const fits = size > nameOf(bar.node).length * LETTER + 8;
      names[index].setAttribute("x", (x + 4).toFixed(2));
      names[index].style.display = fits ? "" : "none";
    });
    axis.replaceChildren(...ticks(seconds, Math.max(Math.round(width() / 150), 2)).flatMap((second) => {
      const x = LEFT + second * perSecond;
      const label = svg("text", { x: x + 3, y: 13 }, tickLabel(second));
      return [svg("line", { class: "grid", x1: x, x2: x, y1: 0, y2: height }), label];
    }));
    if (at >= 0) mark(at);
  }

  function mark(index) {
    at = index;
    const rect = rects[index];
    cursor.setAttribute("visibility", "visible");
    cursor.setAttribute("x", rect.getAttribute("x") - 3);
    cursor.setAttribute("y", top(bars[index]) - 3);
    cursor.setAttribute("width", Number(rect.getAttribute("width")) + 6);
  }

  function say(index) {
    const rect = rects[index];
    said.textContent = describe(bars[index].node);
    said.hidden = false;
    const left = Number(rect.getAttribute("x")) - scroller.scrollLeft;
    const most = scroller.clientWidth - said.offsetWidth - 4;
    said.style.left = `${Math.max(4, Math.min(left, most))}px`;
    said.style.top = `${scroller.offsetTop + top(bars[index]) + BAR + 6}px`;
  }

  function go(index) {
    mark(Math.max(0, Math.min(index, bars.length - 1)));
    const x = Number(rects[at].getAttribute("x"));
    const isSeen = x > scroller.scrollLeft + LEFT && x < scroller.scrollLeft + scroller.clientWidth - 60;
    if (!isSeen) scroller.scrollLeft = x - scroller.clientWidth / 3;
    say(at);
  }

  function setZoom(wanted, center = scroller.clientWidth / 2) {
    const before = (scroller.scrollLeft + center - LEFT) / scale();
    zoom = Math.max(1, Math.min(wanted, MAX_ZOOM));
    place();
    scroller.scrollLeft = before * scale() + LEFT - center;
    said.hidden = true;
    out.disabled = zoom === 1;
    into.disabled = zoom === MAX_ZOOM;
  }

  const leave = () => { said.hidden = true; };
  const indexOf = (event) => (event.target.dataset.index === undefined ? -1 : Number(event.target.dataset.index));
  drawing.addEventListener("pointermove", (event) => (indexOf(event) < 0 ? leave() : say(indexOf(event))));
  drawing.addEventListener("pointerleave", leave);
  drawing.addEventListener("click", (event) => {
    if (indexOf(event) >= 0) { go(indexOf(event)); onPick(bars[at].node); }
  });
  scroller.addEventListener("focus", () => scroller.matches(":focus-visible") && go(Math.max(at, 0)));
  scroller.addEventListener("blur", () => { leave(); cursor.setAttribute("visibility", "hidden"); });
  scroller.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    setZoom(zoom * (event.deltaY < 0 ? 1.25 : 0.8), event.clientX - scroller.getBoundingClientRect().left);
  }, { passive: false });
  const keys = {
    ArrowRight: () => go(at + 1), ArrowLeft: () => go(at - 1), Home: () => go(0), End: () => go(bars.length - 1),
    "+": () => setZoom(zoom * 2), "=": () => setZoom(zoom * 2), "-": () => setZoom(zoom / 2), Escape: leave,
    Enter: () => at >= 0 && onPick(bars[at].node),
  };
  scroller.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  const into = html("button", { type: "button", "aria-label": "Zoom in", onclick: () => setZoom(zoom * 2) }, "+");
  const out = html("button", { type: "button", disabled: true, "aria-label": "Zoom out", onclick: () => setZoom(zoom / 2) }, "−");

  let lastWidth = -1;
  new ResizeObserver(() => {
    if (scroller.clientWidth !== lastWidth) { lastWidth = scroller.clientWidth; place(); }
  }).observe(scroller);
  place();
  const section = html("section", { class: "timeline-section" },
    html("div", { class: "bar-above" }, html("h3", {}, "Timeline"), legend(bars), html("div", { class: "zoom" }, out, into)),
    scroller, said);
  return {
    element: section,
    /** Fade the bars of the nodes that a filter hides. */
    filter(isShown) {
      bars.forEach((bar, index) => {
        const faded = !isShown(bar.node);
        rects[index].classList.toggle("faded", faded);
        names[index].classList.toggle("faded", faded);
      });
    },
  };
}

const top = (bar) => TOP + bar.lane * LANE + 4;

function drawBar(bar, index) {
  const kind = kindOf(bar.node.status);
  const critical = bar.node.critical ? " critical" : "";
  return svg("rect", { class: `bar ${kind}${critical}`, y: top(bar), height: BAR, rx: 2, "data-index": index });
}

/** Stripes and dots: errors and warnings differ from the others without color too. */
function patterns() {
  return svg("defs", {},
    svg("pattern", { id: "stripes", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      svg("rect", { class: "error-back", width: 6, height: 6 }), svg("rect", { class: "error-mark", width: 2, height: 6 })),
    svg("pattern", { id: "dots", width: 6, height: 6, patternUnits: "userSpaceOnUse" },
      svg("rect", { class: "warn-back", width: 6, height: 6 }), svg("circle", { class: "warn-mark", cx: 3, cy: 3, r: 1.2 })));
}

function legend(bars) {
  const shown = Object.keys(KINDS).filter((kind) => bars.some((bar) => kindOf(bar.node.status) === kind));
  const item = (className, text) => html("li", {},
    svg("svg", { width: 18, height: 12, "aria-hidden": "true" }, svg("rect", { class: className, x: 1.5, y: 1.5, width: 15, height: 9, rx: 2 })), text);
  return html("ul", { class: "legend", "aria-label": "Legend" },
    shown.map((kind) => item(`bar ${kind}`, KINDS[kind].label)),
    bars.some((bar) => bar.node.critical) && item("bar none critical", "critical path: each waited for the one before"));
}
