// Loads the page again once the bot is back, or fails for another reason.
const AGAIN = 1000; // ms

const read = async () => {
  const answer = await fetch(location.href).catch(() => null);
  return answer && (answer.headers.get("X-Offhook-Broken") ? answer.text() : "");
};

const first = await read();
setInterval(async () => {
  const now = await read();
  if (now !== null && now !== first) location.reload();
}, AGAIN);
