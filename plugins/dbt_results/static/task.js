/** The tab "dbt results" of a task instance: the active run, and all runs that ended, newest first. */

import { ApiError, get, getResults, getRunRecords, getTaskInstance, joinAirflow, tabOf } from "./airflow.js";
import { html, link } from "./view/dom.js";
import { duration, median, secondsBetween, time } from "./view/format.js";
import { badge, outcomeText, runSeconds, runView } from "./view/run_view.js";
import { kindOf, signOf } from "./view/status.js";

// Seconds between two requests for an active task, and for one that ended, which a user may clear.
const REFRESH = 5;
const REFRESH_ENDED = 30;
const RECENT = 5;
const FINAL = ["success", "failed", "skipped", "upstream_failed", "removed"];
const WAITING = "up_for_retry";

const query = new URLSearchParams(location.search);
// For a task that is not mapped, Airflow leaves the placeholder in place.
const mapIndex = /^\d+$/.test(query.get("map_index") ?? "") ? Number(query.get("map_index")) : -1;
const where = { dagId: query.get("dag_id"), runId: query.get("run_id"), taskId: query.get("task_id"), mapIndex };

const page = document.querySelector("#page");
const now = html("div");
const choice = html("nav", { class: "counts", "aria-label": "dbt runs of this task" });
const runs = html("div");
// The elements on the page by run. One whose data did not change is reused, so that what is open in it stays open.
const drawn = new Map();
let shownState = null;
let recent = null;

/** Return all runs of the task instance, newest first. */
async function loadRuns(instance) {
  const records = await getRunRecords(where);
  // Airflow deletes XComs when a try begins. A record may hold fewer nodes, or have expired.
  const newest = [...records.values()].sort(byRunId)[0];
  const mayHave = newest ? !newest.nodes || newest.left_out > 0 : isDbt(instance);
  if (mayHave && (FINAL.includes(instance.state) || instance.state === WAITING)) {
    const results = await getResults(where);
    if (results) records.set(results.run_id, results);
  }
  return [...records.values()].sort(byRunId).map((run) => ({ ...run, isOver: isOver(run, instance) }));
}

const byRunId = (one, other) => other.run_id - one.run_id;

const isDbt = (instance) => /dbt/i.test(instance.operator_name ?? instance.operator ?? "");

const isOver = (run, instance) => Boolean(run.outcome || run.nodes) || [...FINAL, WAITING].includes(instance.state);

async function loadRecent() {
  const answer = await get(["dags", where.dagId, "dagRuns", "~", "taskInstances"],
    { task_id: where.taskId, map_index: where.mapIndex, state: "success", order_by: "-start_date", limit: RECENT });
  return (answer?.task_instances ?? []).map((one) => one.duration).filter((seconds) => seconds > 0);
}

function showNow(instance, all) {
  const active = instance.state === WAITING ? null : all.find((run) => !run.isOver);
  if (FINAL.includes(instance.state)) {
    const text = all.length ? "" : whyNothing(instance);
    now.replaceChildren(...(text ? [html("p", { class: "soft" }, text)] : []));
    return;
  }
  if (instance.state === WAITING) {
    now.replaceChildren(html("section", { class: "now waiting" }, html("h2", {}, `Waiting for try ${instance.try_number + 1} of ${instance.max_tries + 1}`),
      html("p", {}, "Airflow starts it after the retry delay. This page shows it then.")));
    return;
  }
  const since = active?.created_at ?? instance.start_date;
  const elapsed = secondsBetween(since, new Date().toISOString());
  const usual = median(recent ?? []);
  const details = [
    active ? html("h2", {}, `dbt Cloud run ${active.run_id} is active`) : html("h2", {}, stateText(instance)),
    html("p", {}, `Airflow: ${instance.state ?? "no state"}${instance.try_number > 1 ? `, try ${instance.try_number} of ${instance.max_tries + 1}` : ""}. `,
      since && `Since ${time(since)}, ${duration(elapsed)} ago.`),
    usual && html("p", {}, `The last ${recent.length === 1 ? "one took" : `${recent.length} took`} ${recent.map(duration).join(", ")}.`,
      elapsed > Math.max(...recent) && html("strong", {}, " This one takes longer.")),
    usual && elapsed !== null && html("progress", { max: Math.max(usual, elapsed), value: elapsed, "aria-label": "Elapsed of the usual time" }),
    active?.href && html("p", {}, link(active.href, "Open in dbt Cloud")),
  ];
  now.replaceChildren(html("section", { class: "now" }, details));
}

function stateText(instance) {
  if (["running", "deferred", "restarting"].includes(instance.state)) return "Starting a dbt Cloud run";
  return "The task has not started";
}

function whyNothing(instance) {
  if (!/RunJob/.test(instance.operator_name ?? instance.operator ?? "")) return "This task runs no dbt Cloud job.";
  const reasons = {
    skipped: "The task was skipped: it started no dbt Cloud run.",
    upstream_failed: "A task before this one failed: this one started no dbt Cloud run.",
    removed: "The task is no longer in the Dag.",
  };
  return reasons[instance.state] ?? "No dbt Cloud run of this task is known. The task's log says why.";
}

function showRuns(all) {
  const over = all.filter((run) => run.isOver);
  const elements = over.map((run, index) => drawRun(run, index === 0));
  // Only what changed moves: the rest keeps focus and scroll position.
  elements.forEach((element, index) => {
    if (runs.children[index] !== element) runs.insertBefore(element, runs.children[index] ?? null);
  });
  while (runs.children.length > elements.length) runs.lastChild.remove();
  const buttons = over.length > 1 ? over.map((run, index) => runButton(run, elements[index])) : [];
  if (buttons.length !== choice.children.length) choice.replaceChildren(...buttons);
}

function runButton(run, element) {
  const show = () => {
    element.open = true;
    element.scrollIntoView();
  };
  const text = [`run ${run.run_id}: ${outcomeText(run).toLowerCase()}`, run.try_number && `try ${run.try_number}`].filter(Boolean).join(", ");
  return html("button", { type: "button", class: kindOf(run.outcome), onclick: show }, html("span", { class: "sign", "aria-hidden": "true" }, signOf(run.outcome)), text);
}

function drawRun(run, isNewest) {
  const data = `${isNewest} ${run.nodes?.length} ${run.left_out} ${run.outcome}`;
  const before = drawn.get(run.run_id);
  if (before?.data === data) return before.element;
  const element = isNewest ? runView(run) : earlierRun(run);
  drawn.set(run.run_id, { data, element });
  return element;
}

function earlierRun(run) {
  const took = runSeconds(run);
  const summary = html("summary", {}, html("strong", {}, `Earlier: dbt Cloud run ${run.run_id} `), badge(run),
    [run.try_number && `try ${run.try_number}`, took !== null && took !== undefined && duration(took), time(run.started_at ?? run.created_at)]
      .filter(Boolean).map((text) => ` · ${text}`));
  const details = html("details", { class: "earlier" }, summary);
  // Drawn when it is opened: a timeline needs the width of the page.
  details.addEventListener("toggle", () => details.children.length === 1 && details.append(runView(run)), { once: true });
  return details;
}

async function showMapped() {
  const answer = await get(["dags", where.dagId, "dagRuns", where.runId, "taskInstances", where.taskId, "listMapped"], { limit: 100, order_by: "map_index" });
  const instances = answer?.task_instances ?? [];
  if (!instances.length) return false;
  const total = answer.total_entries ?? instances.length;
  const items = instances.map((one) => html("li", {}, link(tabOf({ ...where, mapIndex: one.map_index }), one.rendered_map_index ?? `${one.map_index}`), ` ${one.state ?? "not started"}`));
  page.replaceChildren(html("h2", {}, "Mapped task"), html("p", {}, "Each of its instances has its own results:"), html("ul", {}, items),
    ...(total > instances.length ? [html("p", { class: "soft" }, `${total - instances.length} more are not listed.`)] : []));
  return true;
}

async function refresh() {
  let again = REFRESH;
  try {
    const instance = await getTaskInstance(where);
    if (!instance) {
      again = 0;
      if (!(await showMapped())) page.replaceChildren(html("p", { class: "soft" }, "Airflow does not know this task instance."));
      return;
    }
    const isFinal = FINAL.includes(instance.state);
    again = isFinal ? REFRESH_ENDED : REFRESH;
    if (!isFinal && recent === null) recent = await loadRecent();
    const state = `${instance.state} ${instance.try_number} ${instance.start_date}`;
    // A run appears some time after the state changes.
    const all = state === shownState && isFinal ? null : await loadRuns(instance);
    shownState = state;
    if (all) {
      showNow(instance, all);
      showRuns(all);
    }
    if (page.firstChild !== now) page.replaceChildren(now, choice, runs);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if ([401, 403].includes(error.status)) again = 0;
    shownState = null;
    if (page.firstChild === now) now.replaceChildren(html("p", { class: "message", role: "alert" }, error.message));
    else page.replaceChildren(html("p", { class: "message", role: "alert" }, error.message));
  } finally {
    page.removeAttribute("aria-busy");
    if (again) setTimeout(refreshWhenSeen, again * 1000);
  }
}

function refreshWhenSeen() {
  if (document.visibilityState === "visible") refresh();
  else document.addEventListener("visibilitychange", refreshWhenSeen, { once: true });
}

joinAirflow();
refresh();
