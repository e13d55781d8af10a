/** The media of a hit: a picture, two of a pair, a film that plays from its moment, a sound with its waveform. */
import { address } from "./api.js";
import { html, useState } from "./html.js";

export function Media({ hit, target, name }) {
  const keys = Object.keys(hit.media ?? {}).filter((key) => key !== "text");
  const pair = keys.includes("before") && keys.includes("after");
  if (pair && (!target || target === "pair")) {
    return html`<div class="pair">
      ${["before", "after"].map((which) => html`
        <figure key=${which}>
          <${Picture} hit=${hit} which=${which} alt=${`${name}, ${which}`} />
          <figcaption class="small quiet" aria-hidden="true">${which}</figcaption>
        </figure>`)}
    </div>`;
  }
  const wanted = keys.includes(target) ? [target] : keys;
  return wanted.map((key) => html`<${Player} key=${key} hit=${hit} which=${key} name=${name} />`);
}

function Player({ hit, which, name }) {
  if (which === "video") return html`<${Film} hit=${hit} name=${name} />`;
  if (which === "audio") return html`<${Sound} hit=${hit} name=${name} />`;
  return html`<${Picture} hit=${hit} which=${which} alt=${name} />`;
}

/** Show something else where a file cannot be shown. */
function useFailed(address) {
  const [failed, setFailed] = useState(null);
  return [failed === address && address !== null, () => setFailed(address)];
}

function Picture({ hit, which, alt }) {
  const shown = address.thumbnail(hit, which);
  const [failed, fail] = useFailed(shown);
  if (failed || !shown) return html`<p class="small quiet">This picture cannot be shown.</p>`;
  return html`<img class="shown" src=${shown} alt=${alt} loading="lazy" onError=${fail} />`;
}

function Film({ hit, name }) {
  const still = address.thumbnail(hit, "video");
  const film = address.media(hit, "video");
  const [wanted, setWanted] = useState(false);
  const [failed, fail] = useFailed(film);
  if (failed) return html`<p class="small quiet">This film cannot be played.</p>`;
  if (wanted) {
    return html`<video class="shown" src=${film} controls autoplay muted aria-label=${name} poster=${still} onError=${fail}></video>`;
  }
  return html`
    <button class="shown" type="button" data-play aria-label=${`Play ${name}`} onClick=${() => setWanted(true)}>
      <img src=${still} alt="" loading="lazy" />
      <span class="small">▶ ${moment(film) || "play"}</span>
    </button>`;
}

function Sound({ hit, name }) {
  const sound = address.media(hit, "audio");
  const [wanted, setWanted] = useState(false);
  const [failed, fail] = useFailed(sound);
  const player = wanted
    ? html`<audio src=${sound} controls autoplay aria-label=${name} onError=${fail}></audio>`
    : html`<button type="button" data-play aria-label=${`Play ${name}`} onClick=${() => setWanted(true)}>▶ ${moment(sound) || "play"}</button>`;
  return html`
    <div class="shown wave"><img src=${address.thumbnail(hit, "audio")} alt=${`waveform of ${name}`} loading="lazy" /></div>
    ${failed ? html`<p class="small quiet">This sound cannot be played.</p>` : player}`;
}

/** The seconds that an address names, as words: the browser plays just them. */
function moment(link) {
  const found = /#t=([\d.]+)(?:,([\d.]+))?$/.exec(link ?? "");
  if (!found) return "";
  const clock = (text) => `${Math.floor(text / 60)}:${String(Math.floor(text % 60)).padStart(2, "0")}`;
  return `${clock(found[1])} to ${found[2] ? clock(found[2]) : "the end"}`;
}
