/** Show the results of one dbt run: facts, counts that filter, what failed, the timeline, all nodes. */

import { html, link } from "./dom.js";
import { count, duration, secondsBetween, time } from "./format.js";
import { kindOf, nameOf, signOf, typeOf } from "./status.js";
import { nodeTable } from "./table.js";
import { timeline } from "./timeline.js";

// What failed: cards that are shown at once.
const FIRST_CARDS = 10;
const OUTCOMES = { success: "Success", error: "Error", cancelled: "Canceled", expired: "Timed out" };

let views = 0;

/** Return the outcome of a run in a word. */
export const outcomeText = (run) => OUTCOMES[run.outcome] ?? (run.nodes ? "Ended" : "Unknown outcome");

/** Return a badge with an outcome. */
export function badge(run) {
  const kind = run.outcome ? kindOf(run.outcome) : "other";
  return html("span", { class: `badge ${kind}` }, html("span", { "aria-hidden": "true" }, signOf(run.outcome)), ` ${outcomeText(run)}`);
}

/** Return the seconds that a run took; those of its dbt steps if dbt Cloud did not tell. */
export const runSeconds = (run) => secondsBetween(run.started_at ?? run.created_at, run.finished_at) ?? run.seconds;

/**
 * Return the element of a run.
 *
 * `title` is false where the page already has a title, `fold` is true where the table of all nodes is closed at first.
 */
export function runView(run, { title = true, fold = false } = {}) {
  views += 1;
  const heading = title && html("div", { class: "title" },
    html("h2", {}, `dbt Cloud run ${run.run_id} `, badge(run)), run.href && link(run.href, "Open in dbt Cloud"));
  const parts = [heading, facts(run), run.status_message && html("p", { class: "message" }, run.status_message)];
  if (!run.nodes) return html("div", { class: "run" }, parts, html("p", { class: "soft" }, "No results of this run are known: it was not over when the task ended."));
  if (!run.nodes.length) return html("div", { class: "run" }, parts, html("p", {}, run.reason ?? "No node ran."), freshness(run.sources));
  const nodes = run.nodes;
  const table = nodeTable(nodes, views);
  const drawing = timeline(nodes, { onPick: (node) => {
    table.search(node.unique_id);
    table.element.closest("details")?.setAttribute("open", "");
    table.element.scrollIntoView({ block: "nearest" });
  } });
  const filter = (statuses) => {
    const isShown = (node) => !statuses.size || statuses.has(node.status);
    table.show(isShown);
    drawing?.filter(isShown);
  };
  return html("div", { class: "run" }, parts, counts(run, filter), failures(nodes), skipped(nodes), freshness(run.sources),
    drawing?.element, run.left_out > 0 && html("p", { class: "soft" }, `${count(run.left_out, "more node")}, the least important, ${run.left_out === 1 ? "is" : "are"} not stored.`),
    fold ? folded(table.element, nodes) : table.element);
}

const folded = (table, nodes) => html("details", { class: "card" }, html("summary", {}, `All ${count(nodes.length, "node")}`), table);

function facts(run) {
  const queued = secondsBetween(run.created_at, run.started_at);
  const commit = [run.git_sha?.slice(0, 7), run.git_branch && `on ${run.git_branch}`].filter(Boolean).join(" ");
  const took = runSeconds(run);
  const rows = [
    ["Job", run.job], ["Environment", run.environment],
    ["Took", took !== null && took !== undefined && duration(took)],
    ["Queued", queued >= 1 && duration(queued)],
    ["Started", time(run.started_at ?? run.created_at)], ["Try", run.try_number], ["Commit", commit], ["Cause", run.cause],
  ];
  const known = rows.filter(([, value]) => value);
  return known.length > 0 && html("dl", { class: "facts" }, known.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", { title: value }, `${value}`))));
}

function counts(run, filter) {
  const chosen = new Set();
  const toggle = (event, status) => {
    const button = event.currentTarget;
    if (!chosen.delete(status)) chosen.add(status);
    button.setAttribute("aria-pressed", chosen.has(status));
    filter(chosen);
  };
  return html("div", { class: "counts", role: "group", "aria-label": "Show only" }, Object.entries(run.counts).map(([status, number]) =>
    html("button", { type: "button", class: kindOf(status), "aria-pressed": "false", onclick: (event) => toggle(event, status) },
      html("span", { class: "sign", "aria-hidden": "true" }, signOf(status)), `${number.toLocaleString("en")} ${status}`)));
}

function failures(nodes) {
  const bad = nodes.filter((node) => ["error", "warn"].includes(kindOf(node.status)));
  if (!bad.length) return null;
  const list = html("div", {}, bad.slice(0, FIRST_CARDS).map(card));
  const rest = bad.slice(FIRST_CARDS);
  const more = rest.length > 0 && html("button", { type: "button", onclick: () => { list.append(...rest.map(card)); more.remove(); } }, `Show ${rest.length} more`);
  const title = bad.some((node) => kindOf(node.status) === "error") ? "What failed" : "Warnings";
  return html("section", { class: "failures" }, html("h3", {}, title), list, more);
}

function card(node) {
  return html("article", { class: `card ${kindOf(node.status)}` },
    html("p", {}, html("span", { class: `sign ${kindOf(node.status)}`, "aria-hidden": "true" }, signOf(node.status)),
      html("strong", {}, `${node.status}: `), `${typeOf(node)} `, html("strong", { title: node.unique_id }, nameOf(node))),
    node.message && html("p", { class: "text" }, node.message),
    node.sql && html("details", {}, html("summary", {}, "Compiled SQL"), html("pre", { tabindex: 0 }, node.sql)));
}

function skipped(nodes) {
  const left = nodes.filter((node) => node.status === "skipped");
  if (!left.length) return null;
  const byId = new Map(nodes.map((node) => [node.unique_id, node]));
  const groups = groupBy(left);
  const text = (cause) => {
    if (!cause) return "because a node they depend on failed";
    const node = byId.get(cause);
    return node ? `because of ${typeOf(node)} ${nameOf(node)}` : `because of ${cause}`;
  };
  return html("section", {}, html("h3", {}, "Skipped"), [...groups].map(([cause, group]) =>
    html("details", { class: "card skipped" }, html("summary", {}, html("strong", {}, count(group.length, "node")), ` skipped ${text(cause)}`),
      html("ul", {}, group.map((node) => html("li", { title: node.unique_id }, `${typeOf(node)} ${nameOf(node)}`))))));
}

function groupBy(nodes) {
  const groups = new Map();
  for (const node of nodes) groups.set(node.skipped_by ?? "", [...(groups.get(node.skipped_by ?? "") ?? []), node]);
  return groups;
}

function freshness(sources) {
  if (!sources?.length) return null;
  const stale = sources.filter((source) => source.status !== "pass");
  const item = (source) => html("li", {}, html("span", { class: `sign ${kindOf(source.status)}`, "aria-hidden": "true" }, signOf(source.status)),
    html("strong", { title: source.unique_id }, source.name), ` ${source.status === "pass" ? "fresh" : source.status}`,
    source.message ? `: ${source.message}` : source.age !== null && source.age !== undefined && `: loaded ${duration(source.age)} before the check`);
  const fresh = sources.filter((source) => source.status === "pass");
  return html("section", {}, html("h3", {}, "Source freshness"),
    stale.length > 0 && html("ul", { class: "sources card warn" }, stale.map(item)),
    fresh.length > 0 && html("details", { class: "card pass" }, html("summary", {}, count(fresh.length, "fresh source")), html("ul", { class: "sources" }, fresh.map(item))));
}
