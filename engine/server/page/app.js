/** The page: a question on top, filters beside, hits below. */
import { browse, collections, describe, search, useKey } from "./api.js";
import { Bar, Chips, Sliders } from "./bar.js";
import { Card, nameOf } from "./card.js";
import { Compare } from "./compare.js";
import { Crop } from "./crop.js";
import { Exporting } from "./exporting.js";
import { Facets } from "./facets.js";
import { html, render, useEffect, useRef, useState } from "./html.js";
import { Help, useKeys } from "./keys.js";
import { EMPTY, askable, condition, fromAddress, request, sentence, toAddress } from "./question.js";
import { Settings } from "./settings.js";
import { Why } from "./why.js";

const NOTHING = { hits: [], sides: null, plan: null, partial: false };

/** What the page needs to know of a collection. */
function outline({ name, items, columns, meta }) {
  const distinct = (field) => [...new Set(columns.map((column) => column[field]))];
  return { name, items, targets: distinct("key"), spaces: distinct("space"), columns: Object.keys(meta) };
}

/** Names of the collections, and what the chosen one has. */
function useCollection(question, change, fail) {
  const [names, setNames] = useState([]);
  const [info, setInfo] = useState(null);
  useEffect(() => {
    collections().then((found) => {
      setNames(found.map(({ name }) => name));
      if (!question.collection && found.length) change({ ...question, collection: found[0].name });
    }, fail);
  }, []);
  useEffect(() => {
    if (!question.collection) return;
    setInfo(null);
    describe(question.collection).then((found) => setInfo(outline(found)), fail);
  }, [question.collection]);
  return [names, info];
}

/** The answer to the question; an answer that comes after a newer question is dropped. */
function useAnswer(question, fail) {
  const [answer, setAnswer] = useState(NOTHING);
  const [busy, setBusy] = useState(false);
  const running = useRef(null);

  async function ask(offset) {
    running.current?.abort();
    const control = (running.current = new AbortController());
    setBusy(true);
    try {
      const spaces = question.other && !offset ? [question.space, question.other] : [question.space];
      const more = offset ? { offset } : {};
      const asked = question.inputs.length
        ? spaces.map((space) => search(question.collection, request({ ...question, space }, more), control.signal))
        : [browse(question.collection, condition(question), question.k + (offset ?? 0), control.signal)];
      const sides = await Promise.all(asked);
      const hits = offset && question.inputs.length ? [...answer.hits, ...sides[0].hits] : sides[0].hits;
      setAnswer({ ...sides[0], hits, sides: sides.length > 1 ? sides : null });
      fail(null);
    } catch (problem) {
      if (problem.name !== "AbortError") (setAnswer(NOTHING), fail(problem));
    } finally {
      if (running.current === control) setBusy(false);
    }
  }

  useEffect(() => {
    if (!question.collection || !askable(question)) setAnswer(NOTHING);
    else ask(0);
  }, [question]);
  return [answer, busy, () => ask(answer.hits.length)];
}

function App() {
  const [question, setQuestion] = useState(() => fromAddress(location.hash));
  const [problem, setProblem] = useState(null);
  const [notice, say] = useState("");
  const [open, setOpen] = useState(null);
  const [selected, setSelected] = useState(new Set());
  const [judged, setJudged] = useState({});

  /** Ask another question; the address follows, so that back and forward work. */
  function change(next) {
    setQuestion(next);
    say("");
    if (toAddress(next) !== location.hash) history.pushState(null, "", toAddress(next));
    document.title = askable(next) ? `${sentence(next)} · Quiver` : "Quiver";
  }
  useEffect(() => {
    const back = () => setQuestion(fromAddress(location.hash));
    addEventListener("popstate", back);
    return () => removeEventListener("popstate", back);
  }, []);

  const [names, info] = useCollection(question, change, setProblem);
  const [answer, busy, more] = useAnswer(question, setProblem);
  const asked = sentence(question);
  const marks = judged[asked]?.marks ?? {};
  /** Ask from a hit: the new hits are read from the top, also by a screen reader. */
  const from = (next) => {
    change(next);
    scrollTo(0, 0);
    document.getElementById("hits").focus({ preventScroll: true });
  };
  const item = (hit, less) => from({ ...question, inputs: [...question.inputs, { key: "item", value: hit.id, name: nameOf(hit), less }] });
  const act = {
    more: (hit) => from({ ...question, inputs: [{ key: "item", value: hit.id, name: nameOf(hit) }] }),
    less: (hit) => item(hit, true),
    select: ({ id }) => setSelected(new Set(selected.has(id) ? [...selected].filter((each) => each !== id) : [...selected, id])),
    judge: ({ id }, mark) => {
      const { [id]: before, ...others } = marks;
      setJudged({ ...judged, [asked]: { question, marks: before === mark ? others : { ...others, [id]: mark } } });
    },
    why: () => answer.plan && setOpen("why"),
    help: () => setOpen("help"),
  };
  useKeys(act, answer.hits);
  const close = () => setOpen(null);
  const cropped = typeof open === "number" ? question.inputs[open] : null;
  const crop = (file) => {
    const inputs = question.inputs.map((input, n) => (n === open ? { ...input, value: file, name: file.name } : input));
    close();
    change({ ...question, inputs });
  };

  return html`
    <a class="skip" href="#hits" onClick=${(event) => (event.preventDefault(), document.getElementById("hits").focus())}>Go to the hits</a>
    <header>
      <div class="row top">
        <h1>Quiver</h1>
        <label>Collection <select id="collection" value=${question.collection}
          onChange=${(event) => change({ ...EMPTY, collection: event.currentTarget.value })}>
          ${names.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
        </select></label>
        <button type="button" onClick=${act.help}>Keys</button>
      </div>
      <${Bar} question=${question} pairs=${info?.targets.includes("pair") && !info.targets.includes("image")} change=${change} say=${say} />
      <${Chips} question=${question} change=${change} crop=${setOpen} />
      <${Sliders} question=${question} change=${change} />
      ${info && html`<${Settings} question=${question} info=${info} columns=${info.columns} change=${change} />`}
    </header>
    <div class="body">
      ${info ? html`<${Facets} question=${question} columns=${info.columns} change=${change} say=${say} />` : html`<div></div>`}
      <main id="hits" tabindex="-1" aria-label="Hits">
        <div aria-live="polite">
          ${problem && html`<${Told} problem=${problem} question=${question} change=${change} />`}
          ${notice && html`<p class="notice wrong">${notice}</p>`}
          ${(answer.notes ?? []).map((note) => html`<p key=${note} class="notice">${note}</p>`)}
          ${answer.partial && html`<p class="notice">This answer is partial: see the notes.</p>`}
        </div>
        <${Hits} question=${question} answer=${answer} busy=${busy} info=${info} more=${more} act=${act}
          selected=${selected} marks=${marks} show=${setOpen} />
      </main>
    </div>
    ${open === "why" && html`<${Why} plan=${answer.plan} actual=${answer.actual} close=${close} />`}
    ${open === "help" && html`<${Help} close=${close} />`}
    ${open === "export" && html`<${Exporting} question=${question} hits=${answer.hits} selected=${selected} judged=${judged} close=${close} />`}
    ${cropped && html`<${Crop} file=${cropped.value} done=${crop} close=${close} />`}`;
}

function Hits({ question, answer, busy, info, more, act, selected, marks, show }) {
  const { hits, sides, plan } = answer;
  const done = answer !== NOTHING;
  if (!askable(question)) {
    return html`<p class="quiet">${info ? `${info.items.toLocaleString("en")} items. ` : ""}Type words, drop a file, or choose a filter.</p>`;
  }
  const count = busy ? "Searching" : !done ? "" : `${hits.length.toLocaleString("en")} ${hits.length === 1 ? "hit" : "hits"}`;
  return html`
    <div class="row top">
      <p role="status" class=${busy ? "busy" : ""}>${count}</p>
      <span class="row">
        ${plan && html`<button type="button" id="why" onClick=${() => show("why")}>Why these hits</button>`}
        ${done && html`<button type="button" id="export" onClick=${() => show("export")}>Export</button>`}
      </span>
    </div>
    ${sides
      ? html`<${Compare} question=${question} sides=${sides} act=${act} selected=${selected} marks=${marks} />`
      : html`
        <ol class="grid">
          ${hits.map((hit, n) => html`
            <${Card} key=${hit.id} hit=${hit} place=${n + 1} target=${question.target} act=${act}
              selected=${selected.has(hit.id)} mark=${marks[hit.id]} />`)}
        </ol>
        ${hits.length > 0 && hits.length % question.k === 0 && html`<p><button type="button" id="more" disabled=${busy} onClick=${more}>More hits</button></p>`}`}
    ${done && !busy && !hits.length && html`<p>Nothing found${answer.reason ? `: ${answer.reason}` : "."}</p>`}`;
}

/** A problem in the service's words, and a way out: a field for a missing key, a button for each file that cannot be read. */
function Told({ problem, question, change }) {
  const files = problem.kind === "bad-media" ? question.inputs.filter(({ value }) => value instanceof Blob) : [];
  const without = (file) => change({ ...question, inputs: question.inputs.filter((each) => each !== file) });
  const enter = (event) => (event.preventDefault(), useKey(event.currentTarget.elements.key.value), location.reload());
  return html`
    <div class="notice wrong" role="alert">
      <p>${problem.message}</p>
      ${problem.missingArrow && html`<p>Missing: <b>${problem.missingArrow}</b></p>`}
      ${files.map((file) => html`<button key=${file.name} type="button" onClick=${() => without(file)}>Ask without ${file.name}</button>`)}
      ${problem.status === 401 && html`
        <form class="row" onSubmit=${enter}>
          <label>API key <input name="key" type="text" autocomplete="off" spellcheck=${false} /></label>
          <button type="submit">Use it</button>
        </form>`}
    </div>`;
}

render(html`<${App} />`, document.getElementById("app"));
