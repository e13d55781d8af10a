/** Preact with templates in place of JSX: nothing is compiled. */
import htm from "./vendor/htm.mjs";
import { h } from "./vendor/preact.mjs";

export const html = htm.bind(h);
export { render } from "./vendor/preact.mjs";
export { useEffect, useRef, useState } from "./vendor/hooks.mjs";
