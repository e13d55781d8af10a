/**
 * A question as a plain object, and what it becomes: a request, an address, words for a person.
 *
 * @typedef {object} Input one thing to search with
 * @property {"text"|"image"|"audio"|"video"|"before"|"after"|"item"} key
 * @property {string|Blob} value a text, an id, or a file
 * @property {string} name what the page calls it
 * @property {boolean} [less] find less of it instead of more
 *
 * @typedef {object} Question
 * @property {string} collection
 * @property {Input[]} inputs
 * @property {string} target the key to find; empty for any
 * @property {number} k hits of a page
 * @property {Record<string, any[]>} filters values that are wanted, by column
 * @property {string} where a condition beside the filters
 * @property {Record<string, number>} weights of inputs, by key
 * @property {string} space where to search; empty for the default
 * @property {string} other a second space, to compare with
 * @property {string} order column to sort by; "price desc" for the largest first
 * @property {string} group column of which one hit per value is kept
 * @property {boolean} words also match words
 * @property {number} diversity 0 to 1
 * @property {boolean} fold near-duplicates of a better hit are left out
 * @property {boolean} fits only hits above the learnt minimum score
 */

/** @type {Question} */
export const EMPTY = {
  collection: "",
  inputs: [],
  target: "",
  k: 24,
  filters: {},
  where: "",
  weights: {},
  space: "",
  other: "",
  order: "",
  group: "",
  words: false,
  diversity: 0,
  fold: false,
  fits: false,
};
/** Cosine similarity from which a hit is a near-duplicate of a better one. */
const DUPLICATE = 0.98;

/** What a person calls each key. */
export const CALLED = {
  text: "text",
  image: "picture",
  audio: "sound",
  video: "film",
  before: "picture before",
  after: "picture after",
  pair: "pair of pictures",
  item: "item",
};

/** The key of a file by its type, or null if it is no picture, sound or film. */
export function keyOf(file) {
  const kind = file.type.split("/")[0];
  return ["image", "audio", "video"].includes(kind) ? kind : null;
}

const sql = (text) => `'${text.replaceAll("'", "''")}'`;
const column = (name) => `"${name.replaceAll('"', '""')}"`;

const literal = (value) => (typeof value === "string" ? sql(value) : String(value));

/** A wanted value as SQL: a value, null for none, [low, high) for a range, {has: value} for a member of a list. */
function test(name, value) {
  if (value === null) return `${column(name)} IS NULL`;
  if (Array.isArray(value)) return `(${column(name)} >= ${literal(value[0])} AND ${column(name)} < ${literal(value[1])})`;
  if (typeof value === "object") return `array_has(${column(name)}, ${literal(value.has)})`;
  return `${column(name)} = ${literal(value)}`;
}

/** A filter as SQL: `"brand" IN ('a', 'b')`, or several tests of which one holds. */
function wanted(name, values) {
  const plain = values.filter((value) => value !== null && typeof value !== "object");
  if (plain.length === values.length && plain.length > 1) return `${column(name)} IN (${plain.map(literal).join(", ")})`;
  const tests = values.map((value) => test(name, value));
  return tests.length > 1 ? `(${tests.join(" OR ")})` : tests[0];
}

/** The whole condition of a question, or null if it has none. */
export function condition(question) {
  const filters = Object.entries(question.filters).filter(([, values]) => values.length);
  const tests = filters.map(([name, values]) => wanted(name, values));
  const own = question.where.trim();
  if (own) tests.push(tests.length ? `(${own})` : own);
  return tests.join(" AND ") || null;
}

/** The inputs of a question by key: texts, ids and files. */
function valuesOf(inputs, less) {
  const found = {};
  for (const input of inputs) {
    if (Boolean(input.less) === less) (found[input.key] ??= []).push(input.value);
  }
  return found;
}

const single = (values) => (values.length === 1 ? values[0] : values);

/**
 * The request of a question.
 *
 * @param {Question} question
 * @param {object} more settings beside: offset, or a space
 * @returns {{query: object, files: [string, Blob][]}}
 */
export function request(question, more = {}) {
  const like = valuesOf(question.inputs, false);
  const unlike = valuesOf(question.inputs, true);
  const query = { k: question.k };
  const files = [];
  for (const [key, values] of Object.entries(like)) {
    if (key === "item") query.like = values;
    else if (key === "text") query.text = single(values);
    else for (const value of values) files.push([key, value]);
  }
  if (unlike.item) query.unlike = unlike.item;
  if (unlike.text) query.unlike_text = single(unlike.text);
  for (const key of ["image", "audio", "video"]) {
    for (const value of unlike[key] ?? []) files.push([`unlike_${key}`, value]);
  }
  const where = condition(question);
  if (where) query.where = where;
  if (question.target) query.target = question.target;
  const weights = Object.entries(question.weights).filter(([, weight]) => weight !== 1);
  if (weights.length) query.weights = Object.fromEntries(weights);
  if (question.space) query.spaces = [question.space];
  if (question.order) query.order_by = question.order;
  if (question.group) query.group_by = question.group;
  if (question.words && like.text) query.hybrid = true;
  if (question.diversity) query.diversity = question.diversity;
  if (question.fold) query.deduplicate = DUPLICATE;
  if (question.fits) query.min_score = "auto";
  return { query: { ...query, ...more }, files };
}

/** Whether a question has anything to ask. */
export const askable = (question) => question.inputs.length > 0 || condition(question) !== null;

const FLAGS = ["words", "fold", "fits"];
const PLAIN = ["target", "where", "space", "other", "order", "group"];

/** The address of a question, without its files: those cannot be part of a link. */
export function toAddress(question) {
  const found = new URLSearchParams();
  if (question.collection) found.set("in", question.collection);
  for (const { key, value, less } of question.inputs) {
    if (typeof value === "string") found.append(less ? `less.${key}` : key, value);
  }
  for (const name of PLAIN) if (question[name]) found.set(name, question[name]);
  for (const [name, weight] of Object.entries(question.weights)) found.set(`weight.${name}`, String(weight));
  for (const [name, values] of Object.entries(question.filters)) {
    for (const value of values) found.append(`is.${name}`, JSON.stringify(value));
  }
  if (question.k !== EMPTY.k) found.set("k", String(question.k));
  for (const name of FLAGS) if (question[name]) found.set(name, "1");
  if (question.diversity) found.set("diversity", String(question.diversity));
  return `#${found}`;
}

/** The question of an address; what cannot be read in it is left out. */
export function fromAddress(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const question = { ...EMPTY, inputs: [], filters: {}, weights: {}, collection: given.get("in") ?? "" };
  for (const name of PLAIN) question[name] = given.get(name) ?? "";
  question.k = Math.min(200, Math.max(1, Number.parseInt(given.get("k") ?? "", 10) || EMPTY.k));
  for (const name of FLAGS) question[name] = given.get(name) === "1";
  question.diversity = Math.min(1, Math.max(0, Number.parseFloat(given.get("diversity") ?? "") || 0));
  for (const [name, value] of given) {
    const [head, ...rest] = name.split(".");
    const tail = rest.join(".");
    if (name === "text" || name === "item") question.inputs.push({ key: name, value, name: value });
    if (head === "less" && ["text", "item"].includes(tail)) {
      question.inputs.push({ key: tail, value, name: value, less: true });
    }
    if (head === "weight" && Number.isFinite(Number(value))) question.weights[tail] = Number(value);
    if (head === "is") addFilter(question.filters, tail, value);
  }
  return question;
}

function addFilter(filters, name, text) {
  try {
    const value = JSON.parse(text);
    const parts = Array.isArray(value) ? value : value !== null && typeof value === "object" ? [value.has] : [value];
    if (parts.every((part) => part === null || typeof part !== "object")) (filters[name] ??= []).push(value);
  } catch {
    // A link that somebody edited by hand: the filter is left out.
  }
}

/** A question in one sentence, for the page's title and for screen readers. */
export function sentence(question) {
  const said = (less) =>
    question.inputs
      .filter((input) => Boolean(input.less) === less)
      .map(({ key, name }) => (key === "text" ? `“${name}”` : `the ${CALLED[key]} ${name}`))
      .join(" and ");
  const what = question.target ? `${CALLED[question.target]}s` : "items";
  const like = said(false);
  const unlike = said(true);
  const where = condition(question);
  return `${what}${like && ` like ${like}`}${unlike && `, less like ${unlike}`}${where ? ` where ${where}` : ""}`;
}
