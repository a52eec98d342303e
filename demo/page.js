// The demo's page in the browser: asks the demo to play a scene and shows what came of it. Texts go in as text, never as
// markup: a room's ID may be anything.

import { Call } from "./page_call.js";

const MARKS = { done: "✓", refused: "✕", skipped: "–" };
const SPOKEN = { done: "", refused: "Refused: ", skipped: "Nothing done: " };

const NO_ANSWER = "The demo does not answer. Is it still running in the terminal?";

const form = byId("ask");
const room = byId("room");
const newRoom = byId("new-room");
const leaveScene = byId("leave-scene");

let call = null;
let ownServerName = "localhost";

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const role = new FormData(form).get("role");
  const device = call === null ? {} : { device: call.device };
  void ask("/play", { role, room: room.value, ...device });
});
leaveScene.addEventListener("click", () => void ask("/leave", { room: room.value }));
room.addEventListener("input", () => complain(""));
newRoom.addEventListener("click", () => {
  room.value = `!${randomName()}:${ownServerName}`;
  complain("");
  room.focus();
});

try {
  showStage(await (await fetch("/stage")).json());
} catch {
  showFailure(NO_ANSWER);
}

async function ask(path, request) {
  if (form.getAttribute("aria-busy") === "true") return;
  form.setAttribute("aria-busy", "true");
  complain("");
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(request),
    });
    const answer = await response.json();
    if (response.status === 400) {
      complain(answer.error);
      forget(); // what came of another room says nothing about this one
      room.focus();
    } else if (!response.ok) showFailure(answer.error);
    else show(answer);
  } catch {
    showFailure(NO_ANSWER);
  } finally {
    form.removeAttribute("aria-busy");
  }
}

function show({ scene, stage }) {
  showVerdict(scene.verdict);
  byId("told").hidden = false;

  byId("grant-section").hidden = scene.grant === null;
  byId("grant").replaceChildren(...scene.grantFacts.map(([name, value]) => {
    return element("div", {}, element("dt", {}, name), element("dd", {}, value));
  }));
  byId("payload").textContent = JSON.stringify(scene.grant, null, 2);

  byId("steps").replaceChildren(...scene.steps.map(stepElement));
  showStage(stage, scene.room);
  if (call !== null) void call.join(scene.answer);
}

function forget() {
  const verdict = byId("verdict");
  verdict.dataset.kind = "none";
  verdict.textContent = "Nobody has asked yet.";
  byId("told").hidden = true;
  byId("before").hidden = false;
}

function showFailure(text) {
  showVerdict({ kind: "failed", text });
  byId("told").hidden = true;
}

function showVerdict({ kind, text }) {
  const verdict = byId("verdict");
  verdict.dataset.kind = kind;
  verdict.textContent = text;
  byId("before").hidden = true;
  verdict.scrollIntoView({ block: "nearest" }); // below the form on narrow screens
}

function stepElement({ title, kind, state, lines: [first = "", ...rest] }) {
  const mark = element("span", { className: "mark", ariaHidden: "true" }, kind === "log" ? "i" : MARKS[state]);
  const spoken = element("span", { className: "spoken" }, SPOKEN[state]);
  const item = element("li", {}, mark, element("h4", {}, spoken, title));
  item.dataset.state = kind === "log" ? "log" : state;
  if (kind === "log") item.append(element("pre", {}, [first, ...rest].join("\n")));
  else item.append(element("p", {}, first), ...rest.map((line) => element("p", { className: "more" }, line)));
  return item;
}

function showStage({ serviceUrl, cast, sfu }, currentRoom = null) {
  byId("service-url").textContent = serviceUrl;
  for (const { role, user, homeserver } of cast) {
    if (role === "local") ownServerName = homeserver;
    for (const place of document.querySelectorAll(`[data-user="${role}"]`)) place.textContent = user;
    for (const place of document.querySelectorAll(`[data-homeserver="${role}"]`)) place.textContent = homeserver;
  }

  byId("sfu-url").textContent = sfu.url;
  byId("stand-in").hidden = leaveScene.hidden = sfu.kind !== "stand-in";
  byId("call").hidden = sfu.kind !== "real";
  if (sfu.kind === "real") {
    call ??= new Call({
      state: byId("call-state"),
      participants: byId("participants"),
      leave: byId("leave"),
    });
    return;
  }
  byId("sfu-title").textContent = "The SFU stand-in";
  byId("create-room-calls").textContent = String(sfu.createRoomCalls);
  byId("room-count").textContent = String(sfu.rooms.length);
  byId("rooms").replaceChildren(...sfu.rooms.map((held) => roomElement(held, held.roomId === currentRoom)));
}

function roomElement({ alias, roomId, identities }, isCurrent) {
  const people = identities.length === 0
    ? element("p", { className: "hint" }, "Nobody is there")
    : element("ul", {}, ...identities.map((identity) => element("li", {}, element("code", {}, identity))));
  return element(
    "li",
    { className: isCurrent ? "current" : "" },
    element("strong", {}, roomId ?? "A room that was asked for elsewhere"),
    element("p", { className: "hint" }, element("code", {}, alias)),
    people,
  );
}

function complain(text) {
  byId("room-error").textContent = text;
  room.setAttribute("aria-invalid", String(text !== ""));
}

function randomName() {
  const letters = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(letters, (byte) => String.fromCharCode(97 + byte % 26)).join("");
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function byId(id) {
  return document.getElementById(id);
}
