// What is on the screen: one function per part, no decisions.

import { element, fill, fillDifferences } from "./render.js";

export const $ = (id) => document.getElementById(id);
const WORDS = {
  first: "response 1 is better",
  second: "response 2 is better",
  tie: "a tie",
  "both bad": "both bad",
  skip: "skipped",
};
const DEGREES = ["", "slightly better", "clearly better", "much better"];
const ROLES = { user: "User", assistant: "Assistant", system: "System" };
const TOTALS = { preferred: "One preferred", tie: "Ties", "both bad": "Both bad", skip: "Skipped" };

/** The texts of the two responses, in the order of showing. */
export const texts = () => [...document.querySelectorAll("#responses .text")];

export function screen(name) {
  document.body.dataset.screen = name;
  for (const one of ["start", "vote", "done"]) $(one).hidden = one !== name;
  $("actions").hidden = name !== "vote";
}

export function say(text) {
  $("status").textContent = text;
}

/** "Stored: response 1 is clearly better." */
export function inWords({ choice, strength }) {
  return strength ? WORDS[choice].replace("better", DEGREES[strength]) : WORDS[choice];
}

export function progress({ own, left, waiting, all, places }) {
  const open = left - waiting;
  $("bar").max = Math.max(1, own + left);
  $("bar").value = own;
  $("own").hidden = $("all").hidden = false;
  $("own").replaceChildren(
    element("strong", "", String(own)), own === 1 ? " vote" : " votes", element("span", "quiet", ` · ${open} to go`),
  );
  $("all").textContent = `everyone: ${all} of ${places}`;
}

export function annotator(name) {
  $("who").hidden = false;
  $("who").textContent = name;
  $("who").setAttribute("aria-label", `Voting as ${name}; change the name`);
}

/** What stays the same while the page is open: guidelines and constitution. */
export function guide({ guidelines, constitution, strength }) {
  if (guidelines) fill($("guidelines"), guidelines);
  else $("guidelines").replaceChildren(...ADVICE.map((line) => element("p", "", line)));
  $("help-strength").hidden = !strength;
  if (!constitution) return;
  $("constitution").hidden = false;
  const count = constitution.principles.length;
  $("constitution-title").textContent = `The whole constitution: ${constitution.name} (${count} principles)`;
  $("constitution-about").textContent = constitution.description;
  $("principles").replaceChildren(
    ...constitution.principles.map(({ id, text }) => {
      const item = element("li", "", text);
      item.dataset.principle = id;
      return item;
    }),
  );
}

const ADVICE = [
  "Judge by the question above and by nothing else: not by length, style or position, unless it asks for them.",
  "Tie when neither is better by it. Both bad when neither is acceptable. Skip when you cannot or would "
    + "rather not judge.",
];

export function task({ question, principle, principle_id: id, conversation, responses }) {
  $("question").textContent = question;
  $("principle").hidden = !principle;
  $("principle").textContent = principle ?? "";
  for (const item of $("principles").children) {
    if (item.dataset.principle === id) item.setAttribute("aria-current", "true");
    else item.removeAttribute("aria-current");
  }
  $("conversation").replaceChildren(...conversation.map(turn));
  plainResponses(responses);
  mark(null);
  const vote = $("vote");
  vote.classList.remove("fresh");
  void vote.offsetWidth; // the fade starts anew
  vote.classList.add("fresh");
  scrollTo(0, 0);
  $("conversation").scrollTop = $("conversation").scrollHeight;
  fold();
}

function turn({ role, content }) {
  const text = element("div", "text");
  text.dir = "auto";
  fill(text, content);
  return element("div", `turn ${role}`, element("p", "role", ROLES[role] ?? role), text);
}

export function plainResponses(responses) {
  texts().forEach((text, index) => fill(text, responses[index]));
  $("diff").setAttribute("aria-pressed", "false");
}

export function differingResponses(responses) {
  texts().forEach((text, index) => fillDifferences(text, responses[index]));
  $("diff").setAttribute("aria-pressed", "true");
  unfold();
}

/** On a small screen a long response must not push the other out of sight: both are cut at one height. */
function fold() {
  const narrow = matchMedia("(max-width: 48rem)").matches;
  const long = narrow && texts().some((text) => text.scrollHeight > 0.6 * innerHeight);
  $("responses").classList.toggle("folded", long);
  $("unfold").hidden = !long;
}

export function unfold() {
  $("responses").classList.remove("folded");
  $("unfold").hidden = true;
}

/** Show a choice on the response it is for; null takes all such marks away. */
export function mark(choice) {
  for (const article of document.querySelectorAll("#responses article")) {
    article.classList.toggle("chosen", article.dataset.side === choice);
  }
  for (const button of document.querySelectorAll(".choices button")) {
    button.classList.toggle("chosen", button.dataset.choice === choice);
  }
}

/** The row that says how much better; hidden while nothing is chosen. */
export function degree(choice, strength) {
  $("strength").hidden = !choice;
  if (!choice) return;
  $("strength-of").textContent = choice === "first" ? "Response 1 is" : "Response 2 is";
  for (const button of document.querySelectorAll("[data-strength]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.strength) === strength));
  }
  say(`Response ${choice === "first" ? 1 : 2} is ${DEGREES[strength]}. Enter votes.`);
}

export function reason(text, open) {
  $("reason").value = text;
  $("reason-box").hidden = !open;
  $("why").setAttribute("aria-expanded", String(open));
}

export function done({ progress: { own, skipped, waiting }, said, last }) {
  $("done-title").textContent = own ? "Thank you, that is all." : "There is nothing to vote on.";
  $("done-note").textContent = waiting
    ? `${waiting} ${waiting === 1 ? "pair is" : "pairs are"} with other annotators at this moment and may become open.`
    : "There is no pair left that is open to you.";
  $("totals").replaceChildren(
    ...Object.entries(TOTALS).flatMap(([name, title]) => [
      element("div", "", element("dd", "", String(said[name] ?? 0)), element("dt", "", title)),
    ]),
  );
  $("unskip").hidden = !skipped;
  $("unskip").textContent = `Go through the ${skipped} skipped`;
  $("look-again").hidden = !waiting;
  $("done-undo").hidden = !last;
}

export function banner(text) {
  $("banner").hidden = !text;
  if (text) $("banner-text").textContent = text;
}

export function theme() {
  const dark = document.documentElement.dataset.theme === "dark";
  $("theme").textContent = dark ? "Light" : "Dark";
  $("theme").setAttribute("aria-label", dark ? "Light colours" : "Dark colours");
}
