/** What the results of many runs tell: which models got slower, which tests fail, which nodes are flaky. */

import { median } from "./view/format.js";
import { kindOf, nameOf } from "./view/status.js";

// Smaller differences are noise.
const LEAST_SECONDS = 0.1;
const LEAST_GROWTH = 0.1;

const isBuilt = (node) => ["model", "seed", "snapshot"].includes(node.unique_id.split(".")[0]);
const isTest = (node) => ["test", "unit_test"].includes(node.unique_id.split(".")[0]);

/** Return the series of each node: `{id, name, points}`, with a point per run in which `isWanted` accepts it. `runs`: oldest first. */
function series(runs, isWanted) {
  const found = new Map();
  runs.forEach((run, index) => {
    for (const node of run.nodes.filter(isWanted)) {
      if (!found.has(node.unique_id)) found.set(node.unique_id, { id: node.unique_id, name: nameOf(node), points: [] });
      found.get(node.unique_id).points.push({ index, node });
    }
  });
  return [...found.values()];
}

/** Return the models whose duration grew most: the median of the newest third of their runs against that of the others. */
export function slower(runs, limit = 10) {
  return series(runs, (node) => isBuilt(node) && node.status === "success")
    .filter(({ points }) => points.length > 1)
    .map((one) => {
      const seconds = one.points.map(({ node }) => node.execution_time);
      const split = seconds.length - Math.max(Math.floor(seconds.length / 3), 1);
      const [before, after] = [median(seconds.slice(0, split)), median(seconds.slice(split))];
      return { ...one, seconds, before, after, growth: after - before };
    })
    .filter(({ growth, before }) => growth >= LEAST_SECONDS && growth >= before * LEAST_GROWTH)
    .sort((one, other) => other.growth - one.growth)
    .slice(0, limit);
}

/** Return the tests that failed, the most frequent first, with how often they ran. */
export function failingTests(runs, limit = 10) {
  return series(runs, (node) => isTest(node) && node.status !== "skipped")
    .map(({ id, name, points }) => ({ id, name, ran: points.length, failed: points.filter(({ node }) => kindOf(node.status) === "error").length }))
    .filter(({ failed }) => failed)
    .sort((one, other) => other.failed - one.failed || other.failed / other.ran - one.failed / one.ran)
    .slice(0, limit);
}

/** Return the nodes that failed in one try of a task instance and passed in a later one; each item of `instances` is its runs, oldest first. */
export function flaky(instances, limit = 10) {
  const found = new Map();
  for (const tries of instances) {
    const failed = new Set();
    const counted = new Set();
    for (const run of tries) {
      for (const node of run.nodes ?? []) {
        if (kindOf(node.status) === "error") failed.add(node.unique_id);
        else if (failed.has(node.unique_id) && ["success", "pass"].includes(kindOf(node.status)) && !counted.has(node.unique_id)) {
          counted.add(node.unique_id);
          const before = found.get(node.unique_id) ?? { id: node.unique_id, name: nameOf(node), times: 0 };
          found.set(node.unique_id, { ...before, times: before.times + 1 });
        }
      }
    }
  }
  return [...found.values()].sort((one, other) => other.times - one.times).slice(0, limit);
}
