// Writing: text, attachments, places, buttons.
import { element, order, toast, upload } from "./page.js";
import { toEnd } from "./talk.js";

const send = (form, content) =>
  order("/phone/texts", { conversation: form.dataset.conversation, ...content });

const number = (field) => (field && field.value !== "" ? Number(field.value) : null);

// Returns the message to send, or null when there is none or it is incomplete.
async function contentOf(form) {
  const fields = form.elements;
  const content = { body: fields.body.value, media: [] };
  if (fields.link.value) content.media.push(fields.link.value);
  if (fields.file.files.length) {
    const answer = await upload(fields.file.files[0]);
    if (!answer) return null;
    content.media.push((await answer.json()).url);
  }
  const [latitude, longitude] = [number(fields.latitude), number(fields.longitude)];
  if (latitude !== null && longitude !== null) {
    content.location = { latitude, longitude, label: fields.place.value };
  } else if (latitude !== null || longitude !== null || fields.place?.value) {
    toast("A location needs both latitude and longitude.");
    return null;
  }
  if (fields.button?.value) content.button = { text: fields.button.value, payload: fields.payload.value };
  const says = content.body.trim() || content.media.length || content.location || content.button;
  return says ? content : null;
}

function unfold(form, shown) {
  form.querySelector("#tray").hidden = !shown;
  form.querySelector("#attach").setAttribute("aria-expanded", String(shown));
}

async function submit(form) {
  const content = await contentOf(form);
  if (!content) return;
  const answer = await send(form, content);
  if (!answer) return;
  const body = form.elements.body;
  const next = body.value === content.body ? "" : body.value; // written meanwhile
  form.reset();
  body.value = next;
  unfold(form, false);
  body.focus();
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
  talk.addEventListener("click", (event) => {
    const attach = event.target.closest("#attach");
    if (attach) unfold(attach.form, attach.getAttribute("aria-expanded") !== "true");
    const starter = event.target.closest("[data-say]");
    if (starter) {
      send(element("compose"), { body: starter.dataset.say });
      element("compose").elements.body.focus();
    }
  });
}
