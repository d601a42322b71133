/** Create elements without HTML strings: text stays text. */

const SVG = "http://www.w3.org/2000/svg";

function append(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return an HTML element; attributes named on... are event listeners. */
export const html = (tag, attributes = {}, ...children) => append(document.createElement(tag), attributes, children);

/** Return an SVG element. */
export const svg = (tag, attributes = {}, ...children) => append(document.createElementNS(SVG, tag), attributes, children);

/** Return a link, or only its text if the address is not one of the web. */
export function link(href, text) {
  const isWeb = /^https?:\/\//.test(href ?? "");
  return isWeb ? html("a", { href, target: "_blank", rel: "noopener" }, text) : html("span", {}, text);
}
