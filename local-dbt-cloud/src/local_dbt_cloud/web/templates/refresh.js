// The server marks <main> while its content may change. Fetch it again every two seconds.
const main = document.querySelector("main");

const scrollToEnd = (log) => log && (log.scrollTop = log.scrollHeight);

// Update an element in place from its new version, which keeps focus, selection and open menus.
function update(old, fresh) {
  const mayChange = (name) => !(name === "open" && old.touched);
  for (const { name } of [...old.attributes]) {
    if (mayChange(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (mayChange(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const unmatched = [...old.childNodes];
  for (const node of [...fresh.childNodes]) {
    const index = unmatched.findIndex((child) => child.nodeName === node.nodeName && child.id === node.id);
    if (index < 0) {
      old.insertBefore(node, unmatched[0] ?? null);
      continue;
    }
    for (const removed of unmatched.splice(0, index)) removed.remove();
    const existing = unmatched.shift();
    if (node.nodeType === Node.ELEMENT_NODE) update(existing, node);
    // Appending keeps the selection in a growing log.
    else if (node.data.startsWith(existing.data)) existing.appendData(node.data.slice(existing.data.length));
    else existing.data = node.data;
  }
  for (const removed of unmatched) removed.remove();
}

async function refresh() {
  if (!("refresh" in main.dataset)) return;
  try {
    const response = await fetch(location.href);
    if (!response.ok) throw new Error(response.statusText);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const logs = [...main.querySelectorAll("pre")];
    const atEnd = logs.filter((log) => log.scrollTop + log.clientHeight > log.scrollHeight - 4);
    document.title = page.title;
    update(main, page.querySelector("main"));
    atEnd.forEach(scrollToEnd);
  } catch {
    document.querySelector("#connection-lost").hidden = false;
  }
  setTimeout(refresh, 2000);
}

// Do not open or close a step that the user has clicked.
main.addEventListener("click", (event) => {
  const step = event.target.closest("details");
  if (step) step.touched = true;
});
main.addEventListener("toggle", (event) => scrollToEnd(event.target.querySelector("pre")), true);
// Steps that are open initially may have sent their toggle event before this script ran.
main.querySelectorAll("pre").forEach(scrollToEnd);
setTimeout(refresh, 2000);
