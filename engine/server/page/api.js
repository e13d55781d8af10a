/** The service, as functions. Errors are `Problem`s: what is wrong and what to do. */

const ROOT = "/v1/collections";
let key = sessionStorage.getItem("quiver-key");

export class Problem extends Error {
  constructor(status, said) {
    super(said.detail ?? said.title ?? `the service answers ${status}`);
    this.status = status;
    this.kind = (said.type ?? "").split(":").pop();
    this.missingArrow = said.missing_arrow ?? null;
  }
}

/** Use an API key, for as long as this tab is open. */
export function useKey(given) {
  key = given;
  sessionStorage.setItem("quiver-key", given);
}

async function call(path, options = {}) {
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "The service does not answer: is it still running?" });
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Problem(answer.status, said);
}

const read = async (path, options) => (await call(path, options)).json();
const at = (...parts) => [ROOT, ...parts.map(encodeURIComponent)].join("/");

export const collections = async () => (await read(ROOT)).collections;
export const describe = (collection) => read(at(collection));

export function facets(collection, column, where) {
  const asked = new URLSearchParams({ column, limit: "12" });
  if (where) asked.set("where", where);
  return read(`${at(collection, "facets")}?${asked}`);
}

/** Items that match a condition, in the order on disk, as an answer without scores. */
export async function browse(collection, where, k, signal) {
  const asked = new URLSearchParams({ where, limit: String(k) });
  const { items } = await read(`${at(collection, "items")}?${asked}`, { signal });
  return { hits: items, plan: null, notes: [], partial: false };
}

/** Search; `files` are pairs of a key and a file. The answer has its plan, and what each step gave each hit. */
export function search(collection, { query, files }, signal) {
  const path = at(collection, "search");
  const asked = JSON.stringify({ ...query, trace: true, explain: "analyze" });
  if (!files.length) {
    const headers = { "Content-Type": "application/json" };
    return read(path, { method: "POST", body: asked, headers, signal });
  }
  const body = new FormData();
  body.set("query", asked);
  for (const [name, file] of files) body.append(name, file, file.name);
  return read(path, { method: "POST", body, signal });
}

/** Addresses of the media of a hit: links that work for a quarter of an hour where a key is needed. */
export const address = {
  media: (hit, which) => hit.media[which] ?? null,
  thumbnail: (hit, which) => {
    const [path, token] = (hit.media[which] ?? "").split("#")[0].split("?");
    if (!path) return null;
    const asked = new URLSearchParams(token);
    asked.set("key", which);
    asked.set("size", "384");
    return `${path.replace(/\/media\/[^/]+$/, "/thumbnail")}?${asked}`;
  },
};
