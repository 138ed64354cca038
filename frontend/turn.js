// How a turn of a conversation is shown, and how an answer ended.

import { elements } from "./markup.js";
import { make, problem } from "./page.js";
import { shortTime, t } from "./text.js";

// What the server tells of a failed answer, as a text of ours.
const TOLD = { "The model broke off. What it said is kept.": "brokeOff", "The answer could not be kept.": "notKept" };

/** The element of a turn: {role, text, model, at, state, again}. state: done, thinking, speaking, or why it ended too soon. */
export function shown(turn) {
  turn.element = make("article", { class: `turn ${turn.role}` });
  refresh(turn);
  return turn.element;
}

/** Renews what is shown of a turn. */
export function refresh(turn) {
  if (!turn.element) return;
  turn.element.setAttribute("aria-busy", String(["thinking", "speaking"].includes(turn.state)));
  turn.element.dataset.state = turn.state;
  turn.element.replaceChildren(byline(turn), saying(turn), ...postscript(turn));
}

function byline(turn) {
  const who = make("span", { class: "from" }, t(turn.role === "user" ? "you" : "assistant"));
  const what = turn.role === "assistant" && turn.model ? make("span", {}, turn.model) : null;
  const badge = turn.simulated ? make("span", { class: "badge" }, t("simulated")) : null;
  return make("p", { class: "byline" }, who, what, badge, make("time", { datetime: turn.at.toISOString() }, shortTime(turn.at)));
}

function saying(turn) {
  if (turn.role === "user") return make("div", { class: "said" }, make("p", {}, turn.text));
  if (turn.state === "thinking") {
    const dots = make("span", { class: "dots", "aria-hidden": "true" }, make("i"), make("i"), make("i"));
    return make(
      "div",
      { class: "said" },
      make("p", { class: "waiting" }, dots, make("span", {}, t(turn.long ? "thinkingLong" : "thinking"))),
    );
  }
  return make("div", { class: "said" }, ...elements(turn.text));
}

function postscript(turn) {
  const end = ending(turn);
  return end ? [problem(end.text, t("askAgain"), end.again ? () => turn.again() : null)] : [];
}

/** How an answer ended, when it did not just end: {text, again}. */
export function ending(turn) {
  switch (turn.state) {
    case "done":
    case "thinking":
    case "speaking":
      return null;
    case "failed":
      return { text: said(turn), again: true };
    case "stopped":
    case "cut":
      return { text: t(turn.state), again: true };
    case "expired":
      return { text: t("loginExpired"), again: false };
    default:
      return { text: t(turn.status === 404 ? "gone" : `failure_${turn.state}`, { status: turn.status }), again: turn.state !== "refused" };
  }
}

/** What the server tells of a failed answer, in the page's language where it is known. */
function said(turn) {
  const key = TOLD[turn.told];
  if (!key) return turn.told;
  return t(key === "brokeOff" && !turn.text ? "silent" : key);
}
