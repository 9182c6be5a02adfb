// The details of a message, beside the conversation.
import { tick } from "./clock.js";
import { announce, element, fetchText, fragment, openConversation, order, redraw, toast } from "./page.js";

const current = () => element("line").querySelector("[data-line]")?.dataset.line;

export function markOpen() {
  const id = current();
  for (const bubble of document.querySelectorAll(".bubble")) {
    bubble.classList.toggle("is-open", bubble.dataset.bubble === id);
  }
}

// Beside the conversation there is room for the details of the latest message, until they are
// closed, or those of an earlier one are opened.
const wide = matchMedia("(min-width: 1121px)");
let following = true;
const latest = () => [...document.querySelectorAll(".bubble.mine")].at(-1)?.dataset.bubble;

export function follow() {
  const id = latest();
  if (wide.matches && following && id && id !== current()) openLine(id, { push: false, focus: false });
}

const path = (id) => `/phone/lines/${encodeURIComponent(id)}`;

let changes = 0; // heard of so far, of any message
let wanted = null; // the message whose details were asked for last

export async function openLine(id, { push = true, focus = true } = {}) {
  const before = changes;
  wanted = id;
  const html = await fetchText(path(id));
  if (html === null || wanted !== id) return;
  const line = element("line");
  line.replaceChildren(fragment(html));
  line.removeAttribute("data-empty");
  tick();
  line.scrollTop = 0;
  markOpen();
  if (push) {
    const place = `/phone?with=${encodeURIComponent(openConversation())}&line=${encodeURIComponent(id)}`;
    history.replaceState({}, "", place);
  }
  if (focus) line.focus();
  if (push) element(`b-${id}`)?.scrollIntoView({ block: "nearest" });
  if (changes !== before) refreshLine(id); // what was fetched may be from before them
}

export function closeLine({ push = true } = {}) {
  const line = element("line");
  const id = current();
  wanted = null;
  if (!id) return;
  const focused = line.contains(document.activeElement);
  line.setAttribute("data-empty", "");
  line.querySelector(".line-body").remove();
  markOpen();
  if (!push) return;
  history.replaceState({}, "", `/phone?with=${encodeURIComponent(openConversation())}`);
  if (focused) element(`b-${id}`)?.querySelector("[data-open]").focus();
}

// Redraws the details when their message has changed.
let redrawing = null;
let asked = 0; // fetches so far: one that arrives after a later one is of no use
export function refreshLine(id) {
  changes += 1;
  if (current() !== id || redrawing) return;
  redrawing = setTimeout(async () => {
    redrawing = null;
    const line = element("line");
    const shown = current(); // perhaps others by now, which have changed, too
    if (!shown || shown !== wanted) return; // others are about to be opened
    asked += 1;
    const number = asked;
    const html = await fetchText(path(shown));
    if (html === null || current() !== shown || number !== asked) return;
    const focused = line.contains(document.activeElement);
    redraw(line.querySelector(".line-body"), fragment(html).querySelector(".line-body"));
    tick();
    if (focused && !line.contains(document.activeElement)) line.focus();
  }, 60);
}

// Redraws the details of a message that is yet to be handled: some were stored, or one has begun.
export function refreshUnsettled() {
  refreshLine(element("line").querySelector("[data-unsettled]")?.dataset.line ?? null);
}

// Shows the details as they are now: the process was restarted, or changes were missed.
export const refreshOpen = () => refreshLine(current() ?? null);

function close() {
  following = false;
  closeLine();
}

async function retryNow(message) {
  const id = current();
  if (await order("/phone/retries", { message })) refreshLine(id);
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    toast("The browser does not allow copying.");
    return;
  }
  const label = button.textContent;
  button.textContent = "Copied";
  announce("Copied");
  setTimeout(() => { button.textContent = label; }, 1500);
}

export function wire() {
  element("talk").addEventListener("click", (event) => {
    const bubble = event.target.closest(".bubble-box")?.closest(".bubble");
    const elsewhere = event.target.closest("a:not([data-open])");
    if (!bubble || elsewhere || event.ctrlKey || event.metaKey) return;
    if (!event.target.closest("[data-open]") && String(getSelection())) return; // text is selected, for copying
    event.preventDefault();
    following = bubble.dataset.bubble === latest();
    openLine(bubble.dataset.bubble);
  });
  element("line").addEventListener("click", (event) => {
    if (event.target.closest("[data-close]")) close();
    const retry = event.target.closest("[data-retry]");
    if (retry) retryNow(Number(retry.dataset.retry));
    const again = event.target.closest("[data-again]");
    if (again) order("/phone/repeats", { bubble: again.dataset.again });
    const copied = event.target.closest("[data-copy]");
    if (copied) copy(copied);
    const other = event.target.closest("[data-line-of]");
    if (other) {
      event.preventDefault();
      following = other.dataset.lineOf === latest();
      openLine(other.dataset.lineOf);
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });
  wanted = current() ?? null;
  markOpen();
  follow();
}
