// The list of conversations, and the one that is open.
import { announce, element, fetchText, fragment, openConversation, order, redraw } from "./page.js";
import { tick } from "./clock.js";
import { closeLine, follow, markOpen, refreshLine } from "./line.js";

const NEAR = 80; // px from the end within which the list scrolls along with new messages
const narrow = matchMedia("(max-width: 720px)");
export const isNarrow = () => narrow.matches;
const entryOf = (id) => document.querySelector(`.entry[data-conversation="${CSS.escape(id)}"]`);

export function toEnd() {
  const scroll = element("scroll");
  scroll.scrollTop = scroll.scrollHeight;
}

const isAtEnd = () => {
  const scroll = element("scroll");
  return scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR;
};

function markCurrent(id) {
  for (const link of document.querySelectorAll(".entry a")) {
    const current = link.parentElement.dataset.conversation === id;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  entryOf(id)?.removeAttribute("data-new");
}

export const list = (shown) => element("phone").toggleAttribute("data-listing", shown);

export async function show(id, { push = true, focus = true } = {}) {
  const html = await fetchText(`/phone/conversations/${encodeURIComponent(id)}`);
  if (html === null) return;
  element("talk").replaceChildren(fragment(html));
  tick();
  markCurrent(id);
  closeLine({ push: false });
  follow();
  list(false);
  toEnd();
  if (push) history.pushState({}, "", `/phone?with=${encodeURIComponent(id)}`);
  if (focus) (narrow.matches ? element("talk") : element("compose").elements.body).focus();
}

// A bubble is new, or looks different.
export function showBubble({ conversation, bubble, html }) {
  if (conversation !== openConversation()) {
    entryOf(conversation)?.setAttribute("data-new", "");
    return;
  }
  const fresh = fragment(html);
  const known = element(`b-${bubble}`);
  const now = fresh.querySelector(".bubble");
  tell(known, now);
  const stays = isAtEnd() || (!known && now.classList.contains("mine"));
  if (known) redraw(known, now);
  else element("bubbles").append(fresh);
  tick();
  if (stays) toEnd();
  markOpen();
  refreshLine(bubble);
  if (!known && now.classList.contains("mine")) follow();
}

function tell(known, now) {
  const text = now.querySelector(".bubble-text")?.textContent ?? "an attachment";
  const begins = (name) => now.classList.contains(name) && !known?.classList.contains(name);
  if (begins("is-dead")) announce(`Failed: ${now.querySelector(".bubble-why")?.textContent ?? text}`);
  else if (begins("is-bad")) announce(`Not delivered: ${now.querySelector(".bubble-why")?.textContent ?? text}`);
  else if (!known && now.classList.contains("theirs")) announce(`Reply: ${text}`);
}

// A conversation is new, or its latest message or its contact's state has changed.
export function showConversation({ conversation, entry, head }) {
  const entries = element("entries");
  const known = entryOf(conversation);
  const now = fragment(entry).firstElementChild;
  if (known) {
    now.toggleAttribute("data-new", known.hasAttribute("data-new"));
    const changed = known.querySelector(".entry-time")?.dateTime !== now.querySelector(".entry-time")?.dateTime;
    redraw(known, now);
    const first = known === entries.firstElementChild;
    if (changed && !first && !entries.contains(document.activeElement)) entries.prepend(known);
  } else {
    entries.prepend(now);
  }
  if (conversation !== openConversation()) return;
  markCurrent(conversation);
  redraw(document.querySelector("[data-head]"), fragment(head).firstElementChild);
}

export function wire() {
  element("entries").addEventListener("click", (event) => {
    const entry = event.target.closest(".entry");
    if (!entry || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(entry.dataset.conversation);
  });
  element("talk").addEventListener("click", (event) => {
    if (event.target.closest(".talk-back")) {
      event.preventDefault();
      list(true);
      document.querySelector(".entry a[aria-current]")?.focus();
      return;
    }
    const reach = event.target.closest("[data-reach]");
    if (reach) {
      const reachable = reach.getAttribute("aria-pressed") === "true";
      order("/phone/reach", { conversation: openConversation(), reachable });
    }
  });
  // A picture has no height until it is loaded.
  element("talk").addEventListener("load", (event) => {
    const box = element("scroll");
    const below = box.scrollHeight - box.scrollTop - box.clientHeight;
    if (below < event.target.clientHeight + NEAR) toEnd();
  }, { capture: true });
  element("meet").addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target;
    const answer = await order("/phone/people", Object.fromEntries(new FormData(form)));
    if (!answer) return;
    form.reset();
    show((await answer.json()).conversation);
  });
  toEnd();
}
