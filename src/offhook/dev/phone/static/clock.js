// Shows how long something has lasted, and when it is due, by the clock of the server.
const ahead = Number(document.getElementById("phone").dataset.now) - Date.now() / 1000;

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

// Returns a duration in its two largest units: "4 s", "2 h 5 min".
function span(seconds) {
  let rest = Math.floor(seconds);
  const parts = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    rest %= size;
    if (count) parts.push(`${count}\u00a0${unit}`);
    else if (parts.length) break;
  }
  return parts.slice(0, 2).join(" ");
}

export function tick() {
  const now = Date.now() / 1000 + ahead;
  for (const one of document.querySelectorAll("[data-since], [data-due]")) {
    const { since, due } = one.dataset;
    const text = since ? span(now - since) : due - now < 1 ? "now" : `in ${span(due - now)}`;
    if (one.textContent !== text) one.textContent = text;
  }
}

setInterval(tick, 500);
