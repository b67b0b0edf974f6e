// The flow of voting: what is shown, what a key does, what goes to the server. No framework, no build step.

import { meaning } from "./keys.js";
import { Outbox, ask, persist } from "./outbox.js";
import * as view from "./view.js";
import { $ } from "./view.js";

const SETTLE = 150; // ms in which a new pair takes no vote: a key pressed twice is not two votes
const SCALE = 3;

const page = {
  about: null, // what /api/run says
  outbox: null,
  annotator: "",
  state: null, // the server's last answer
  busy: false, // a vote is on its way
  shownAt: 0,
  chosen: null, // with strength of preference: {choice, strength}, not yet cast
};

const keysOn = () => localStorage.getItem("cai:keys") !== "off";
const draft = () => `cai:${page.about.run}:reason:${page.state.task.showing}`;
const warned = () => `cai:${page.about.run}:warned`;

// --- connection ---
const TROUBLE = {
  offline: "No connection to the server.",
  closed: "The server was started anew. Open the address that cai annotate has printed, in this browser; "
    + "this page then goes on by itself.",
};

/** Say what is wrong, and wait a moment or for "Try now". */
function waiting({ kind, message }, pause) {
  const kept = page.busy ? " Your vote is kept in this browser and will be sent." : "";
  view.banner(`${TROUBLE[kind] ?? message}${kept} Trying again …`);
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, pause);
    $("banner-retry").onclick = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

/** Show what the server has answered. */
function show(answer, message = "") {
  view.banner("");
  if (answer.kind === "refused") {
    view.say(`The server did not take this: ${answer.message}`);
    return;
  }
  const state = answer.data;
  page.state = state;
  page.chosen = null;
  view.progress(state.progress);
  view.degree(null);
  view.say(message);
  $("undo").disabled = !state.last;
  if (!state.task) {
    view.done(state);
    view.screen("done");
    $("done-title").focus({ preventScroll: true });
    return;
  }
  view.screen("vote");
  view.task(state.task);
  const text = sessionStorage.getItem(draft()) ?? "";
  view.reason(text, text !== "");
  $("question").focus({ preventScroll: true });
  page.shownAt = performance.now();
}

async function next(message) {
  const answer = await persist("/api/next", { annotator: page.annotator }, waiting);
  if (answer.kind === "refused") {
    askName(answer.message);
    return;
  }
  show(answer, message);
}

/** Send what must not be lost. Nothing else is done meanwhile. */
async function deliver(path, body) {
  page.busy = true;
  const answer = await page.outbox.send(path, { uuid: crypto.randomUUID(), annotator: page.annotator, ...body });
  page.busy = false;
  return answer;
}

// --- voting ---
function choose(choice) {
  if (page.busy || !page.state?.task || performance.now() - page.shownAt < SETTLE) return;
  if (!page.about.strength || !["first", "second"].includes(choice)) {
    cast(choice, null);
    return;
  }
  const again = page.chosen?.choice === choice;
  pick(choice, again ? Math.min(page.chosen.strength + 1, SCALE) : 1);
}

function pick(choice, strength) {
  page.chosen = { choice, strength };
  view.mark(choice);
  view.degree(choice, strength);
}

async function cast(choice, strength) {
  const { pair, showing } = page.state.task;
  const seconds = Math.round(performance.now() - page.shownAt) / 1000;
  const reason = $("reason").value.trim() || null;
  const kept = draft();
  view.mark(choice);
  view.say("Storing …");
  const answer = await deliver("/api/vote", { pair, showing, choice, strength, reason, seconds });
  if (answer.kind === "refused") {
    await next(answer.message);
    return;
  }
  if (answer.data.status === "already") {
    show(answer, "You had already voted on that pair, in another tab. That vote stands; here is the next pair.");
    return;
  }
  sessionStorage.removeItem(kept);
  show(answer, `Stored: ${view.inWords({ choice, strength })}.`);
}

async function undo() {
  const last = page.state?.last;
  if (page.busy || !last) return;
  const answer = await deliver("/api/undo", { vote: last.vote });
  const taken = answer.data?.taken;
  if (taken?.reason && answer.data.task) {
    sessionStorage.setItem(`cai:${page.about.run}:reason:${answer.data.task.showing}`, taken.reason);
  }
  show(answer, taken ? `Taken back: ${view.inWords(taken)}.` : "That vote had been taken back already.");
}

async function unskip() {
  if (!page.busy) show(await deliver("/api/unskip", {}), "Here are the pairs that you skipped.");
}

// --- beside voting ---
async function differences() {
  const task = page.state?.task;
  if (!task) return;
  if ($("diff").getAttribute("aria-pressed") === "true") {
    view.plainResponses(task.responses);
    return;
  }
  const { pair, showing } = task;
  const answer = await ask("/api/diff", { annotator: page.annotator, pair, showing });
  if (answer.kind !== "ok") view.say("The differences cannot be had now.");
  else if (page.state.task === task) {
    view.differingResponses(answer.data.responses);
    view.say("Marked: words that the other response does not have there. D shows the responses as they were.");
  }
}

function reason() {
  if (!page.state?.task) return;
  view.reason($("reason").value, true);
  $("reason").focus();
}

function closeReason() {
  view.reason($("reason").value, $("reason").value.trim() !== "");
  $("question").focus({ preventScroll: true });
}

function guide() {
  $("guide").open = !$("guide").open;
  if ($("guide").open) $("guide").scrollIntoView({ block: "nearest" });
}

function switchTheme() {
  const dark = document.documentElement.dataset.theme !== "dark";
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  localStorage.setItem("cai:theme", dark ? "dark" : "light");
  view.theme();
}

// --- keys ---
const KEYS = {
  1: () => choose("first"),
  2: () => choose("second"),
  3: () => choose("tie"),
  4: () => choose("both bad"),
  s: () => choose("skip"),
  u: undo,
  r: reason,
  d: differences,
  g: guide,
};

function confirms(event) {
  const { target } = event;
  const own = !(target instanceof HTMLButtonElement) || target.closest(".choices, #strength") !== null;
  return page.chosen && event.key === "Enter" && own;
}

function pressed(event) {
  if (event.ctrlKey && event.key === "Enter" && event.target === $("reason")) closeReason();
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || $("help").open) return;
  if (event.target.matches("input, textarea")) {
    if (event.key === "Escape" && event.target === $("reason")) closeReason();
    return;
  }
  if (confirms(event)) {
    event.preventDefault();
    confirmChoice();
    return;
  }
  const key = meaning(event, KEYS);
  if (key === "?") $("help").showModal();
  else if (keysOn() && document.body.dataset.screen !== "start" && key in KEYS) {
    event.preventDefault();
    KEYS[key]();
  }
}

function confirmChoice() {
  if (!page.chosen || page.busy) return;
  const { choice, strength } = page.chosen;
  cast(choice, strength);
}

// --- beginning ---
function askName(problem = "") {
  view.screen("start");
  $("name").value = page.annotator;
  $("name").setCustomValidity(problem);
  if (problem) $("name").reportValidity();
  ($("name").value && !problem ? $("begin") : $("name")).focus({ preventScroll: true });
}

function begin(name) {
  page.annotator = name;
  localStorage.setItem("cai:annotator", name);
  localStorage.setItem(warned(), "yes");
  const address = new URL(location.href);
  address.searchParams.set("annotator", name);
  history.replaceState(null, "", address);
  view.annotator(name);
  next();
}

function listen() {
  document.addEventListener("keydown", pressed);
  for (const button of document.querySelectorAll("[data-choice]")) {
    button.addEventListener("click", () => choose(button.dataset.choice));
  }
  for (const button of document.querySelectorAll("[data-strength]")) {
    button.addEventListener("click", () => page.chosen && pick(page.chosen.choice, Number(button.dataset.strength)));
  }
  const clicks = {
    confirm: confirmChoice, undo, "done-undo": undo, unskip, "look-again": () => next(), diff: differences,
    why: () => ($("reason-box").hidden ? reason() : closeReason()), unfold: view.unfold, theme: switchTheme,
    "show-help": () => $("help").showModal(), who: () => askName(),
  };
  for (const [id, action] of Object.entries(clicks)) $(id).addEventListener("click", action);
  $("reason").addEventListener("input", () => sessionStorage.setItem(draft(), $("reason").value));
  $("name").addEventListener("input", () => $("name").setCustomValidity(""));
  $("shortcuts").addEventListener("change", (event) => {
    localStorage.setItem("cai:keys", event.target.checked ? "on" : "off");
  });
  $("start-form").addEventListener("submit", (event) => {
    event.preventDefault();
    begin($("name").value.trim());
  });
}

async function main() {
  view.theme();
  $("shortcuts").checked = keysOn();
  $("guide").open = matchMedia("(min-width: 76rem)").matches;
  listen();
  page.about = (await persist("/api/run", undefined, waiting)).data;
  page.outbox = new Outbox(page.about.run, waiting);
  view.banner("");
  view.guide(page.about);
  const [stored, refused] = await page.outbox.flush();
  const news = [
    stored ? `${stored === 1 ? "A vote" : `${stored} votes`} from before ${stored === 1 ? "is" : "are"} stored now.` : "",
    ...refused.map((message) => `A vote from before was not taken: ${message}.`),
  ].join(" ");
  const given = new URL(location.href).searchParams.get("annotator");
  page.annotator = given ?? localStorage.getItem("cai:annotator") ?? "";
  if (!given || localStorage.getItem(warned()) === null) {
    askName();
    return;
  }
  view.annotator(given);
  await next(news);
}

main();
