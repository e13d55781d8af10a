/** The page by keyboard. */
import { html, useEffect, useRef } from "./html.js";

const HELP = [
  ["/", "go to the words"],
  ["Shift Enter", "add the words to those before"],
  ["← ↑ ↓ →", "move among the hits"],
  ["Enter", "more like the hit"],
  ["u", "less like the hit"],
  ["Space", "play or pause the hit"],
  ["x", "select the hit"],
  ["e", "why these hits"],
  ["?", "this help"],
];

const typing = (element) => element.matches("input, textarea, select, [contenteditable]");

/** Listen to the page's keys. `act` has more, less, select, why and help. */
export function useKeys(act, hits) {
  useEffect(() => {
    const press = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      if (typing(event.target)) return;
      const card = event.target.closest(".card");
      if (general(event.key, act) || (onGrid(event.key, card) ?? (event.target === card && onCard(event.key, card, act, hits)))) {
        event.preventDefault();
      }
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
}

function general(key, act) {
  if (key === "/") document.getElementById("words").focus();
  else if (key === "e") act.why();
  else if (key === "?") act.help();
  else return false;
  return true;
}

/** Move among the cards; undefined if the key is none of the arrows. */
function onGrid(key, card) {
  const cards = [...document.querySelectorAll(".card")];
  if (!key.startsWith("Arrow") || !cards.length) return undefined;
  const at = cards.indexOf(card); // -1 outside of the grid: any arrow then goes to the first card
  const across = cards.filter((each) => each.offsetTop === cards[0].offsetTop).length || 1;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[key];
  cards[at < 0 ? 0 : Math.min(cards.length - 1, Math.max(0, at + step))].focus();
  return true;
}

function onCard(key, card, act, hits) {
  const hit = hits.find(({ id }) => id === card.dataset.id);
  const does = { Enter: act.more, u: act.less, x: act.select }[key];
  if (hit && does) does(hit);
  else if (key === " ") play(card);
  else return false;
  return true;
}

function play(card) {
  const player = card.querySelector("video, audio");
  if (player) player.paused ? player.play() : player.pause();
  else card.querySelector("[data-play]")?.click();
}

export function Help({ close }) {
  const dialog = useRef(null);
  useEffect(() => dialog.current.showModal(), []);
  return html`
    <dialog ref=${dialog} aria-labelledby="help-title" onClose=${close}>
      <h2 id="help-title">Keys</h2>
      <table><tbody>
        ${HELP.map(([key, does]) => html`<tr key=${key}><th scope="row"><kbd>${key}</kbd></th><td>${does}</td></tr>`)}
      </tbody></table>
      <p><button type="button" onClick=${() => dialog.current.close()}>Close</button></p>
    </dialog>`;
}
