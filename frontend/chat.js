// The chat: a conversation, the question, and the answer as it comes.

import { model, overall, whenHealth } from "./health.js";
import { announce, button, icon, make, part, problem } from "./page.js";
import { Failure, ask, events, open, whenLogin, whoIs } from "./server.js";
import { mark } from "./talks.js";
import { number, t, whenLanguage } from "./text.js";
import { ending, refresh, shown } from "./turn.js";

const PAGE = 100;
const LONG_MS = 8_000; // after this, a wait is explained
const NEAR_PX = 90; // so near to the end, the view follows the answer

let talk = null; // the conversation; null: a new one
let turns = []; // as turn.js shows them
let page = "all"; // of the older messages: "all", "more", "loading", or a Failure
let visit = {}; // another one for each opening of a conversation
let owner = whoIs()?.name; // whose conversation it is
let following = true; // whether the view follows the answer
let running = null; // the AbortController of the answer that comes

/** Makes the chat work. */
export function watchChat() {
  part("composer").addEventListener("submit", submit);
  part("stop").addEventListener("click", stop);
  part("question").addEventListener("keydown", key);
  part("question").addEventListener("input", fit);
  part("messages").addEventListener("scroll", scrolled, { passive: true });
  new ResizeObserver(follow).observe(part("messages"));
  whenLogin(changed);
  whenLanguage(show);
  whenHealth(surroundings);
}

/** Shows a conversation; null begins a new one. An answer that is on its way to another is stopped. */
export async function openTalk(wanted) {
  stop();
  begin(wanted);
  if (matchMedia("(hover: hover)").matches) part("question").focus({ preventScroll: true }); // a touch keyboard would hide half of it
  if (wanted) await load();
}

function changed(login, why) {
  stop();
  if (why === "expired" || login?.name === owner) return; // whoever logs in again finds everything as it was
  owner = login?.name;
  part("question").value = "";
  begin(null);
}

function begin(wanted) {
  visit = {};
  talk = wanted;
  turns = [];
  page = wanted ? "loading" : "all";
  mark(wanted);
  show();
}

async function load() {
  const now = visit;
  const oldest = turns.find((turn) => turn.id)?.id;
  page = "loading";
  show();
  const came = await ask(`/api/v1/conversations/${talk.id}/messages?limit=${PAGE}${oldest ? `&before=${oldest}` : ""}`).catch(
    (failure) => failure,
  );
  if (visit !== now) return; // another one was opened meanwhile
  const box = part("messages");
  const below = box.scrollHeight - box.scrollTop;
  take(came);
  show();
  box.scrollTop = oldest ? box.scrollHeight - below : box.scrollHeight;
  if (oldest) box.focus({ preventScroll: true }); // its button is gone
}

function take(came) {
  if (came instanceof Failure) {
    page = came;
    return;
  }
  page = came.length < PAGE ? "all" : "more";
  turns.unshift(
    ...came.map((one) => ({
      id: one.id,
      role: one.role,
      text: one.content,
      model: one.model,
      at: new Date(one.created_at),
      state: "done",
    })),
  );
}

function submit(event) {
  event?.preventDefault();
  const question = part("question").value.trim();
  if (!question || running) return;
  part("question").value = "";
  fit();
  put(question);
}

/** Asks, and shows the answer as it comes. */
async function put(question) {
  const controller = new AbortController();
  const asked = { role: "user", text: question, at: new Date(), state: "done" };
  const answer = { role: "assistant", text: "", model: model().name, at: new Date(), state: "thinking", simulated: model().simulated };
  answer.again = () => again(question, asked, answer);
  running = controller;
  turns.push(asked, answer);
  show();
  toEnd();
  announce(t("thinking"));
  const patience = setTimeout(() => wait(answer), LONG_MS);
  try {
    const response = await open("/api/v1/ai/chat", {
      body: { message: question, conversation_id: talk?.id ?? null },
      signal: controller.signal,
    });
    answer.state = await listen(response, answer, question);
  } catch (failure) {
    answer.state = failure.kind ?? (controller.signal.aborted ? "stopped" : "cut");
    answer.status = failure.status;
    if (failure.kind === "expired") unsay(question, asked, answer);
  } finally {
    clearTimeout(patience);
    if (running === controller) running = null;
  }
  refresh(answer);
  surroundings();
  follow();
  announce(ending(answer)?.text ?? t("answerDone"));
}

/** Follows the events of an answer. Returns how it ended. */
async function listen(response, answer, question) {
  const teller = sentences();
  let ended = "cut"; // unless it says otherwise; then the server closes, and to go before would be to leave in the middle
  for await (const { name, data } of events(response)) {
    if (name === "start") begun(data, answer, question);
    if (name === "token") {
      answer.state = "speaking";
      answer.text += data.text;
      soon(answer);
      teller(data.text);
    }
    if (name === "end") ended = "done";
    if (name === "error") {
      ended = "failed";
      answer.told = data.message;
    }
  }
  return ended;
}

function begun(data, answer, question) {
  answer.model = data.model;
  if (talk) return;
  talk = { id: data.conversation_id, title: question.slice(0, 80), created_at: new Date().toISOString() };
  mark(talk);
  part("chat-title").textContent = talk.title;
}

/** The question was not taken: it goes back to where it was typed. */
function unsay(question, ...gone) {
  turns = turns.filter((turn) => !gone.includes(turn));
  part("question").value ||= question;
  show();
  fit();
}

/** Asks once more, in place of a turn that failed. */
function again(question, ...failed) {
  if (running) return;
  turns = turns.filter((turn) => !failed.includes(turn));
  put(question);
}

function stop() {
  running?.abort();
}

function wait(answer) {
  if (answer.state !== "thinking") return;
  answer.long = true;
  refresh(answer);
}

/** Tells the answer to those who listen, a sentence at a time: word by word would be noise. */
function sentences() {
  let pending = "";
  return (text) => {
    pending += text;
    const end = Math.max(...[".", "!", "?", "。", "！", "？", "\n"].map((sign) => pending.lastIndexOf(sign)));
    if (end < 0) return;
    announce(pending.slice(0, end + 1).trim());
    pending = pending.slice(end + 1);
  };
}

function key(event) {
  // A Japanese input method also ends its conversion with Enter: that one does not send.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  submit(event);
}

/** The box is as high as its text, and says when the text gets too long. */
function fit() {
  const box = part("question");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight + 2, 180)}px`;
  hint();
}

// --- What is seen ---

function show() {
  part("chat-title").textContent = talk?.title ?? t("newTalkTitle");
  part("messages").replaceChildren(...before(), ...turns.map(shown));
  surroundings();
}

/** What stands above the messages. */
function before() {
  if (page === "loading") return [make("p", { class: "empty", role: "status" }, t("loading"))];
  if (page === "more") return [button("plain small wide", t("earlier"), load)];
  if (page === "all") return turns.length ? [] : [talk ? make("p", { class: "empty" }, t("emptyTalk")) : welcome()];
  if (page.status === 404) return [problem(t("gone"), t("newTalkTitle"), () => openTalk(null))];
  return [problem(t(`failure_${page.kind}`, { status: page.status }), t("tryAgain"), load)];
}

function welcome() {
  const ideas = ["idea1", "idea2", "idea3", "idea4"].map((idea) =>
    make(
      "li",
      {},
      button("plain", t(idea), () => {
        part("question").value = t(idea);
        fit();
        part("question").focus();
      }),
    ),
  );
  return make(
    "div",
    { class: "welcome" },
    icon("rooms"),
    make("p", { class: "greeting" }, t("greeting")),
    make("p", {}, t("greetingMore")),
    make("ul", { "aria-label": t("ideas") }, ...ideas),
  );
}

let due = 0;

/** Renews a turn before the next paint, however many pieces came for it. */
function soon(turn) {
  if (due) return;
  due = requestAnimationFrame(() => {
    due = 0;
    refresh(turn);
    follow();
  });
}

/** Shows the end of the messages, for as long as nobody scrolls away from it. */
function follow() {
  if (following) toEnd();
}

function toEnd() {
  const box = part("messages");
  box.scrollTop = box.scrollHeight;
}

function scrolled() {
  const box = part("messages");
  following = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
}

/** What is around the messages: the model, the hint, the buttons. */
function surroundings() {
  const { name, simulated } = model();
  part("chat-model").replaceChildren(...(name ? [name] : []), ...(simulated ? [make("span", { class: "badge" }, t("simulated"))] : []));
  part("send").hidden = Boolean(running);
  part("stop").hidden = !running;
  part("question").placeholder = t("placeholder");
  hint();
}

function hint() {
  const left = 8000 - part("question").value.length;
  const warned = overall() === "warn";
  const note = warned ? "hintDegraded" : model().simulated ? "hintSimulated" : "hintReal";
  part("composer-hint").dataset.state = warned ? "warn" : "";
  part("composer-keys").hidden = warned || left < 500;
  part("composer-note").textContent = left < 500 ? t("charactersLeft", { count: number(left) }) : t(note);
}
