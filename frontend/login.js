// The way in and out.

import { model, whenHealth } from "./health.js";
import { part } from "./page.js";
import { enter, leave, whenLogin, whoIs } from "./server.js";
import { named, t, whenLanguage } from "./text.js";

let note = null; // a key of the texts, with its facts

/** Shows the form or what is behind it, and keeps to it. */
export function watchLogin() {
  part("login-form").addEventListener("submit", submit);
  part("leave").addEventListener("click", () => leave());
  whenLogin(changed);
  whenLanguage(show);
  whenHealth(hint);
}

function changed(login, why) {
  note = why === "expired" ? { key: "loginExpired" } : null;
  show();
  part(login ? "question" : "name").focus();
}

async function submit(event) {
  event.preventDefault();
  const { name, password } = event.target.elements;
  busy(true);
  try {
    await enter(name.value.trim(), password.value);
    password.value = "";
  } catch (failure) {
    const wrong = failure.status === 401;
    note = wrong ? { key: "loginWrong" } : { key: `failure_${failure.kind}`, facts: { status: failure.status } };
    show();
    if (wrong) password.select();
  } finally {
    busy(false);
  }
}

function busy(is) {
  part("login-button").disabled = is;
  part("login-button").textContent = t(is ? "loggingIn" : "logIn");
}

function show() {
  const login = whoIs();
  document.body.dataset.login = login ? "yes" : "no";
  part("leave").hidden = !login;
  part("who").textContent = login ? named(login.shown) : "";
  part("view-chat").textContent = t(login ? "chat" : "logIn");
  part("login-note").hidden = !note;
  part("login-note").textContent = note ? t(note.key, note.facts) : "";
  hint();
}

function hint() {
  part("login-hint").hidden = !model().simulated;
  part("login-hint").textContent = t("loginDemo");
}
