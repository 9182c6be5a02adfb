// The phone: connects the modules with one another and with the stream of changes.
import { element, fetchText, openConversation, order, toast } from "./page.js";
import { tick } from "./clock.js";
import * as compose from "./compose.js";
import * as line from "./line.js";
import * as talk from "./talk.js";

const AGAIN = 1000; // ms until a refused stream is requested again

function showTrouble({ on }) {
  for (const input of element("trouble").querySelectorAll("input")) {
    input.checked = on.includes(input.name);
  }
  element("trouble-count").textContent = on.length || "";
}

// The process was restarted, or changes were missed: load the page again.
async function reload() {
  const html = await fetchText(location.pathname + location.search);
  if (html === null) return;
  const page = new DOMParser().parseFromString(html, "text/html");
  const here = page.getElementById("bubbles").dataset.conversation === openConversation();
  for (const id of here ? ["entries", "bubbles", "trouble"] : ["entries", "talk", "trouble"]) {
    element(id).replaceChildren(...page.getElementById(id).childNodes);
  }
  line.markOpen();
  line.refreshOpen();
  talk.toEnd();
  tick();
}

// Shows what the page says that stands in for the bot; the conversations stay in view.
function showBroken(html) {
  const said = new DOMParser().parseFromString(html, "text/html").getElementById("broken");
  const place = element("broken");
  if (place.hidden || place.textContent !== said.textContent) place.replaceChildren(...said.childNodes);
  place.hidden = false;
  element("live").textContent = "The bot does not start";
}

// Requests the stream again after a refusal, unless this page's token is of an earlier start.
async function resume(position) {
  const answer = await fetch("/phone").catch(() => null);
  if (answer?.status === 403) {
    toast(await answer.text());
    return;
  }
  if (answer?.headers.get("X-Offhook-Broken")) showBroken(await answer.text());
  follow(position);
}

function follow(position) {
  let last = position;
  const stream = new EventSource(`/phone/events?after=${encodeURIComponent(position)}`);
  const on = (kind, show) => stream.addEventListener(kind, (event) => {
    last = event.lastEventId;
    show(JSON.parse(event.data));
  });
  const live = (lives) => {
    element("live").toggleAttribute("data-on", lives);
    if (lives) element("broken").hidden = true;
    if (!element("broken").hidden) return;
    element("live").textContent = lives ? "live" : "Disconnected, reconnecting";
  };
  on("bubble", talk.showBubble);
  on("conversation", talk.showConversation);
  on("progress", line.refreshUnsettled);
  on("trouble", showTrouble);
  on("reset", reload);
  stream.addEventListener("open", () => live(true));
  stream.addEventListener("error", () => {
    live(false);
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => resume(last), AGAIN);
  });
}

talk.wire();
line.wire();
compose.wire();

element("trouble").addEventListener("change", ({ target }) => {
  order("/phone/switches", { switch: target.name, on: target.checked });
});
element("crowd").addEventListener("click", () => order("/phone/crowd"));

addEventListener("popstate", () => {
  const wanted = new URLSearchParams(location.search).get("with");
  if (wanted && wanted !== openConversation()) talk.show(wanted, { push: false, focus: false });
});

if (!talk.isNarrow() && !document.querySelector("#line [data-line]")) element("compose").elements.body.focus();
tick();
follow(element("phone").dataset.position);
