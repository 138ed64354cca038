// The page of Smart Office AI: brings its parts together.

import { openTalk, watchChat } from "./chat.js";
import { watch } from "./health.js";
import { watchLogin } from "./login.js";
import { part } from "./page.js";
import { watchRooms } from "./rooms.js";
import { watchTalks } from "./talks.js";
import { fillIn, language, recall, remember, speak, t, whenLanguage } from "./text.js";

const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");

watchLogin();
watchTalks((talk) => {
  view("chat");
  openTalk(talk);
});
watchChat();
watchRooms();
watch();
whenLanguage(fillIn);
whenLanguage(tools);
root.classList.remove("starting");

part("language").addEventListener("click", () => speak(language() === "ja" ? "en" : "ja"));
part("theme").addEventListener("click", () => choose(root.dataset.theme === "dark" ? "light" : "dark"));
system.addEventListener("change", () => recall("theme") === null && shade(own()));
for (const one of part("views").querySelectorAll("button")) one.addEventListener("click", () => view(one.dataset.show));

function own() {
  return system.matches ? "dark" : "light";
}

/** Changes the theme and remembers it. What the system has anyway is not a choice: then the page follows the system again. */
function choose(theme) {
  remember("theme", theme === own() ? null : theme);
  shade(theme);
}

function shade(theme) {
  root.dataset.theme = theme;
  tools();
}

function tools() {
  part("language").textContent = t("otherLanguage");
  part("language").lang = language() === "ja" ? "en" : "ja";
  const dark = root.dataset.theme === "dark";
  part("theme").setAttribute("aria-label", t(dark ? "toLight" : "toDark"));
  part("theme").title = t(dark ? "toLight" : "toDark");
  part("theme")
    .querySelector("use")
    .setAttribute("href", dark ? "#i-sun" : "#i-moon");
}

/** On a small screen: which part of the page is seen. */
function view(name) {
  document.body.dataset.view = name;
  for (const one of part("views").querySelectorAll("button")) {
    if (one.dataset.show === name) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
}
