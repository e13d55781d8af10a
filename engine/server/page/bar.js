/** The bar: words, files by choice, drop or paste, and a recording; and the chips of everything that is held. */
import { html, useEffect, useRef, useState } from "./html.js";
import { CALLED, keyOf } from "./question.js";
import { Recorder } from "./record.js";

const ACCEPT = "image/*,audio/*,video/*";

/**
 * @param {{question: object, pairs: boolean, change: Function, say: Function}} props pairs: whether the collection has
 *   pairs of pictures and no single ones, so that two pictures are meant as a pair
 */
export function Bar({ question, pairs, change, say }) {
  const [words, setWords] = useState("");
  const [over, setOver] = useState(false);
  const field = useRef(null);

  function hold(files) {
    const inputs = [];
    for (const file of files) {
      const key = keyOf(file);
      if (key) inputs.push({ key, value: file, name: file.name || `pasted ${CALLED[key]}` });
      else say(`${file.name} is no picture, sound or film: choose another file.`);
    }
    const all = [...question.inputs, ...inputs];
    const two = pairs && all.filter(({ key }) => key === "image").length === 2;
    if (inputs.length) change({ ...question, inputs: two ? asPair(all) : all });
  }

  useEffect(() => {
    const paste = (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length) hold(files);
    };
    addEventListener("paste", paste);
    return () => removeEventListener("paste", paste);
  });

  /** Search with the words: in place of those before, or beside them. Files and items stay. */
  function submit(event, beside = false) {
    event.preventDefault();
    const text = words.trim();
    setWords("");
    if (!text) return change({ ...question });
    const kept = question.inputs.filter(({ key, less }) => beside || key !== "text" || less);
    return change({ ...question, inputs: [...kept, { key: "text", value: text, name: text }] });
  }

  const drop = {
    onDragOver: (event) => (event.preventDefault(), setOver(true)),
    onDragLeave: () => setOver(false),
    onDrop: (event) => (event.preventDefault(), setOver(false), hold([...event.dataTransfer.files])),
  };

  return html`
    <form role="search" class=${`bar ${over ? "over" : ""}`} onSubmit=${submit} ...${drop}>
      <input id="words" ref=${field} type="search" aria-label="Words to search with" autocomplete="off"
        placeholder="Words; or drop, paste, choose or record a file" value=${words}
        onInput=${(event) => setWords(event.currentTarget.value)}
        onKeyDown=${(event) => event.key === "Enter" && event.shiftKey && submit(event, true)} />
      <label class="button row">
        Choose files
        <input id="files" class="hidden" type="file" multiple accept=${ACCEPT}
          onChange=${(event) => (hold([...event.currentTarget.files]), (event.currentTarget.value = ""))} />
      </label>
      <${Recorder} done=${(file) => hold([file])} say=${say} />
      <button class="main" type="submit">Search</button>
    </form>`;
}

export function Chips({ question, change, crop }) {
  const put = (inputs) => change({ ...question, inputs });
  const remove = (n) => put(question.inputs.filter((_, each) => each !== n));
  const edit = (n, more) => put(question.inputs.map((input, each) => (each === n ? { ...input, ...more } : input)));
  if (!question.inputs.length) return null;
  const pictures = question.inputs.filter(({ key }) => key === "image").length;
  return html`
    <ul class="chips" aria-label="What you search with">
      ${question.inputs.map(
        (input, n) => html`
          <li key=${n} class=${`chip ${input.less ? "less" : ""}`}>
            <${Preview} input=${input} />
            ${["before", "after"].includes(input.key) && html`<span class="tag">${input.key}</span>`}
            <span class="name">${input.less ? "less like " : ""}${input.key === "text" ? `“${input.name}”` : input.name}</span>
            <button class="plain" type="button" aria-pressed=${Boolean(input.less)}
              aria-label=${`Find less like ${input.name}`} onClick=${() => edit(n, { less: !input.less })}>±</button>
            ${input.key === "image" && html`
              <button class="plain" type="button" aria-label=${`Crop ${input.name}`} onClick=${() => crop(n)}>crop</button>`}
            ${pictures === 2 && input.key === "image" && n > 0 && html`
              <button class="plain" type="button" onClick=${() => put(asPair(question.inputs))}>as before and after</button>`}
            <button class="plain" type="button" aria-label=${`Remove ${input.name}`} onClick=${() => remove(n)}>✕</button>
          </li>`,
      )}
    </ul>`;
}

/** Two pictures as the picture before and the picture after, in their order. */
function asPair(inputs) {
  const keys = ["before", "after"];
  return inputs.map((input) => (input.key === "image" ? { ...input, key: keys.shift() ?? "image" } : input));
}

function Preview({ input }) {
  const [address, setAddress] = useState(null);
  const shown = input.value instanceof Blob && input.value.type.startsWith("image/");
  useEffect(() => {
    if (!shown) return undefined;
    const made = URL.createObjectURL(input.value);
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [input.value]);
  if (shown && address) return html`<img src=${address} alt="" />`;
  return input.key === "text" ? null : html`<span class="tag">${CALLED[input.key]}</span>`;
}

/** How much each kind of input counts. A picture with words is a change: its sliders are called keep and change. */
export function Sliders({ question, change }) {
  const keys = [...new Set(question.inputs.filter(({ less }) => !less).map(({ key }) => (key === "item" ? "like" : key)))];
  if (question.inputs.some(({ less }) => less)) keys.push("unlike");
  if (keys.length < 2) return null;
  const composed = keys.includes("text") && keys.some((key) => ["image", "like"].includes(key));
  const names = { unlike: "less like", like: composed ? "keep" : "items" };
  if (composed) Object.assign(names, { text: "change", image: "keep" });
  const set = (key, weight) => change({ ...question, weights: { ...question.weights, [key]: weight } });
  return html`
    <div class="sliders">
      ${keys.map((key) => {
        const weight = question.weights[key] ?? 1;
        return html`
          <label key=${key}>${names[key] ?? CALLED[key]}
            <input type="range" min="0" max="3" step="0.1" value=${weight} aria-valuetext=${`weight ${weight}`}
              onChange=${(event) => set(key, Number(event.currentTarget.value))} />
            <output>${weight.toFixed(1)}</output>
          </label>`;
      })}
    </div>`;
}
