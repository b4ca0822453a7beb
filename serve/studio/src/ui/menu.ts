/** A button with a list of choices under it: a popover, so that Escape and a click elsewhere close it. */

import { h } from "./dom";

let number = 0;

export interface Choice {
  readonly label: string;
  readonly hint?: string;
  readonly act: () => void;
}

/** `kind`: a menu of choices, or a group of fields. */
export function menu(button: HTMLButtonElement, choices: () => readonly (Choice | HTMLElement)[], kind: "menu" | "group" = "menu"): HTMLElement {
  const id = `menu-${++number}`;
  const list = h("div", { id, class: "menu", popover: "auto", role: kind, "aria-label": button.getAttribute("aria-label") ?? button.textContent ?? "" });
  button.setAttribute("popovertarget", id);
  button.setAttribute("aria-haspopup", kind === "menu" ? "menu" : "dialog");
  button.setAttribute("aria-expanded", "false");
  list.addEventListener("beforetoggle", (event) => {
    if ((event as ToggleEvent).newState !== "open") return;
    list.replaceChildren(...choices().map((choice) => (choice instanceof HTMLElement ? choice : item(choice, list))));
  });
  list.addEventListener("toggle", (event) => {
    const open = (event as ToggleEvent).newState === "open";
    button.setAttribute("aria-expanded", String(open));
    if (!open) return;
    place(list, button);
    list.querySelector<HTMLElement>("button, select, input")?.focus();
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const items = Array.from(list.querySelectorAll<HTMLElement>("[role=menuitem]"));
    const at = items.indexOf(document.activeElement as HTMLElement);
    if (step === undefined || at < 0) return;
    event.preventDefault();
    items[(at + step + items.length) % items.length]?.focus();
  });
  return list;
}

function item(choice: Choice, list: HTMLElement): HTMLElement {
  const act = (): void => {
    list.hidePopover();
    choice.act();
  };
  return h("button", { type: "button", role: "menuitem", onclick: act }, h("span", {}, choice.label), choice.hint ? h("small", {}, choice.hint) : null);
}

function place(list: HTMLElement, button: HTMLElement): void {
  const from = button.getBoundingClientRect();
  const width = list.offsetWidth;
  list.style.left = `${Math.max(8, Math.min(from.right - width, innerWidth - width - 8))}px`;
  const below = from.bottom + 6;
  list.style.top = `${below + list.offsetHeight > innerHeight ? Math.max(8, from.top - list.offsetHeight - 6) : below}px`;
}
