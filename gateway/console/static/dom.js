// Makes elements. Guarantees: text of any origin enters the page as text only (textContent and
// attributes set one by one, never markup), and an address only if it begins with "/" or "#".

const SVG = "http://www.w3.org/2000/svg";
const ADDRESSES = new Set(["href", "src", "action", "poster"]);

export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) {
      if (typeof value !== "function") throw new TypeError(`${name} takes a function`);
      element.addEventListener(name.slice(2), value);
    } else if (ADDRESSES.has(name) && !/^[/#]/.test(value)) {
      throw new TypeError(`${name} leads away: ${value}`);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

// Puts nodes into a parent in this order; those that are in place already stay untouched, so that
// focus and scroll stay too. What is no node (a part that is not shown) is passed over.
export function settle(parent, wanted) {
  const nodes = wanted.filter((one) => one instanceof Node);
  nodes.forEach((node, at) => {
    if (parent.childNodes[at] !== node) parent.insertBefore(node, parent.childNodes[at] ?? null);
  });
  while (parent.childNodes.length > nodes.length) parent.lastChild.remove();
}

// Makes nodes of items by key; the node of an item that is the same object is used again.
export class Nodes {
  constructor(make) {
    this.make = make;
    this.known = new Map();
  }

  of(items, key, extra = undefined) {
    const next = new Map();
    const nodes = items.map((item) => {
      const before = this.known.get(key(item));
      const same = before && before.item === item && before.extra === extra;
      const node = same ? before.node : this.make(item);
      next.set(key(item), { item, extra, node });
      return node;
    });
    this.known = next;
    return nodes;
  }
}
