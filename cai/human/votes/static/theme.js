// Before the first paint: the theme that was chosen last, else the system's.
"use strict";

(() => {
  const chosen = localStorage.getItem("cai:theme");
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
