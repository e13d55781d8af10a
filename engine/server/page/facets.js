/** Filters: values with counts, and the condition that they make, which may be edited. */
import { facets } from "./api.js";
import { html, useEffect, useState } from "./html.js";
import { condition } from "./question.js";

/** Most values of a column that are shown one by one. */
const SHOWN = 12;

export function Facets({ question, columns, change, say }) {
  return html`
    <aside aria-label="Filters">
      <${Condition} question=${question} change=${change} />
      ${columns.map((name) => html`
        <${Facet} key=${`${question.collection} ${name}`} name=${name} question=${question} change=${change} say=${say} />`)}
    </aside>`;
}

function Condition({ question, change }) {
  const [text, setText] = useState(condition(question) ?? "");
  useEffect(() => setText(condition(question) ?? ""), [question]);
  const submit = (event) => (event.preventDefault(), change({ ...question, filters: {}, where: text }));
  return html`
    <form onSubmit=${submit}>
      <label for="where"><b>Condition</b></label>
      <textarea id="where" rows="3" spellcheck=${false} value=${text} aria-describedby="where-help"
        placeholder="price < 50 AND colour = 'red'" onInput=${(event) => setText(event.currentTarget.value)}></textarea>
      <p id="where-help" class="small quiet">SQL on the columns below. The filters write it too.</p>
      <p><button type="submit">Apply</button></p>
    </form>`;
}

function Facet({ name, question, change, say }) {
  const [found, setFound] = useState(null);
  const where = condition({ ...question, filters: { ...question.filters, [name]: [] } });
  useEffect(() => {
    let gone = false;
    facets(question.collection, name, where).then(
      (facet) => gone || setFound(facet),
      (problem) => gone || (setFound(null), problem.status >= 500 && say(problem.message)),
    );
    return () => (gone = true);
  }, [question.collection, name, where]);
  const rows = found ? choices(found) : [];
  if (!rows.length) return null;
  const chosen = (question.filters[name] ?? []).map((value) => JSON.stringify(value));
  const toggle = (value, on) => {
    const kept = (question.filters[name] ?? []).filter((each) => JSON.stringify(each) !== JSON.stringify(value));
    change({ ...question, filters: { ...question.filters, [name]: on ? [...kept, value] : kept } });
  };
  return html`
    <fieldset>
      <legend>${name}</legend>
      ${rows.map(({ value, said, count }) => html`
        <label key=${said}>
          <input type="checkbox" checked=${chosen.includes(JSON.stringify(value))}
            onChange=${(event) => toggle(value, event.currentTarget.checked)} />
          <span>${said}</span>
          <span class="count">${count.toLocaleString("en")}</span>
        </label>`)}
    </fieldset>`;
}

/** Values with their counts, or ranges where there are many; nothing for a column that names each item. */
function choices({ kind, items, missing, distinct, values, ranges }) {
  const many = distinct > SHOWN;
  if (many && !ranges.length && distinct > items / 2) return [];
  const listed = kind.startsWith("lists");
  const rows =
    many && ranges.length
      ? ranges.map(({ low, high, count }) => ({ value: [low, high], said: `${low} to below ${high}`, count }))
      : values.map(({ value, count }) => ({ value: listed ? { has: value } : value, said: value === "" ? "(empty)" : String(value), count }));
  return missing ? [...rows, { value: null, said: "(none)", count: missing }] : rows;
}
