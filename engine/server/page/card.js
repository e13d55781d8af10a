/** One hit: its media, what each step gave it, its metadata, and what can be done with it. */
import { html } from "./html.js";
import { Media } from "./media.js";
import { CALLED } from "./question.js";
import { number } from "./why.js";

/** Metadata of a card that are shown without opening it. */
const BRIEF = 3;
/** Metadata that captions a hit, the first that is there. */
const CAPTIONS = ["text", "name", "title", "caption"];
export const captionOf = (hit) => CAPTIONS.map((name) => hit.meta[name]).find(Boolean) ?? "";
export const nameOf = (hit) => captionOf(hit) || hit.id;

/**
 * @param {{hit: object, place: number, act: Record<string, Function>, selected: boolean, mark: string|undefined,
 *   note: string|undefined}} props
 */
export function Card({ hit, place, target, act, selected, mark, note }) {
  const name = nameOf(hit);
  const said = captionOf(hit);
  const folded = hit.trace?.deduplicate?.folded ?? 0;
  const facts = Object.entries(hit.meta).filter(([, value]) => value !== null && value !== "" && value !== said);
  return html`
    <li class=${`card ${selected ? "selected" : ""}`} tabindex="-1" data-id=${hit.id} aria-label=${`${place}. ${name}`}>
      <${Media} hit=${hit} target=${target} name=${name} />
      <div><span class="quiet">${place}.</span> ${hit.score !== undefined && html`<span class="score" title="score">${number(hit.score, 3)}</span>`}
        ${mark && html` <span class="tag">${mark}</span>`}
        ${note && html` <span class="tag">${note}</span>`}
        ${folded > 0 && html` <span class="tag">${folded} near-duplicates</span>`}</div>
      ${said && html`<div>${said}</div>`}
      <div class="small quiet">${facts.slice(0, BRIEF).map(([key, value]) => `${key} ${value}`).join(", ")}</div>
      <details>
        <summary class="small quiet">more</summary>
        <dl class="facts">
          <dt>id</dt><dd>${hit.id}</dd>
          ${facts.map(([key, value]) => html`<dt key=${key}>${key}</dt><dd>${String(value)}</dd>`)}
        </dl>
        <${Terms} trace=${hit.trace} />
      </details>
      <div class="actions">
        <button type="button" onClick=${() => act.more(hit)} aria-label=${`More like ${name}`}>More</button>
        <button type="button" onClick=${() => act.less(hit)} aria-label=${`Less like ${name}`}>Less</button>
        <button type="button" aria-pressed=${selected} onClick=${() => act.select(hit)} aria-label=${`Select ${name}`}>Select</button>
        <button type="button" aria-pressed=${mark === "right"} onClick=${() => act.judge(hit, "right")} aria-label=${`${name} is right`}>✓</button>
        <button type="button" aria-pressed=${mark === "wrong"} onClick=${() => act.judge(hit, "wrong")} aria-label=${`${name} is wrong`}>✗</button>
      </div>
    </li>`;
}

/** What each step of the plan gave a hit, as bars where it is a score. */
function Terms({ trace }) {
  const rows = Object.entries(trace ?? {}).flatMap(([step, values]) =>
    Object.entries(values)
      .filter(([name, value]) => !["rank", "folded"].includes(name) && typeof value === "number")
      .map(([name, value]) => [name === "score" ? step : `${step}, ${CALLED[name] ?? name}`, value, values.rank]),
  );
  if (!rows.length) return null;
  const most = Math.max(...rows.map(([, value]) => Math.abs(value)), 1e-9);
  return html`
    <div class="terms">
      ${rows.map(([name, value, rank]) => html`
        <span key=${`${name} name`}>${name}${rank ? `, rank ${rank}` : ""}</span>
        <meter aria-label=${name} min="0" max=${most} value=${Math.max(0, value)}></meter>
        <span>${number(value, 3)}</span>`)}
    </div>`;
}
