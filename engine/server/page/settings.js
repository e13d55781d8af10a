/** How to search: what to find, how many, where, in which order. */
import { html } from "./html.js";
import { CALLED } from "./question.js";

export function Settings({ question, info, columns, change }) {
  const set = (name) => (event) => {
    const { type, checked, value } = event.currentTarget;
    change({ ...question, [name]: type === "checkbox" ? checked : type === "number" || type === "range" ? Number(value) : value });
  };
  const spaces = info.spaces;
  const named = columns.map((name) => html`<option key=${name} value=${name}>${name}</option>`);
  return html`
    <div class="row">
      <label>Find <select id="target" value=${question.target} onChange=${set("target")}>
        <option value="">anything</option>
        ${info.targets.map((key) => html`<option key=${key} value=${key}>${CALLED[key] ?? key}s</option>`)}
      </select></label>
      <label>Hits <input id="k" type="number" min="1" max="200" value=${question.k} onChange=${set("k")} /></label>
      <details>
        <summary>More settings</summary>
        <div class="row">
          <label>Sort these hits by <select value=${question.order} onChange=${set("order")}>
            <option value="">score</option>
            ${columns.flatMap((name) => [name, `${name} desc`]).map((value) => html`
              <option key=${value} value=${value}>${value.replace(/ desc$/, ", largest first")}</option>`)}
          </select></label>
          <label>One hit per <select value=${question.group} onChange=${set("group")}>
            <option value="">item</option>${named}
          </select></label>
          <label>Search in <select value=${question.space} onChange=${set("space")}>
            <option value="">the default space</option>
            ${spaces.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
          </select></label>
          <label>Compare with <select id="other" value=${question.other} onChange=${set("other")}>
            <option value="">nothing</option>
            ${spaces.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
          </select></label>
          <label><input type="checkbox" checked=${question.words} onChange=${set("words")} /> match words too</label>
          <label><input type="checkbox" checked=${question.fold} onChange=${set("fold")} /> fold near-duplicates</label>
          <label><input type="checkbox" checked=${question.fits} onChange=${set("fits")} /> only what fits</label>
          <label>Diversity <input type="range" min="0" max="1" step="0.1" value=${question.diversity}
            aria-valuetext=${String(question.diversity)} onChange=${set("diversity")} /></label>
        </div>
      </details>
    </div>`;
}
