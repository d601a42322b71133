// While something on the page is active, the server marks <main>; then it is fetched anew every two seconds.
const main = document.querySelector("main");

async function refresh() {
  if (!("refresh" in main.dataset)) return;
  try {
    const answer = await fetch(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("main");
    document.title = page.title;
    // What the reader has opened or closed stays so, and a log keeps its place, at its end if it was there.
    for (const old of main.querySelectorAll("details[id]")) {
      const details = fresh.querySelector("#" + old.id);
      if (details && old.dataset.touched) {
        details.open = old.open;
        details.dataset.touched = old.dataset.touched;
      }
    }
    const scrolled = new Map();
    for (const log of main.querySelectorAll("details[id] pre")) {
      const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
      scrolled.set(log.parentElement.id, atEnd ? Infinity : log.scrollTop);
    }
    main.innerHTML = fresh.innerHTML;
    for (const log of main.querySelectorAll("details[id] pre")) {
      const top = scrolled.get(log.parentElement.id) ?? Infinity;
      log.scrollTop = top === Infinity ? log.scrollHeight : top;
    }
    if (!("refresh" in fresh.dataset)) delete main.dataset.refresh;
    delete main.dataset.lost;
  } catch {
    main.dataset.lost = "The local dbt Cloud does not answer.";
  }
  setTimeout(refresh, 2000);
}

main.addEventListener("click", (event) => {
  const summary = event.target.closest("summary");
  if (summary) summary.parentElement.dataset.touched = "yes";
});
setTimeout(refresh, 2000);
