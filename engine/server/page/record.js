/** A button that records a sound, shows its waveform while it records, and gives a file. */
import { html, useEffect, useRef, useState } from "./html.js";

/** Longest recording in seconds. */
const LONGEST = 30;

export function Recorder({ done, say }) {
  const [recorder, setRecorder] = useState(null);
  const canvas = useRef(null);

  useEffect(() => (recorder ? draw(recorder.stream, canvas.current) : undefined), [recorder]);

  async function start() {
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch {
      say("No microphone: the browser has none, or did not allow it. Choose a sound file.");
      return;
    }
    const made = new MediaRecorder(stream);
    const parts = [];
    made.ondataavailable = ({ data }) => parts.push(data);
    made.onstop = () => {
      for (const track of stream.getTracks()) track.stop();
      setRecorder(null);
      const type = made.mimeType.split(";")[0].replace("video/", "audio/");
      done(new File(parts, `recording.${type.split("/")[1]}`, { type }));
    };
    made.start();
    setTimeout(() => made.state === "recording" && made.stop(), LONGEST * 1000);
    setRecorder(made);
  }

  if (!navigator.mediaDevices || !window.MediaRecorder) return null;
  if (!recorder) return html`<button type="button" id="record" onClick=${start}>Record</button>`;
  return html`
    <canvas ref=${canvas} width="120" height="36" aria-hidden="true"></canvas>
    <button type="button" id="record" aria-pressed="true" onClick=${() => recorder.stop()}>Stop</button>`;
}

/** Draw the waveform of a stream until it is told to stop. */
function draw(stream, canvas) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Uint8Array(analyser.fftSize);
  const pen = canvas.getContext("2d");
  pen.strokeStyle = getComputedStyle(canvas).color;
  let frame = 0;
  const step = () => {
    analyser.getByteTimeDomainData(samples);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.beginPath();
    samples.forEach((value, n) => pen.lineTo((n / samples.length) * canvas.width, (value / 255) * canvas.height));
    pen.stroke();
    frame = requestAnimationFrame(step);
  };
  step();
  return () => (cancelAnimationFrame(frame), context.close());
}
