// Updates the pieces of a page from its event stream. Actions are plain HTML forms.
const AGAIN = 2000; // ms until a refused stream is requested again

import { showTimes } from "/design/times.js";

const lamp = document.getElementById("live");

function live(lives, text = lives ? "live" : "disconnected") {
  lamp.toggleAttribute("data-on", lives);
  say(lamp, text);
}

// Takes back what the page says of the present: it is of the past.
function lose() {
  live(false);
  document.body.setAttribute("data-stale", "");
  const line = document.querySelector(".verdict-line");
  if (line) say(line, `No connection since ${new Date().toLocaleTimeString("en-GB")}`);
  announce();
}

// Screen readers announce each write, so an unchanged text is not written again.
function say(place, text) {
  if (place && place.textContent !== text) place.textContent = text;
}

// Announces the status only; the figures beside it change every two seconds.
function announce() {
  const line = document.querySelector(".verdict-line");
  if (line) say(document.getElementById("announcer"), line.textContent);
}

// Identifies an element across updates of its piece.
const name = (one) => `${one.tagName} ${one.id || one.getAttribute("href") || one.textContent.trim()}`;
const focusable = (place) => [...place.querySelectorAll("a, button, input, select, summary")];

const key = (details) => details.id;

// A piece with selected text is not updated.
const isBeingCopied = (place) => {
  const selection = getSelection();
  return !selection.isCollapsed && place.contains(selection.anchorNode);
};

function show(id, html) {
  const place = document.getElementById(id);
  const template = document.createElement("template");
  template.innerHTML = html; // escaped by the server, and scripts in it do not run
  showTimes(template.content);
  if (!place || place.innerHTML.trim() === template.innerHTML.trim() || isBeingCopied(place)) return;
  const focused = place.contains(document.activeElement) ? name(document.activeElement) : "";
  const open = new Map([...place.querySelectorAll("details[id]")].map((one) => [key(one), one.open]));
  for (const one of template.content.querySelectorAll("details[id]")) {
    if (open.has(key(one))) one.open = open.get(key(one));
  }
  place.replaceChildren(template.content);
  if (focused) focusable(place).find((one) => name(one) === focused)?.focus({ preventScroll: true });
}

// Reconnects after a refusal; a reload leads to the login if it has expired.
async function resume() {
  const answer = await fetch(location.href, { redirect: "manual" }).catch(() => null);
  if (answer?.ok) follow();
  else if (answer && (answer.status < 500 || answer.headers.get("X-Offhook-Broken"))) location.reload();
  else setTimeout(resume, AGAIN);
}

function follow() {
  const stream = new EventSource(location.href);
  stream.addEventListener("pieces", (event) => {
    document.body.removeAttribute("data-stale");
    for (const [id, html] of Object.entries(JSON.parse(event.data))) show(id, html);
    announce();
    live(true);
  });
  stream.addEventListener("away", () => live(false, "store unavailable"));
  stream.addEventListener("open", () => live(true));
  stream.addEventListener("error", () => {
    if (!document.body.hasAttribute("data-stale")) lose();
    if (stream.readyState === EventSource.CLOSED) setTimeout(resume, AGAIN);
  });
}

// A row leads to its message wherever it is clicked, unless its text is being selected.
document.addEventListener("click", (event) => {
  const row = event.target.closest(".messages thead + tbody tr");
  if (!row || event.target.closest("a, button, code") || String(getSelection())) return;
  row.querySelector(".number a")?.click();
});

showTimes();
setInterval(showTimes, 5000);
if (lamp && document.querySelector("[data-piece]")) follow();
