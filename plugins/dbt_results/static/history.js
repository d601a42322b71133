/** The tab "dbt history" of a Dag: its last dbt runs, what got slower, what fails, what is flaky. */

import { ApiError, asResults, get, getRunRecords, joinAirflow, tabOf } from "./airflow.js";
import { durationChart, sparkline } from "./view/chart.js";
import { failingTests, flaky, slower } from "./history_data.js";
import { html, link } from "./view/dom.js";
import { count, duration, median, time } from "./view/format.js";
import { outcomeText, runSeconds } from "./view/run_view.js";

// Limits: Dag runs to list, results to read per job, retried tasks whose tries to read, and parallel requests.
const DAG_RUNS = 50;
const RESULTS = 50;
const RETRIED = 10;
const PARALLEL = 6;

const dagId = new URLSearchParams(location.search).get("dag_id");
const page = document.querySelector("#page");
const cache = new Map();
const keyOf = (where) => JSON.stringify([where.runId, where.taskId, where.mapIndex]);
const jobOf = (run) => `${run.job_id ?? "unknown"}`;

/** Return where results are: one entry per task instance, the newest Dag run first. */
async function list(dagRuns) {
  const known = new Set(dagRuns.map((run) => run.dag_run_id));
  const path = ["dags", dagId, "dagRuns", "~", "taskInstances", "~", "xcomEntries"];
  const pages = [0, 100, 200].slice(0, Math.max(1, Math.min(3, Math.ceil(dagRuns.length / 10))));
  const entries = [];
  for (const offset of pages) {
    const answer = await get(path, { xcom_key: "run_results", order_by: "-run_after", limit: 100, offset });
    entries.push(...(answer?.xcom_entries ?? []));
    if ((answer?.total_entries ?? 0) <= offset + 100) break;
  }
  return entries.filter((one) => known.has(one.run_id))
    .map((one) => ({ dagId, runId: one.run_id, taskId: one.task_id, mapIndex: one.map_index, at: one.timestamp, after: one.run_after }));
}

/** Read the results in these places, a few at a time; return those that are dbt results, the newest first. */
async function read(places) {
  const waiting = places.filter((where) => !cache.has(keyOf(where)));
  const worker = async () => {
    for (let where = waiting.shift(); where; where = waiting.shift()) {
      const path = ["dags", dagId, "dagRuns", where.runId, "taskInstances", where.taskId, "xcomEntries", "run_results"];
      cache.set(keyOf(where), asResults((await get(path, { map_index: where.mapIndex }))?.value));
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  return places.map((where) => ({ ...cache.get(keyOf(where)), where })).filter((run) => run.nodes);
}

/** Return the runs of all tries of the task instances that were retried, the newest ten; oldest try first. */
async function readTries(runs) {
  const retried = runs.filter((run) => run.try_number > 1).slice(0, RETRIED);
  return Promise.all(retried.map(async (run) => {
    const records = await getRunRecords(run.where);
    records.set(run.run_id, run);
    return [...records.values()].sort((one, other) => one.run_id - other.run_id);
  }));
}

async function show() {
  const answer = await get(["dags", dagId, "dagRuns"], { limit: DAG_RUNS, order_by: "-run_after" });
  const dagRuns = answer?.dag_runs ?? [];
  const places = await list(dagRuns);
  const runs = await read(places.slice(0, RESULTS));
  if (!runs.length) {
    page.replaceChildren(html("p", { class: "soft" }, dagRuns.length ? "No task of this Dag has dbt results." : "This Dag has not run yet."));
    return;
  }
  // When a job is chosen, also read older results of the tasks in which it was seen.
  const jobs = new Map(runs.map((run) => [jobOf(run), run.job || (run.job_id ? `Job ${run.job_id}` : "Unknown job")]));
  const body = html("div");
  const choose = html("select", { id: "job" }, [...jobs].map(([id, name]) => html("option", { value: id }, name)));
  const draw = async () => {
    body.setAttribute("aria-busy", "true");
    const seenIn = new Set(runs.filter((run) => jobOf(run) === choose.value).map(({ where }) => `${where.taskId} ${where.mapIndex}`));
    const placesOfJob = places.filter((where) => seenIn.has(`${where.taskId} ${where.mapIndex}`));
    const found = (await read(placesOfJob.slice(0, RESULTS))).filter((run) => jobOf(run) === choose.value);
    const tries = await readTries(found);
    body.replaceChildren(...sections(found.reverse(), tries), note(dagRuns, answer.total_entries, placesOfJob));
    body.removeAttribute("aria-busy");
  };
  choose.addEventListener("change", () => draw().catch(fail));
  const title = html("h2", {}, `dbt history of ${dagId}`);
  const picker = jobs.size > 1 ? html("label", { class: "pick", for: "job" }, "Job", choose) : html("span", { class: "soft" }, [...jobs.values()][0]);
  page.replaceChildren(html("div", { class: "title" }, title, picker), body);
  await draw();
}

function sections(runs, tries) {
  if (!runs.length) return [html("p", { class: "soft" }, "No results of this job are stored.")];
  const seconds = runs.map(runSeconds);
  const failed = runs.filter((run) => run.outcome && run.outcome !== "success").length;
  const facts = [
    ["Runs", `${runs.length}`], ["Succeeded", `${runs.length - failed}`], ["Not succeeded", `${failed}`],
    ["Usual duration", duration(median(seconds.filter(Number.isFinite)))], ["Newest", duration(seconds.at(-1))],
  ];
  return [
    html("dl", { class: "facts" }, facts.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value)))),
    html("section", {}, html("h3", {}, "Duration"), durationChart(runs, describe), runList(runs)),
    html("section", {}, html("h3", {}, "Models that got slower"), slowerTable(slower(runs), runs)),
    html("section", {}, html("h3", {}, "Tests that fail most"), failingTable(failingTests(runs))),
    html("section", {}, html("h3", {}, "Flaky nodes"), flakyTable(flaky(tries))),
  ];
}

const describe = (run) => `Run ${run.run_id}, ${time(run.started_at ?? run.created_at ?? run.where.at)}: ${outcomeText(run).toLowerCase()}, ${duration(runSeconds(run))}`;

function runList(runs) {
  const items = [...runs].reverse().map((run) => html("li", {}, link(tabOf(run.where), describe(run))));
  return html("details", {}, html("summary", {}, count(runs.length, "run")), html("ul", {}, items));
}

function table(headers, rows) {
  const cell = (tag, index, ...children) => html(tag, { class: headers[index].startsWith("#") ? "number" : null, scope: tag === "th" ? "col" : null }, ...children);
  return html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": headers[0] }, html("table", {},
    html("thead", {}, html("tr", {}, headers.map((header, index) => cell("th", index, header.replace("#", ""))))),
    html("tbody", {}, rows.map((row) => html("tr", {}, row.map((value, index) => cell("td", index, value)))))));
}

const named = ({ id, name }) => html("span", { title: id }, name);

function slowerTable(models, runs) {
  if (runs.length < 2) return html("p", { class: "soft" }, "This needs a second run.");
  if (!models.length) return html("p", {}, "No model got slower by a tenth.");
  return table(["Model", "#Before", "#Lately", "#Growth", "Trend"], models.map((model) => [
    named(model), duration(model.before), duration(model.after), `+${duration(model.growth)}`, sparkline(model.seconds)]));
}

function failingTable(tests) {
  if (!tests.length) return html("p", {}, "No test failed in these runs.");
  return table(["Test", "#Failed", "#Ran"], tests.map((test) => [named(test), test.failed, test.ran]));
}

function flakyTable(nodes) {
  if (!nodes.length) return html("p", {}, "No node failed in one try and passed in a later one.");
  return table(["Node", "#Failed, then passed on a retry"], nodes.map((node) => [named(node), node.times]));
}

function note(dagRuns, total, placesOfJob) {
  const left = [
    total > dagRuns.length && `older Dag runs than the last ${dagRuns.length} of ${total}`,
    placesOfJob.length > RESULTS && `${placesOfJob.length - RESULTS} older results of this job`,
  ].filter(Boolean);
  return html("p", { class: "soft" }, `Read with ${count(get.requests, "request")}; at most ${RESULTS} results of a job are read, and the tries of ${RETRIED} retried tasks. `,
    left.length ? `Left out: ${left.join(", ")}.` : "Nothing is left out.");
}

function fail(error) {
  if (!(error instanceof ApiError)) throw error;
  page.replaceChildren(html("p", { class: "message", role: "alert" }, error.message));
}

joinAirflow();
show().catch(fail).finally(() => page.removeAttribute("aria-busy"));
