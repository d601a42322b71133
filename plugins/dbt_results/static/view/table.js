/** A table of nodes that searches and sorts. */

import { html } from "./dom.js";
import { KINDS, kindOf, nameOf, signOf, typeOf } from "./status.js";

// Rows that are drawn at once.
const FIRST_ROWS = 200;

const COLUMNS = [
  { title: "Status", value: (node) => KINDS[kindOf(node.status)].rank, text: (node) => node.status },
  { title: "Type", value: typeOf, text: typeOf },
  { title: "Name", value: nameOf, text: nameOf },
  { title: "Seconds", number: true, value: (node) => -(node.execution_time || 0), text: (node) => (node.execution_time || 0).toFixed(2) },
  { title: "Rows", number: true, value: (node) => -(node.rows ?? -1), text: (node) => node.rows?.toLocaleString("en") ?? "" },
];

/** Return the nodes in the order of a column; nodes that are equal in it keep their order. */
export function sortNodes(nodes, column, descending) {
  const { value } = COLUMNS[column];
  const sign = descending ? -1 : 1;
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  return [...nodes].sort((one, other) => sign * compare(value(one), value(other)));
}

/** Return whether all words of a query are in a node's id, name, status or message. */
export function matches(node, query) {
  const text = `${node.unique_id} ${nameOf(node)} ${node.status} ${node.message ?? ""}`.toLowerCase();
  return query.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/** Return the section with the table; `show(isShown)` limits it to some nodes. */
export function nodeTable(nodes, id) {
  let query = "";
  let isShown = () => true;
  let order = null;
  let limit = FIRST_ROWS;
  const body = html("tbody");
  const number = html("span", { class: "soft", role: "status" });
  const more = html("button", { type: "button", onclick: () => { limit = Infinity; draw(); } });
  const headers = COLUMNS.map((column, index) => html("th", { scope: "col", class: column.number ? "number" : null },
    html("button", { type: "button", onclick: () => sortBy(index) }, column.title)));
  const search = html("input", {
    type: "search", id: `search-${id}`, placeholder: "Search", autocomplete: "off",
    oninput: () => { query = search.value.trim(); limit = FIRST_ROWS; draw(); },
  });

  function sortBy(column) {
    order = { column, descending: order?.column === column && !order.descending };
    headers.forEach((header, index) => {
      if (index === column) header.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
      else header.removeAttribute("aria-sort");
    });
    draw();
  }

  function draw() {
    const found = nodes.filter((node) => isShown(node) && (!query || matches(node, query)));
    const sorted = order ? sortNodes(found, order.column, order.descending) : found;
    body.replaceChildren(...sorted.slice(0, limit).map(row));
    number.textContent = found.length === nodes.length ? `${nodes.length}` : `${found.length} of ${nodes.length}`;
    more.hidden = sorted.length <= limit;
    more.textContent = `Show all ${sorted.length}`;
  }

  draw();
  const section = html("section", {},
    html("div", { class: "bar-above" }, html("h3", {}, "All nodes ", number),
      html("label", { class: "search", for: search.id }, html("span", { class: "hidden" }, "Search nodes"), search)),
    html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "All nodes" },
      html("table", { class: "nodes" }, html("thead", {}, html("tr", {}, headers)), body)),
    more);
  return {
    element: section,
    show(filter) { isShown = filter; limit = FIRST_ROWS; draw(); },
    search(text) { search.value = text; query = text; draw(); },
  };
}

function row(node) {
  return html("tr", {}, COLUMNS.map((column, index) => {
    if (index === 0) return html("td", {}, html("span", { class: `sign ${kindOf(node.status)}`, "aria-hidden": "true" }, signOf(node.status)), node.status);
    if (index === 2) {
      return html("td", {}, html("details", { class: "id" }, html("summary", {}, nameOf(node)), html("code", {}, node.unique_id)));
    }
    return html("td", { class: column.number ? "number" : null }, column.text(node));
  }));
}
