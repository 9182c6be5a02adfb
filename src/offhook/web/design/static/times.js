// Shows moments in the reader's time zone, and how long ago they were.
const two = (number) => String(number).padStart(2, "0");
const clock = (day) => `${two(day.getHours())}:${two(day.getMinutes())}`;
const seconds = (day) => `${clock(day)}:${two(day.getSeconds())}`;
const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const year = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const full = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });

function day(then) {
  const now = new Date();
  if (then.toDateString() === now.toDateString()) return seconds(then);
  return `${(then.getFullYear() === now.getFullYear() ? date : year).format(then)} ${clock(then)}`;
}

function ago(then) {
  const passed = Math.max(0, (Date.now() - then) / 1000);
  if (passed < 60) return `${Math.floor(passed)}\u00a0s ago`;
  if (passed < 3600) return `${Math.floor(passed / 60)}\u00a0min ago`;
  return passed < 86400 ? `${Math.floor(passed / 3600)}\u00a0h ago` : day(then);
}

const FORMS = { ago, clock, day, full: (then) => full.format(then), seconds };

export function showTimes(place = document) {
  for (const one of place.querySelectorAll("[data-at]")) {
    const then = new Date(1000 * one.dataset.at);
    const text = FORMS[one.dataset.form](then);
    if (one.textContent !== text) one.textContent = text;
    if (one.tagName === "TIME") one.title = full.format(then);
  }
}
