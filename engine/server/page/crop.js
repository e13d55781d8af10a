/** A dialog to cut a part out of the query picture, by pointer or by arrow keys. */
import { html, useEffect, useRef, useState } from "./html.js";

const STEP = 0.02;
const SMALLEST = 0.05;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

export function Crop({ file, done, close }) {
  const dialog = useRef(null);
  const picture = useRef(null);
  const [address, setAddress] = useState("");
  const [box, setBox] = useState({ x: 0.1, y: 0.1, w: 0.8, h: 0.8 });

  useEffect(() => {
    const made = URL.createObjectURL(file);
    setAddress(made);
    dialog.current.showModal();
    return () => URL.revokeObjectURL(made);
  }, [file]);

  const move = (dx, dy) => setBox((b) => ({ ...b, x: clamp(b.x + dx, 0, 1 - b.w), y: clamp(b.y + dy, 0, 1 - b.h) }));
  const grow = (dw, dh) =>
    setBox((b) => ({ ...b, w: clamp(b.w + dw, SMALLEST, 1 - b.x), h: clamp(b.h + dh, SMALLEST, 1 - b.y) }));

  function key(event) {
    const steps = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    (event.shiftKey ? grow : move)(...step);
  }

  /** Draw a new box from where the pointer goes down to where it goes up. */
  function drag(event) {
    const frame = event.currentTarget.getBoundingClientRect();
    const at = ({ clientX, clientY }) => [
      clamp((clientX - frame.left) / frame.width, 0, 1),
      clamp((clientY - frame.top) / frame.height, 0, 1),
    ];
    const [x, y] = at(event);
    event.currentTarget.setPointerCapture(event.pointerId);
    event.preventDefault();
    event.currentTarget.onpointermove = (moved) => {
      const [u, v] = at(moved);
      const w = Math.max(SMALLEST, Math.abs(u - x));
      const h = Math.max(SMALLEST, Math.abs(v - y));
      setBox({ x: clamp(Math.min(x, u), 0, 1 - w), y: clamp(Math.min(y, v), 0, 1 - h), w, h });
    };
    event.currentTarget.onpointerup = (up) => (up.currentTarget.onpointermove = null);
  }

  async function cut() {
    const { naturalWidth: width, naturalHeight: height } = picture.current;
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(box.w * width));
    canvas.height = Math.max(1, Math.round(box.h * height));
    canvas.getContext("2d").drawImage(picture.current, -Math.round(box.x * width), -Math.round(box.y * height));
    canvas.toBlob((blob) => done(new File([blob], `part of ${file.name}.png`, { type: "image/png" })), "image/png");
  }

  const percent = (part) => `${(part * 100).toFixed(1)}%`;
  const place = { left: percent(box.x), top: percent(box.y), width: percent(box.w), height: percent(box.h) };
  return html`
    <dialog ref=${dialog} aria-labelledby="crop-title" onClose=${close}>
      <h2 id="crop-title">Search with a part of the picture</h2>
      <p class="quiet">Drag over the part, or move the frame by arrow keys; with Shift they change its size.</p>
      <div class="crop" onPointerDown=${drag}>
        <img ref=${picture} src=${address} alt="the picture to cut" draggable=${false} />
        <div class="box" tabindex="0" role="group" style=${place} onKeyDown=${key}
          aria-label=${`frame: ${percent(box.w)} by ${percent(box.h)}, ${percent(box.x)} from the left, ${percent(box.y)} from the top`}></div>
      </div>
      <p class="row">
        <button class="main" type="button" onClick=${cut}>Use this part</button>
        <button type="button" onClick=${() => dialog.current.close()}>Cancel</button>
      </p>
    </dialog>`;
}
