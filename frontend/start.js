// Runs before the first paint: the theme and the language are right from the start, so that nothing flashes.
(() => {
  const kept = (key) => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null; // storage may be forbidden; the page works without
    }
  };
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = kept("theme") ?? (dark ? "dark" : "light");
  root.lang = kept("language") ?? (navigator.language.startsWith("ja") ? "ja" : "en");
  root.classList.add("starting");
})();
