"use strict";
/* What the page does beyond being read: the theme, and the browser of samples. Texts of models become text nodes
   and nothing else; the page's policy stops whatever would make markup of them. */
(() => {
  const PAGE = 20;
  const OUTCOMES = {
    revised: "revised", no_problem: "no problem found", unchanged: "problem found, text unchanged",
    empty: "revision empty", cut_off: "cut off", refused: "critic refused",
  };
  const SCROLLS = { class: "wide", role: "region", tabindex: "0" };
  const KINDS = { revision: "revisions and labels", answer: "held-out answers" };
  const KINDS_OF_BADGE = { revised: "badge revised", "order flips": "badge flips", "cut off": "badge flips" };
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);

  /* --- theme: before the first paint --- */
  const kept = () => { try { return localStorage.getItem("cai:theme"); } catch { return null; } };
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
  if (["dark", "light"].includes(kept())) root.dataset.theme = kept();

  function setUpTheme() {
    const button = byId("theme");
    const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
    button.hidden = false;
    name();
    systemDark.addEventListener("change", name);
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("cai:theme", root.dataset.theme); } catch { /* a file may have no storage */ }
      name();
    });
  }

  /* --- print: everything folded is opened, and folded again after --- */
  function setUpPrint() {
    let folded = [];
    addEventListener("beforeprint", () => {
      folded = [...document.querySelectorAll("details:not([open])")];
      for (const one of folded) { fill(one); one.open = true; }
    });
    addEventListener("afterprint", () => folded.forEach((one) => { one.open = false; }));
  }

  /* --- elements --- */
  function make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes ?? {})) element.setAttribute(key, value);
    element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
    return element;
  }
  const badge = (text) => make("span", { class: KINDS_OF_BADGE[text] ?? "badge" }, text);
  const text = (...children) => make("div", { class: "text", dir: "auto" }, ...children);
  const who = (...children) => make("p", { class: "who" }, ...children);
  const said = (name, words, note) =>
    make("div", { class: "said" }, who(name, note ? " " : "", note ? badge(note) : ""), text(words));
  const p = (value) => (value === null ? "–" : value.toFixed(3));

  const marked = (pieces) => pieces.map(([sign, words]) =>
    (sign === 0 ? words : make(sign < 0 ? "del" : "ins", {}, words)));

  function round(one, number) {
    return make("div", { class: "round" },
      who(`round ${number} · ${one.n} `, badge(OUTCOMES[one.o] ?? one.o)),
      data.principles[one.n] ? make("p", { class: "principle" }, data.principles[one.n]) : "",
      one.c === undefined ? "" : said("critique", one.c),
      one.d ? make("div", { class: "said" }, who("revision"), text(...marked(one.d))) : "",
      one.w === undefined ? "" : said("what the critic wrote, not accepted", one.w));
  }

  const flips = ([, first, second]) => first !== null && second !== null && (first - 0.5) * (second - 0.5) < 0;

  function pair(label) {
    const better = label.p === null || label.p === 0.5 ? null : (label.p > 0.5 ? "a" : "b");
    const side = (name) => said(`response ${name}`, label[name], better === name ? "preferred" : "");
    const row = (judgement) => make("tr", {},
      make("th", { scope: "row" }, judgement[0]),
      make("td", { class: "number" }, p(judgement[1])), make("td", { class: "number" }, p(judgement[2])),
      make("td", {}, flips(judgement) ? "flips" : ""));
    const head = ["principle", "a shown first", "b shown first", "order"].map((name) => make("th", { scope: "col" }, name));
    const table = make("table", {},
      make("caption", {}, make("span", {}, "P(a preferred) by principle and order of showing")),
      make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...label.j.map(row)));
    const verdict = label.p === null ? `unscored: ${label.u ?? ""}` : `P(a preferred) = ${label.p.toFixed(3)}`;
    return make("div", { class: "pair" },
      who(`label by ${label.by} · ${verdict}`),
      make("div", { class: "beside" }, side("a"), side("b")),
      label.j.length ? make("div", { ...SCROLLS, "aria-label": "Label probabilities" }, table) : "");
  }

  function body(item) {
    const parts = item.p.map(([role, words]) => said(role, words));
    if (item.k === "revision") {
      parts.push(said("first answer", item.s), ...item.r.map((one, i) => round(one, i + 1)), ...item.l.map(pair));
    } else {
      const answers = item.a.map(([name, words, cut]) => said(name, words, cut ? "cut off" : ""));
      parts.push(make("div", { class: "beside" }, ...answers));
    }
    parts.push(make("a", { class: "link", href: `#sample-${item.i}` }, "Link to this sample"));
    return make("div", { class: "body" }, ...parts);
  }

  function card(item) {
    const summary = make("summary", {},
      make("span", { class: "ask", dir: "auto" }, item.p.at(-1)[1].slice(0, 160)),
      ...badges(item).map(badge), make("span", { class: "id" }, item.id));
    const element = make("details", { class: "sample", id: `sample-${item.i}` }, summary);
    items.set(element, item);
    element.addEventListener("toggle", () => fill(element));
    return element;
  }

  function badges(item) {
    if (item.k === "answer") return item.a.some(([, , cut]) => cut) ? ["cut off"] : [];
    const found = [...new Set(item.r.map((one) => OUTCOMES[one.o] ?? one.o))];
    if (item.l.some((label) => label.j.some(flips))) found.push("order flips");
    return found;
  }

  /** The inside of a card is made when it is opened for the first time. */
  function fill(element) {
    const item = items.get(element);
    if (item && !element.querySelector(".body")) element.append(body(item));
  }

  /* --- what is shown --- */
  let data = { principles: {}, items: [] };
  let results = [];
  let shown = 0;
  const items = new WeakMap();
  const haystacks = new WeakMap();

  function haystack(item) {
    if (!haystacks.has(item)) {
      const words = [item.id, ...item.t, ...item.p.map(([, one]) => one)];
      if (item.k === "revision") {
        words.push(item.s, ...item.r.flatMap((one) => [one.c, one.w, ...spelled(one.d)]), ...item.l.flatMap((l) => [l.a, l.b]));
      } else {
        words.push(...item.a.map(([, one]) => one));
      }
      haystacks.set(item, words.filter(Boolean).join("\n").toLowerCase());
    }
    return haystacks.get(item);
  }
  const spelled = (pieces) => [-1, 1].map((side) =>
    (pieces ?? []).filter(([sign]) => sign !== -side).map(([, one]) => one).join(""));

  const outcomes = (item) => (item.k === "answer"
    ? (item.a.some(([, , cut]) => cut) ? ["cut_off"] : [])
    : [...item.r.map((one) => one.o), ...(item.l.some((l) => l.j.some(flips)) ? ["flips"] : []),
      ...(item.l.some((l) => l.p === null) ? ["unscored"] : [])]);
  const principles = (item) => (item.k === "answer" ? []
    : [...item.r.map((one) => one.n), ...item.l.flatMap((label) => label.j.map((one) => one[0]))]);
  const changed = (item) => (item.k === "revision" ? item.r.some((one) => one.d)
    : item.a.length > 1 && item.a.some(([, words]) => words !== item.a[0][1]));

  const TESTS = {
    q: (item, value) => value.toLowerCase().split(/\s+/).every((word) => haystack(item).includes(word)),
    kind: (item, value) => item.k === value,
    outcome: (item, value) => outcomes(item).includes(value),
    principle: (item, value) => principles(item).includes(value),
    tag: (item, value) => item.t.includes(value),
    change: (item, value) => changed(item) === (value === "changed"),
  };

  const form = () => byId("filters");
  const chosen = () => Object.fromEntries(
    Object.keys(TESTS).map((name) => [name, form().elements[name].value.trim()]).filter(([, value]) => value));

  function filter() {
    const wanted = Object.entries(chosen());
    results = data.items.filter((item) => wanted.every(([name, value]) => TESTS[name](item, value)));
    shown = 0;
    byId("list").replaceChildren();
    showMore();
    const all = data.items.length.toLocaleString("en");
    byId("found").textContent = wanted.length ? `${results.length.toLocaleString("en")} of ${all} samples` : `${all} samples`;
  }

  function showMore() {
    const next = results.slice(shown, shown + PAGE);
    byId("list").append(...next.filter((item) => !byId(`sample-${item.i}`)).map(card));
    shown += next.length;
    byId("more").hidden = shown >= results.length;
  }

  /* --- the address: #samples?kind=answer&q=kettle, #sample-0123456789 --- */
  function remember() {
    const query = new URLSearchParams(chosen()).toString();
    history.replaceState(null, "", query ? `#samples?${query}` : "#samples");
  }

  function follow() {
    const hash = location.hash;
    if (hash.startsWith("#samples?")) {
      const query = new URLSearchParams(hash.slice(9));
      for (const name of Object.keys(TESTS)) form().elements[name].value = query.get(name) ?? "";
      filter();
      byId("samples").scrollIntoView();
    } else if (hash.startsWith("#sample-")) {
      const item = data.items.find((one) => `#sample-${one.i}` === hash);
      if (!item) return;
      let element = byId(hash.slice(1));
      if (!element) {
        element = card(item);
        byId("list").prepend(element);
      }
      element.open = true;
      fill(element);
      element.scrollIntoView();
      element.querySelector("summary").focus({ preventScroll: true });
    }
  }

  function options(name, all, found) {
    const select = form().elements[name];
    select.append(make("option", { value: "" }, all), ...found.map(([value, words]) => make("option", { value }, words)));
    select.closest(".field").hidden = found.length < 2;
  }

  function setUpSamples() {
    try { data = JSON.parse(byId("data").textContent); } catch { return; }
    if (!data.items.length) return;
    const present = (of) => [...new Set(data.items.flatMap(of))];
    const sorted = (of) => present(of).sort().map((value) => [value, value]);
    const names = { ...OUTCOMES, flips: "labels flip with the order", unscored: "unscored label" };
    const there = new Set(present(outcomes));
    options("kind", "all", Object.entries(KINDS).filter(([kind]) => data.items.some((item) => item.k === kind)));
    options("outcome", "any", Object.entries(names).filter(([value]) => there.has(value)));
    options("principle", "any", sorted(principles));
    options("tag", "any", sorted((item) => item.t));
    options("change", "any", [["changed", "changed"], ["unchanged", "unchanged"]]);
    form().hidden = false;
    filter();
    addEventListener("load", () => setTimeout(follow)); // after the browser's own jump, which drops the focus
    form().addEventListener("submit", (event) => event.preventDefault());
    form().addEventListener("input", () => { filter(); remember(); });
    form().addEventListener("reset", () => setTimeout(() => { filter(); remember(); }));
    byId("more").addEventListener("click", () => {
      const last = byId("list").lastElementChild;
      showMore();
      last?.nextElementSibling?.querySelector("summary").focus();
    });
    addEventListener("hashchange", follow);
  }

  document.addEventListener("DOMContentLoaded", () => {
    setUpTheme();
    setUpPrint();
    setUpSamples();
  });
})();
