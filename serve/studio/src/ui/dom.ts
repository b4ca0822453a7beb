/** Elements without a framework: made once, brought up to date by their panel. No HTML text is ever parsed. */

import { ICONS, type IconName } from "./icons";

type Child = Node | string | null | false;
type Listeners = { [K in keyof HTMLElementEventMap as `on${K}`]?: (event: HTMLElementEventMap[K]) => void };
type Attributes = Listeners & Record<string, unknown>;

/** An element: attributes by name, `on…` as listeners, `class` as its class. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value as EventListener);
    else set(element, name, value);
  }
  element.append(...children.filter((child): child is Node | string => child !== null && child !== false));
  return element;
}

/** Set an attribute; `false`, null and undefined take it away, `true` sets it empty. */
export function set(element: Element, name: string, value: unknown): void {
  if (value === false || value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value === true ? "" : value)) element.setAttribute(name, value === true ? "" : String(value));
}

/** Give an input its value, unless somebody is typing there. */
export function fill(input: HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement, value: string | number): void {
  const text = String(value);
  const typing = document.activeElement === input && !(input instanceof HTMLSelectElement);
  if (input.value !== text && !typing) input.value = text;
}

/** Have the field that somebody types in tell its value, as when it is left; with `stay` typing goes on there. */
export function settle(stay: boolean): void {
  const field = document.activeElement;
  if (!(field instanceof HTMLInputElement || field instanceof HTMLTextAreaElement)) return;
  field.blur();
  if (stay) field.focus();
}

export function say(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" })) svg.setAttribute(key, value);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button of one picture; its label is read out and shown on hovering. */
export function iconButton(name: IconName, label: string, onclick: (event: MouseEvent) => void, attributes: Attributes = {}): HTMLButtonElement {
  return h("button", { type: "button", class: "quiet", "aria-label": label, title: label, onclick, ...attributes }, icon(name));
}

/** A label over its control. */
export function field(label: string, control: HTMLElement, attributes: Attributes = {}): HTMLLabelElement {
  return h("label", { class: "field", ...attributes }, h("span", {}, label), control);
}

/** Keep the children of `parent` in step with `items`: elements stay with their key, so that focus and typing survive. */
export function keyed<T>(parent: Element, items: readonly T[], key: (item: T) => string, create: (item: T) => HTMLElement, update: (element: HTMLElement, item: T) => void): void {
  const old = new Map(Array.from(parent.children, (child) => [(child as HTMLElement).dataset["key"], child as HTMLElement]));
  let before: Element | null = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let element = old.get(name);
    if (!element) {
      element = create(item);
      element.dataset["key"] = name;
    }
    old.delete(name);
    update(element, item);
    if (element === before) before = before.nextElementSibling;
    else parent.insertBefore(element, before);
  }
  for (const element of old.values()) element.remove();
}

/** Let the person choose a file. */
export function chooseFile(accept: string, then: (file: File) => void): void {
  const input = h("input", { type: "file", accept });
  input.addEventListener("change", () => {
    const [file] = input.files ?? [];
    if (file) then(file);
  });
  input.click();
}
