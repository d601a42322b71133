// The server marks <main> while it may change: then it is fetched anew every two seconds.
const main = document.querySelector("main");

const toEnd = (log) => log && (log.scrollTop = log.scrollHeight);

// Makes an element like a fresh one and leaves alone what is alike: focus, selection and open menus stay.
function update(old, fresh) {
  const mayChange = (name) => !(name === "open" && old.touched);
  for (const { name } of [...old.attributes]) {
    if (mayChange(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (mayChange(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const rest = [...old.childNodes];
  for (const node of [...fresh.childNodes]) {
    const at = rest.findIndex((one) => one.nodeName === node.nodeName && one.id === node.id);
    if (at < 0) {
      old.insertBefore(node, rest[0] ?? null);
      continue;
    }
    for (const gone of rest.splice(0, at)) gone.remove();
    const mine = rest.shift();
    if (node.nodeType === Node.ELEMENT_NODE) update(mine, node);
    // What is selected in a log stays so while it grows.
    else if (node.data.startsWith(mine.data)) mine.appendData(node.data.slice(mine.data.length));
    else mine.data = node.data;
  }
  for (const gone of rest) gone.remove();
}

async function refresh() {
  if (!("refresh" in main.dataset)) return;
  try {
    const answer = await fetch(location.href);
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const logs = [...main.querySelectorAll("pre")];
    const atEnd = logs.filter((log) => log.scrollTop + log.clientHeight > log.scrollHeight - 4);
    document.title = page.title;
    update(main, page.querySelector("main"));
    atEnd.forEach(toEnd);
  } catch {
    document.querySelector("#lost").hidden = false;
  }
  setTimeout(refresh, 2000);
}

// A step that the reader has opened, closed or read in stays as it is.
main.addEventListener("click", (event) => {
  const step = event.target.closest("details");
  if (step) step.touched = true;
});
main.addEventListener("toggle", (event) => toEnd(event.target.querySelector("pre")), true);
// Those that are open from the start may have said so before this script was there.
main.querySelectorAll("pre").forEach(toEnd);
setTimeout(refresh, 2000);
