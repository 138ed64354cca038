// How the application is: asked every 15 seconds while somebody looks, judged, and shown as cards, a pill and a banner.

import { make, part } from "./page.js";
import { probe } from "./server.js";
import { clock, number, t, whenLanguage } from "./text.js";

const EVERY_MS = 15_000;
const ASKED = { health: "/health", ready: "/ready", ai: "/api/v1/ai/health", models: "/api/v1/ai/models", version: "/version" };

let found = null; // the answers by name, and when they came
let timer = 0;
let asking = false;
const listeners = [];

/** Starts asking. */
export function watch() {
  whenLanguage(show);
  document.addEventListener("visibilitychange", plan);
  addEventListener("online", check);
  addEventListener("offline", check);
  part("banner-retry").addEventListener("click", check);
  plan();
}

/** Calls `react` after each round of answers. */
export const whenHealth = (react) => listeners.push(react);

/** The model that answers by default: {name, simulated, reachable}. Nothing is known before the first answers. */
export function model() {
  const answer = found?.models;
  if (answer?.status !== 200 || !answer.body) return { name: null, simulated: false, reachable: found?.ai.body?.ollama_reachable ?? null };
  const standard = answer.body.models.find((one) => one.name === answer.body.default) ?? answer.body.models[0];
  const simulated = standard?.details?.family === "simulated";
  return { name: answer.body.default, simulated, reachable: true, count: answer.body.models.length };
}

/** One of wait, good, warn (the model server is away), notReady (a store is away), bad (no answer). */
export function overall() {
  if (!found) return "wait";
  if (!answers()) return "bad";
  if (found.ready.status !== 200) return "notReady";
  return found.ai.body?.status === "healthy" ? "good" : "warn";
}

function plan() {
  clearInterval(timer);
  if (document.hidden) return;
  check();
  timer = setInterval(check, EVERY_MS);
}

async function check() {
  if (asking) return;
  asking = true;
  const answers = await Promise.all(Object.values(ASKED).map(probe));
  found = Object.fromEntries(Object.keys(ASKED).map((name, at) => [name, answers[at]]));
  found.at = new Date();
  asking = false;
  show();
  for (const react of listeners) react();
}

const answers = () => found.health.status === 200 && found.health.body?.status === "ok";

function show() {
  const state = overall();
  const shade = state === "notReady" ? "warn" : state;
  part("pill").dataset.state = shade;
  part("views-dot").dataset.state = shade;
  const words = t(`overall_${state}`);
  if (part("overall").textContent !== words) part("overall").textContent = words; // a live region speaks only when it changes
  part("checked").textContent = found ? clock(found.at) : "";
  part("cards").replaceChildren(...[application(), data(), ai(), modelCard(), release()]);
  banner(state);
}

function banner(state) {
  const text = state === "bad" ? unreachable() : state === "notReady" ? t("banner_notReady", { names: storeProblems() }) : "";
  part("banner").hidden = !text;
  part("banner").dataset.state = state === "bad" ? "bad" : "warn";
  if (part("banner-text").textContent !== text) part("banner-text").textContent = text;
}

function unreachable() {
  if (!navigator.onLine) return t("banner_offline");
  return found.health.status ? t("banner_gateway", { status: found.health.status }) : t("banner_nothing");
}

function storeProblems() {
  const stores = Object.entries(found.ready.body ?? {}).filter(([name, state]) => ["database", "redis"].includes(name) && state !== "ok");
  const shown = stores.map(([name, problem]) => t("storeFails", { name: t(`store_${name}`), problem }));
  return shown.join(", ") || t("noAnswer");
}

function application() {
  if (!found) return card("application", "wait");
  if (!answers()) return card("application", "bad", t("noAnswer"));
  return card("application", "good", t("running"), t("answeredIn", { ms: number(Math.max(1, found.health.ms)) }));
}

function data() {
  if (!found) return card("data", "wait");
  if (!answers()) return card("data", "none");
  if (found.ready.status !== 200) return card("data", "bad", t("notReady"), storeProblems());
  return card("data", "good", t("ready"), `${t("store_database")} · ${t("store_redis")}`);
}

function ai() {
  if (!found) return card("ai", "wait");
  if (found.ai.status !== 200 || !found.ai.body) return card("ai", "none");
  if (found.ai.body.status === "healthy") return card("ai", "good", t("aiHealthy"), t("aiHealthyMore"));
  return card("ai", "warn", t("aiDegraded"), t("aiDegradedMore"));
}

function modelCard() {
  if (!found) return card("model", "wait");
  const { name, simulated, count } = model();
  if (!name) return card("model", "none");
  return card("model", simulated ? "info" : "good", name, t("moreModels", { count }), simulated ? t("simulated") : null);
}

function release() {
  if (!found) return card("release", "wait");
  const { status, body } = found.version;
  if (status !== 200 || !body) return card("release", "none");
  const shown = /^[0-9a-f]{12,}$/.test(body.release) ? body.release.slice(0, 10) : body.release;
  const schema = body.revision ? t("schema", { revision: body.revision }) : t("schemaUnknown");
  const made = card("release", body.revision ? "good" : "warn", shown, schema);
  made.querySelector("strong").title = body.release;
  return made;
}

function card(name, state, value = t(state === "wait" ? "loading" : "unknown"), more = "", badge = null) {
  return make(
    "li",
    { class: "card", "data-state": state },
    make("span", { class: "dot", "aria-hidden": "true" }),
    make("h3", {}, t(`card_${name}`)),
    make("p", {}, make("strong", {}, value), badge ? make("span", { class: "badge" }, badge) : null),
    make("p", { class: "fine" }, more),
  );
}
