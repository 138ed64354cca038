// The list of conversations, newest first, a page at a time.

import { button, make, part, problem } from "./page.js";
import { Failure, ask, whenLogin, whoIs } from "./server.js";
import { month, t, whenLanguage } from "./text.js";

const PAGE = 50;
const DAY_MS = 86_400_000;

let talks = [];
let state = "loading"; // or "all", "more", or a Failure
let chosen = null; // the id of the conversation in the chat
let choose = () => {};

/** Shows the list. `onChoose(talk)` is called with a conversation, or null for a new one. */
export function watchTalks(onChoose) {
  choose = onChoose;
  part("new-talk").addEventListener("click", () => choose(null));
  whenLogin((login) => {
    clear();
    if (login) load();
  });
  whenLanguage(show);
  if (whoIs()) load();
}

/** Marks the conversation that is in the chat; one that is new comes to the top. */
export function mark(talk) {
  chosen = talk?.id ?? null;
  if (talk && !talks.some((one) => one.id === talk.id)) talks.unshift(talk);
  show();
}

function clear() {
  talks = [];
  state = "loading";
  show();
}

async function load(clicked) {
  const asker = whoIs();
  const before = talks.at(-1)?.id;
  state = "loading";
  show();
  if (clicked) part("talks-list").focus({ preventScroll: true }); // its button is gone
  const page = await ask(`/api/v1/conversations?limit=${PAGE}${before ? `&before=${before}` : ""}`).catch((failure) => failure);
  if (whoIs() !== asker) return; // logged out meanwhile
  take(page);
  show();
}

function take(page) {
  if (page instanceof Failure) {
    state = page;
    return;
  }
  const known = new Set(talks.map((one) => one.id));
  talks.push(...page.filter((one) => !known.has(one.id)));
  state = page.length < PAGE ? "all" : "more";
}

function show() {
  const list = part("talks-list");
  const top = list.scrollTop;
  list.replaceChildren(...groups(), ...after());
  list.scrollTop = top;
}

function after() {
  if (state === "loading") return [make("p", { class: "empty", role: "status" }, t("loading"))];
  if (state === "more") return [button("plain small wide", t("older"), load)];
  if (state === "all") return talks.length ? [] : [make("p", { class: "empty" }, t("noTalks"))];
  return [problem(t(`failure_${state.kind}`, { status: state.status }), t("tryAgain"), load)];
}

function groups() {
  const shown = [];
  let last = null;
  for (const talk of talks) {
    const heading = when(new Date(talk.created_at));
    if (heading !== last) shown.push(make("h3", {}, heading), make("ul", {}));
    last = heading;
    shown.at(-1).append(entry(talk));
  }
  return shown;
}

function entry(talk) {
  const properties = { type: "button", title: talk.title, "aria-current": talk.id === chosen ? "true" : null, onclick: () => choose(talk) };
  return make("li", {}, make("button", properties, talk.title));
}

function when(moment) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (moment >= midnight) return t("today");
  if (moment >= midnight - DAY_MS) return t("yesterday");
  if (moment >= midnight - 6 * DAY_MS) return t("thisWeek");
  return month(moment);
}
