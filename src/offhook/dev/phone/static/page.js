// Shared by the other modules: elements, requests and messages.
export const element = (id) => document.getElementById(id);

export const fragment = (html) => {
  const template = document.createElement("template");
  template.innerHTML = html; // escaped by the server, and scripts in it do not run
  return template.content;
};

// Makes an element look like a fresh one. What is kept of it stays pressed, focused and selected,
// and `details` stay folded or unfolded.
export function redraw(old, fresh) {
  for (const name of new Set([...old.getAttributeNames(), ...fresh.getAttributeNames()])) {
    const value = fresh.getAttribute(name);
    if (name === "open" || value === old.getAttribute(name)) continue;
    if (value === null) old.removeAttribute(name);
    else old.setAttribute(name, value);
  }
  let rest = [...old.childNodes];
  for (const child of [...fresh.childNodes]) {
    const at = rest.findIndex((one) => one.nodeName === child.nodeName);
    if (at < 0) {
      old.insertBefore(child, rest[0] ?? null);
      continue;
    }
    const known = rest[at];
    for (const gone of rest.slice(0, at)) gone.remove();
    rest = rest.slice(at + 1);
    if (known.isEqualNode(child)) continue;
    if (child.nodeType === Node.ELEMENT_NODE) redraw(known, child);
    else known.data = child.data;
  }
  for (const gone of rest) gone.remove();
}

export function toast(text) {
  const place = element("toast");
  place.textContent = text;
  place.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { place.hidden = true; }, 6000);
}

export const announce = (text) => { element("announcer").textContent = text; };

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    toast("offhook is not responding. Is it still running?");
    return null;
  }
  if (answer.ok) return answer;
  toast((await answer.text()).trim() || `The request failed: HTTP ${answer.status}.`);
  return null;
}

// What is asked for again before it is answered is the same: Enter was pressed twice, or clicked.
const underWay = new Map();

async function askOnce(key, path, options) {
  if (!underWay.has(key)) {
    underWay.set(key, ask(path, options).finally(() => underWay.delete(key)));
  }
  return (await underWay.get(key))?.clone() ?? null;
}

// Returns the response, or null after showing an error.
export function order(path, content = {}) {
  const body = JSON.stringify(content);
  return askOnce(path + body, path, { method: "POST", headers: { "Content-Type": "application/json" }, body });
}

async function uploaded(file) {
  const answer = await ask(`/phone/attachments?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
  return answer && (await answer.json()).url;
}

// A chosen file is uploaded once, so that what is sent twice is the same.
const urls = new WeakMap();

// Returns the URL of a file, or null after showing an error.
export async function upload(file) {
  if (!urls.has(file)) urls.set(file, uploaded(file));
  const url = await urls.get(file);
  if (!url) urls.delete(file);
  return url;
}

export async function fetchText(path) {
  const answer = await ask(path, {});
  return answer && answer.text();
}

export const openConversation = () => element("bubbles").dataset.conversation;
