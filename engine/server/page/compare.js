/** Two spaces side by side: who found what, and where. */
import { Card } from "./card.js";
import { html } from "./html.js";

export function Compare({ question, sides, act, selected, marks }) {
  const ranks = sides.map(({ hits }) => new Map(hits.map((hit, n) => [hit.id, n + 1])));
  const shared = [...ranks[0].keys()].filter((id) => ranks[1].has(id)).length;
  const names = [question.space || "the default space", question.other];
  return html`
    <p role="status">${shared} of ${Math.max(ranks[0].size, ranks[1].size)} hits are found by both.</p>
    <div class="columns">
      ${sides.map(({ hits }, side) => html`
        <section key=${side} aria-label=${`Hits in ${names[side]}`}>
          <h2 class="small">${names[side]}</h2>
          <ol class="grid">
            ${hits.map((hit, n) => html`
              <${Card} key=${hit.id} hit=${hit} place=${n + 1} target=${question.target} act=${act}
                selected=${selected.has(hit.id)} mark=${marks[hit.id]} note=${elsewhere(ranks[1 - side].get(hit.id), n + 1)} />`)}
          </ol>
        </section>`)}
    </div>`;
}

/** Where the other space has a hit. */
function elsewhere(rank, own) {
  if (!rank) return "only here";
  if (rank === own) return "same place";
  return `${rank < own ? "↑" : "↓"} ${rank} there`;
}
