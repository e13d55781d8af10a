/** Hits as files, and the question as a command, Python and curl. */
import { captionOf } from "./card.js";
import { html, useEffect, useRef } from "./html.js";
import { request } from "./question.js";

const cell = (value) => {
  const text = value === null || value === undefined ? "" : String(value);
  // A cell that starts like a formula would be computed by a spreadsheet.
  const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

const FILES = {
  "hits.csv": (hits) => {
    const names = [...new Set(hits.flatMap((hit) => Object.keys(hit.meta)))];
    const rows = hits.map((hit) => [hit.id, hit.score, ...names.map((name) => hit.meta[name])]);
    return [["id", "score", ...names], ...rows].map((row) => row.map(cell).join(",")).join("\r\n");
  },
  "hits.jsonl": (hits) => hits.map(({ id, score, meta }) => JSON.stringify({ id, score, meta })).join("\n"),
  "ids.txt": (hits) => hits.map(({ id }) => id).join("\n"),
  "hits.m3u": (hits) => {
    const played = hits.filter(({ media }) => media.video || media.audio);
    const lines = played.map((hit) => `#EXTINF:-1,${captionOf(hit) || hit.id}\n${new URL(hit.media.video ?? hit.media.audio, location.href)}`);
    return ["#EXTM3U", ...lines].join("\n");
  },
};

/** Columns of a table of questions, as `quiver fit` and `quiver bench recall` read it. */
const ASKED = ["text", "like", "unlike", "where", "target"];

/** Judgements as lines of a table of questions: what was asked, the id of the hit as `answer`, and its `grade`. */
export function labels(judged) {
  const lines = Object.entries(judged).flatMap(([id, { question, marks }]) => {
    const { query, files } = request(question);
    const asked = Object.fromEntries(ASKED.filter((name) => name in query).map((name) => [name, query[name]]));
    for (const [key, { name }] of files) asked[key] = name;
    return Object.entries(marks).map(([answer, mark]) => JSON.stringify({ id, ...asked, answer, grade: mark === "right" ? 1 : 0 }));
  });
  return lines.map((line) => `${line}\n`).join("");
}

export function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const shell = (text) => (/^[\w./:=,-]+$/.test(text) ? String(text) : `'${String(text).replaceAll("'", `'\\''`)}'`);
const python = (value) => {
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (value && typeof value === "object") return `{${Object.entries(value).map(([k, v]) => `${python(k)}: ${python(v)}`).join(", ")}}`;
  return JSON.stringify(value);
};

/** Options of `quiver search` where they are not the name of the setting. */
const OPTIONS = { k: "limit", like: "id", spaces: "space", weights: "weight" };
const option = (name) => `--${(OPTIONS[name] ?? name).replaceAll("_", "-")}`;

/** The question as a command of the shell. Without inputs it lists items. */
function asCommand(collection, query, files, searches) {
  if (!searches) return `quiver export ${shell(collection)} items.parquet --where ${shell(query.where)}`;
  const parts = ["quiver search", shell(collection)];
  for (const [key, { name }] of files) parts.push(option(key), shell(name));
  for (const [name, value] of Object.entries(query)) {
    const values = name === "weights" ? Object.entries(value).map((pair) => pair.join("=")) : [value].flat();
    for (const each of values) parts.push(option(name), ...(each === true ? [] : [shell(each)]));
  }
  return parts.join(" ");
}

function asPython(collection, query, files, searches) {
  const held = {};
  for (const [key, { name }] of files) (held[key] ??= []).push(name);
  const media = Object.entries(held).map(([key, names]) => [key, names.length === 1 ? names[0] : names]);
  const given = [...media, ...Object.entries(query)].map(([name, value]) => `${name}=${python(value)}`);
  const call = searches ? `search(${given.join(", ")})` : `head(${query.k}, where=${python(query.where)})`;
  return `import quiver\n\nitems = quiver.connect(${python(location.origin)}, ${python(collection)})\nfound = items.${call}`;
}

function asCurl(collection, query, files, searches) {
  const address = `${location.origin}/v1/collections/${encodeURIComponent(collection)}`;
  if (!searches) return `curl ${shell(`${address}/items?${new URLSearchParams({ where: query.where, limit: query.k })}`)}`;
  const search = shell(`${address}/search`);
  if (!files.length) return `curl -H 'Content-Type: application/json' -d ${shell(JSON.stringify(query))} ${search}`;
  const parts = files.map(([key, { name }]) => `-F ${shell(`${key}=@${name}`)}`).join(" ");
  return `curl -F ${shell(`query=${JSON.stringify(query)}`)} ${parts} ${search}`;
}

export function Exporting({ question, hits, selected, judged, close }) {
  const dialog = useRef(null);
  useEffect(() => dialog.current.showModal(), []);
  const { query, files } = request(question);
  const chosen = selected.size ? hits.filter(({ id }) => selected.has(id)) : hits;
  const wordings = { Command: asCommand, Python: asPython, curl: asCurl };
  return html`
    <dialog ref=${dialog} aria-labelledby="export-title" onClose=${close}>
      <div class="row top">
        <h2 id="export-title">Export</h2>
        <button type="button" onClick=${() => dialog.current.close()}>Close</button>
      </div>
      <h3>${selected.size ? `${chosen.length} selected hits` : `${chosen.length} hits`}</h3>
      <p class="row">
        ${Object.entries(FILES).map(([name, write]) => html`
          <button key=${name} type="button" onClick=${() => save(name, write(chosen))}>${name}</button>`)}
        ${Object.keys(judged).length > 0 && html`
          <button type="button" onClick=${() => save("labels.jsonl", labels(judged))}>labels.jsonl</button>`}
      </p>
      <h3>The question</h3>
      ${Object.entries(wordings).map(([name, write]) => html`
        <h4 key=${name}>${name}</h4>
        <pre tabindex="0" aria-label=${name}>${write(question.collection, query, files, question.inputs.length > 0)}</pre>`)}
      <p class="small quiet">The address of this page is the question too${files.length ? ", without its files" : ""}.</p>
    </dialog>`;
}
