/** Read Airflow's public REST API as the user who is logged in, and follow the theme of Airflow's UI. */

// The page is below Airflow's base path, as the API is.
const API = new URL("../api/v2/", import.meta.url);
const AIRFLOW = new URL("../", import.meta.url);

/** Why the API did not answer with data; `message` is for the user. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const MESSAGES = {
  401: "You are logged out of Airflow. Log in and reload this page.",
  403: "You may not see this: your Airflow role lacks the permission to read this Dag, its task instances or XComs.",
};

/** Return the JSON of a path, or null if Airflow does not know it. Parts of the path are encoded. */
export async function get(parts, query = {}) {
  get.requests += 1;
  const url = new URL(parts.map(encodeURIComponent).join("/"), API);
  for (const [name, value] of Object.entries(query)) url.searchParams.append(name, value);
  let response;
  try {
    response = await fetch(url, { headers: { Accept: "application/json" }, credentials: "same-origin" });
  } catch {
    throw new ApiError(0, "Airflow does not answer. Retrying.");
  }
  if (response.status === 404) return null;
  if (!response.ok) throw new ApiError(response.status, MESSAGES[response.status] ?? `Airflow answered with status ${response.status}.`);
  return response.json();
}
get.requests = 0;

/** Return the task instance, null if there is none. */
export function getTaskInstance({ dagId, runId, taskId, mapIndex }) {
  const path = ["dags", dagId, "dagRuns", runId, "taskInstances", taskId];
  return get(mapIndex >= 0 ? [...path, mapIndex] : path);
}

/** Return the records of the task instance's dbt runs, including those of earlier tries, by dbt run id. */
export async function getRunRecords({ dagId, runId, taskId, mapIndex }) {
  const answer = await get(["dags", dagId, "dagRuns", runId, "taskInstances", taskId, "state-store"], { map_index: mapIndex, limit: 100 });
  const entries = (answer?.task_state_store ?? []).filter((entry) => /^dbt_cloud_run_\d+$/.test(entry.key));
  return new Map(entries.map((entry) => [entry.value?.run_id, entry.value]).filter(([id]) => id));
}

/** Return the XCom run_results as an object, null if there is none. */
export async function getResults({ dagId, runId, taskId, mapIndex }) {
  const answer = await get(["dags", dagId, "dagRuns", runId, "taskInstances", taskId, "xcomEntries", "run_results"], { map_index: mapIndex });
  return asResults(answer?.value);
}

/** Return a value if it is the results of a run: another operator may use the key for something else. */
export function asResults(value) {
  let results = value;
  try {
    if (typeof value === "string") results = JSON.parse(value);
  } catch {
    return null;
  }
  return results && Array.isArray(results.nodes) && results.counts && results.run_id ? results : null;
}

/** Return the address of a task instance's tab in Airflow's UI. */
export function tabOf({ dagId, runId, taskId, mapIndex }) {
  const path = ["dags", dagId, "runs", runId, "tasks", taskId, ...(mapIndex >= 0 ? ["mapped", mapIndex] : []), "plugin", "dbt_results"];
  return new URL(path.map(encodeURIComponent).join("/"), AIRFLOW).href;
}

/** Follow Airflow's color scheme inside Airflow, the system's outside; open links outside the frame. */
export function joinAirflow() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const outer = parent === window ? null : parent.document.documentElement;
  const follow = () => root.classList.toggle("dark", outer ? outer.classList.contains("dark") : system.matches);
  follow();
  if (outer) new MutationObserver(follow).observe(outer, { attributes: true, attributeFilter: ["class"] });
  else system.addEventListener("change", follow);
  // The frame may not open windows, and dbt Cloud refuses to be framed: let Airflow's page open links.
  addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!link || !outer) return;
    event.preventDefault();
    parent.open(link.href, "_blank", "noopener");
  });
}
