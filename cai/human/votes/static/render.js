// From the server's trees to elements. Names come from the list below, texts become text nodes: nothing
// here parses markup, so a text cannot become any.

const PLAIN_ELEMENTS = new Set([
  "p", "ul", "ol", "li", "blockquote", "table", "thead", "tbody", "tr", "th", "td", "em", "strong", "del",
  "br", "hr", "code",
]);

/** An element with a class and children (elements or strings). */
export function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** Put the blocks of a tree in place of what `parent` holds. */
export function fill(parent, tree) {
  parent.replaceChildren(...tree.map(node));
}

/** Put pieces [differs, text] there, the differing ones marked. */
export function fillDifferences(parent, pieces) {
  const marked = pieces.map(([differs, text]) => (differs ? element("mark", "", text) : text));
  parent.replaceChildren(element("p", "as-is", ...marked));
}

function node(tree) {
  if (typeof tree === "string") return document.createTextNode(tree);
  const [name, ...rest] = tree;
  const attribute = rest.length && typeof rest[0] === "object" && !Array.isArray(rest[0]) ? rest.shift() : {};
  const children = rest.map(node);
  if (name === "plain") return element("p", "as-is", ...children);
  if (name === "link") return element("span", "link", ...children);
  if (name === "language") return element("span", "language", ...children);
  if (name === "heading") return heading(attribute.level, children);
  if (name === "pre") return code(children);
  if (!PLAIN_ELEMENTS.has(name)) return element("span", "", ...children);
  const made = element(name, "", ...children);
  if (name === "ol" && attribute.start !== undefined) made.start = attribute.start;
  return name === "table" ? scrolling(made) : made;
}

// A heading in a response is below the page's own h1 and h2.
function heading(level, children) {
  const made = element("p", `heading level-${Math.min(level, 4)}`, ...children);
  made.setAttribute("role", "heading");
  made.setAttribute("aria-level", String(Math.min(level + 2, 6)));
  return made;
}

function code(children) {
  const language = children.find((child) => child.nodeType === Node.ELEMENT_NODE);
  const text = children.filter((child) => child !== language);
  const block = element("pre", "", element("code", "", ...text));
  block.tabIndex = 0;
  return language ? element("div", "code", language, block) : block;
}

function scrolling(table) {
  const box = element("div", "wide", table);
  box.tabIndex = 0;
  return box;
}
