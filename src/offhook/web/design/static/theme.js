// Light or dark: the system's theme until one is chosen. Runs before the first paint.
"use strict";
(() => {
  const KEY = "offhook-theme";
  const NEXT = { "": "light", light: "dark", dark: "" };
  const NAMES = { "": "system", light: "light", dark: "dark" };
  const root = document.documentElement;

  const apply = (theme) => {
    root.toggleAttribute("data-theme", theme !== "");
    if (theme) root.setAttribute("data-theme", theme);
  };
  const chosen = () => {
    const found = localStorage.getItem(KEY);
    return found in NEXT ? found : "";
  };

  apply(chosen());
  document.addEventListener("DOMContentLoaded", () => {
    for (const button of document.querySelectorAll("[data-theme-switch]")) {
      const label = () => button.setAttribute("aria-label", `Theme: ${NAMES[chosen()]}`);
      label();
      button.addEventListener("click", () => {
        localStorage.setItem(KEY, NEXT[chosen()]);
        apply(chosen());
        label();
      });
    }
  });
})();
