// The connection: what has changed comes as server-sent events, and goes to the panels of the sweeps.

import { put } from "./dom.js";
import { Forms } from "./forms.js";
import { Panel } from "./panel.js";

const AGAIN_MS = 3000;

const setup = JSON.parse(document.getElementById("setup").textContent);
const link = document.getElementById("link");
const forms = new Forms(document.getElementById("dialog"), setup);
const panels = [...document.querySelectorAll(".panel")].map((node, number) => new Panel(node, number, forms));

let since = "";
let source = null;
let skew = 0; // the server's clock minus this one's, in seconds

if (new URLSearchParams(location.search).has("token")) {
  history.replaceState(null, "", location.pathname + location.hash); // the cookie has it from now on
}

function tell(text, lost = false) {
  put(link, text);
  link.classList.toggle("lost", lost);
}

function listen() {
  if (source !== null || document.hidden) return;
  source = new EventSource(`/events?since=${encodeURIComponent(since)}`);
  source.onopen = () => tell("Live.");
  source.onmessage = (event) => {
    const { now, changes } = JSON.parse(event.data);
    since = event.lastEventId;
    skew = now - Date.now() / 1000;
    for (const change of changes) panels[change.sweep].take(change);
    tick();
  };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) {
      close();
      askWhy();
    } else tell("The connection is lost; trying again. What is shown may be old.", true);
  };
}

function close() {
  source?.close();
  source = null;
}

// A refusal closes the source for good: find out whether the server is another one by now.
async function askWhy() {
  try {
    const answer = await fetch("/live/live.css", { method: "HEAD", cache: "no-store" });
    if (answer.status === 403) {
      tell("The server of this page has ended. Start `adaptertune serve` again, and open the address that it prints.", true);
      return;
    }
  } catch { /* it cannot be reached now */ }
  tell("The connection is lost; trying again. What is shown may be old.", true);
  setTimeout(listen, AGAIN_MS);
}

function tick() {
  const now = Date.now() / 1000 + skew;
  for (const panel of panels) panel.tick(now);
}

// A browser opens few connections to one server, so a page that is not seen gives up its own.
document.addEventListener("visibilitychange", () => (document.hidden ? close() : listen()));
window.addEventListener("pagehide", close);
window.addEventListener("pageshow", listen);
setInterval(tick, 1000);
listen();
