// Writing: text, attachments, places, buttons.
import { element, order, toast, upload } from "./page.js";
import { toEnd } from "./talk.js";

const send = (form, content) =>
  order("/phone/texts", { conversation: form.dataset.conversation, ...content });

const number = (text) => (text ? Number(text) : null);

// What is written or chosen in a field.
const chosen = (field) => (field.type === "checkbox" ? field.checked : (field.files?.[0] ?? field.value));

// Returns the message to send, without its file, or null when there is none or it is incomplete.
function contentOf(values) {
  const content = { body: values.body, media: values.link ? [values.link] : [], hides_number: values.hides_number ?? false };
  const [latitude, longitude] = [number(values.latitude), number(values.longitude)];
  if (latitude !== null && longitude !== null) {
    content.location = { latitude, longitude, label: values.place };
  } else if (latitude !== null || longitude !== null || values.place) {
    toast("A location needs both latitude and longitude.");
    return null;
  }
  if (values.button) content.button = { text: values.button, payload: values.payload };
  const says = content.body.trim() || content.media.length || values.file || content.location || content.button;
  return says ? content : null;
}

// Returns whether it was sent.
async function deliver(form, content, file) {
  if (file) {
    const url = await upload(file);
    if (!url) return false;
    content.media.push(url);
  }
  return Boolean(await send(form, content));
}

const isUnfolded = (form) => !form.querySelector("#tray").hidden;

function unfold(form, shown) {
  form.querySelector("#tray").hidden = !shown;
  form.querySelector("#attach").setAttribute("aria-expanded", String(shown));
}

function showKind(form, kind) {
  for (const one of form.querySelectorAll("[data-kind]")) one.setAttribute("aria-pressed", String(one.dataset.kind === kind));
  for (const one of form.querySelectorAll("[data-kind-of]")) one.hidden = one.dataset.kindOf !== kind;
}

function preview(form) {
  const place = form.querySelector("#preview");
  const [file] = form.elements.file.files;
  if (place.src) URL.revokeObjectURL(place.src);
  place.removeAttribute("src");
  place.hidden = !file?.type.startsWith("image/");
  if (!place.hidden) place.src = URL.createObjectURL(file);
}

async function submit(form) {
  const fields = [...form.elements].filter((one) => one.name);
  const values = Object.fromEntries(fields.map((one) => [one.name, chosen(one)]));
  const content = contentOf(values);
  if (!content) return;
  const unfolded = isUnfolded(form);
  unfold(form, false);
  form.elements.body.focus();
  if (!(await deliver(form, content, values.file))) {
    if (unfolded) unfold(form, true);
    return;
  }
  // What was written or chosen meanwhile is for the next message.
  for (const one of fields) if (one.type !== "checkbox" && chosen(one) === values[one.name]) one.value = "";
  preview(form);
  toEnd();
}

export function wire() {
  const talk = element("talk");
  talk.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(event.target);
  });
  talk.addEventListener("keydown", (event) => {
    const writes = event.target.name === "body";
    if (!writes || event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    event.target.form.requestSubmit();
  });
  talk.addEventListener("change", ({ target }) => {
    if (target.name === "file") preview(target.form);
  });
  talk.addEventListener("click", (event) => {
    const kind = event.target.closest("[data-kind]");
    if (kind) showKind(kind.form, kind.dataset.kind);
    const attach = event.target.closest("#attach");
    if (attach) unfold(attach.form, !isUnfolded(attach.form));
    const starter = event.target.closest("[data-say]");
    if (starter) {
      send(element("compose"), { body: starter.dataset.say });
      element("compose").elements.body.focus();
    }
  });
}
