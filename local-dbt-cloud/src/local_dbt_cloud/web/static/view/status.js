/** How dbt's statuses look: a kind, which gives the color, and a sign, for those who cannot tell colors apart. */

export const KINDS = {
  error: { sign: "✕", label: "error or failed test", rank: 0 },
  warn: { sign: "!", label: "warning", rank: 1 },
  skipped: { sign: "–", label: "skipped", rank: 2 },
  success: { sign: "✓", label: "built", rank: 3 },
  pass: { sign: "●", label: "test passed", rank: 3 },
  reused: { sign: "↺", label: "reused", rank: 4 },
  other: { sign: "○", label: "nothing to do, or unknown", rank: 3 },
};

const OF_STATUS = {
  error: "error", fail: "error", "runtime error": "error", "partial success": "error", cancelled: "skipped",
  expired: "error", warn: "warn", skipped: "skipped", success: "success", pass: "pass", reused: "reused",
};

/** Return the kind of a status of a node, a source or a run. */
export const kindOf = (status) => OF_STATUS[status] ?? "other";

export const signOf = (status) => KINDS[kindOf(status)].sign;

/** Return the short name of a node; results of older versions have none. */
export function nameOf(node) {
  if (node.name) return node.name;
  const [kind, , ...names] = node.unique_id.split(".");
  return (kind === "test" ? names.slice(0, 1) : names).join(".") || node.unique_id;
}

/** Return "model", "test" and so on. */
export const typeOf = (node) => node.unique_id.split(".")[0].replace("_", " ");
