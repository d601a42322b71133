/** Elements of the pages: <run-results src> and <duration-chart runs>. Their styles are their own. */

import { durationChart } from "./view/chart.js";
import { html } from "./view/dom.js";
import { duration } from "./view/format.js";
import { outcomeText, runSeconds, runView } from "./view/run_view.js";

const system = matchMedia("(prefers-color-scheme: dark)");

class StyledElement extends HTMLElement {
  constructor() {
    super();
    this.content = html("div");
    const style = html("link", { rel: "stylesheet", href: new URL("view/style.css", import.meta.url) });
    this.attachShadow({ mode: "open" }).append(style, this.content);
  }

  connectedCallback() {
    this.follow = () => this.content.classList.toggle("dark", system.matches);
    this.follow();
    system.addEventListener("change", this.follow);
    this.draw();
  }

  disconnectedCallback() {
    system.removeEventListener("change", this.follow);
  }
}

/** The results of the dbt steps of a finished run. */
class RunResults extends StyledElement {
  async draw() {
    const response = await fetch(this.getAttribute("src"));
    if (response.ok) this.content.replaceChildren(runView(await response.json(), { title: false, fold: true }));
  }
}

/** A bar per run of a job, oldest first. */
class DurationChart extends StyledElement {
  static observedAttributes = ["runs"];

  attributeChangedCallback() {
    if (this.isConnected) this.draw();
  }

  draw() {
    const runs = JSON.parse(this.getAttribute("runs"));
    const describe = (run) => `Run ${run.run_id}: ${outcomeText(run).toLowerCase()}, ${duration(runSeconds(run))}`;
    this.content.replaceChildren(durationChart(runs, describe));
  }
}

customElements.define("run-results", RunResults);
customElements.define("duration-chart", DurationChart);
