/** Why these hits: the steps of the plan with estimate and actual, and what was refused. */
import { html, useEffect, useRef } from "./html.js";

/** A number as a person reads it. */
export const number = (value, digits = 2) =>
  value === null || value === undefined ? "" : Number(value).toLocaleString("en", { maximumFractionDigits: digits });

export function Why({ plan, actual, close }) {
  const dialog = useRef(null);
  useEffect(() => dialog.current.showModal(), []);
  const measured = new Map(actual.map((each) => [each.label, each]));
  return html`
    <dialog ref=${dialog} aria-labelledby="why-title" onClose=${close}>
      <div class="row top">
        <h2 id="why-title">Why these hits</h2>
        <button type="button" onClick=${() => dialog.current.close()}>Close</button>
      </div>
      <p class="quiet">Version ${plan.version}, ${number(plan.items)} items.</p>
      <table>
        <thead><tr><th>Step</th><th>Why</th><th class="number">Estimate</th><th class="number">Rows</th><th class="number">Milliseconds</th></tr></thead>
        <tbody>
          ${plan.stages.map((stage) => {
            const { rows, ms } = measured.get(stage.label) ?? {};
            return html`
              <tr key=${stage.label}>
                <th scope="row">${stage.label}</th>
                <td>${stage.reason}</td>
                <td class="number">${promise(stage)}</td>
                <td class="number">${number(rows)}</td>
                <td class="number">${number(ms)}</td>
              </tr>`;
          })}
        </tbody>
      </table>
      ${plan.refused.length > 0 && html`
        <h3>Not taken</h3>
        <ul>${plan.refused.map(({ what, why }) => html`<li key=${what}><b>${what}</b>: ${why}</li>`)}</ul>`}
    </dialog>`;
}

/** The estimate of a step, as far as it has one: its recall, and its time. */
function promise(stage) {
  const parts = [];
  const { recall, ms } = stage.estimate ?? stage;
  if (typeof recall === "number") parts.push(`recall ${number(recall, 3)}`);
  if (typeof ms === "number") parts.push(`${number(ms)} ms`);
  return parts.join(", ");
}
