/** The right panel: layers from front to back, and the look of those that are selected. */

import type { App } from "../app";
import * as edit from "../document";
import type { Layer } from "../document";
import { withPictures } from "../pictures";
import { t } from "../text";
import { canDraw, draw, extract, reuse, split } from "../painting";
import { chooseFile, field, fill, h, icon, iconButton, keyed, say, set } from "./dom";
import { PICTURES } from "./drawpanel";

const THUMB = 40;

export function layersPanel(app: App): HTMLElement {
  const list = h("ul", { class: "layers", "aria-label": t("layers.title") });
  const look = lookOf(app);
  const actions = actionsOf(app);
  const finished = h("button", { type: "button", class: "plain", id: "extract", onclick: () => chooseFile(PICTURES, (file) => void extract(app, file)) }, icon("extract"), t("extract.button"));
  app.onChange(() => {
    const doc = app.doc;
    set(finished, "disabled", !doc);
    look.update();
    actions.update();
    keyed(list, doc ? edit.units(doc).reverse() : [], (unit) => (unit[0]?.group ? `group ${unit[0].group}` : (unit[0]?.id ?? "")), () => h("li"), (element, unit) => fillUnit(app, element, unit));
  });
  return h("section", { class: "panel layers-panel", "aria-labelledby": "layers-title" },
    h("h2", { id: "layers-title" }, t("layers.title")),
    h("div", { class: "scroll" }, list, look.element, actions.element),
    h("div", { class: "foot" }, finished),
  );
}

function fillUnit(app: App, element: HTMLElement, unit: Layer[]): void {
  const [first] = unit;
  if (!first) return;
  if (first.group === null) {
    set(element, "class", "unit");
    keyed(element, [first], (layer) => layer.id, (layer) => row(app, layer.id), (one, layer) => updateRow(app, one, layer));
    return;
  }
  set(element, "class", "unit group");
  const ids = unit.map((layer) => layer.id);
  if (!element.firstElementChild) element.append(h("div", { class: "row layer head" }), h("ul", { "aria-label": first.group }));
  const [head, members] = Array.from(element.children) as [HTMLElement, HTMLElement];
  const shown = unit.some((layer) => layer.visible);
  const selected = ids.every((id) => app.selection.includes(id));
  head.dataset["selected"] = String(selected);
  if (!head.firstElementChild) {
    head.append(
      iconButton("eye", "", () => app.look(idsOf(head), { visible: head.dataset["shown"] !== "true" })),
      h("button", { type: "button", class: "name", onclick: (event: MouseEvent) => choose(app, idsOf(head), event) }, icon("group"), h("span")),
    );
  }
  head.dataset["ids"] = JSON.stringify(ids);
  head.dataset["shown"] = String(shown);
  eye(head.firstElementChild as HTMLButtonElement, shown, first.group);
  const name = head.lastElementChild as HTMLButtonElement;
  say(name.lastElementChild as Element, first.group);
  set(name, "aria-pressed", String(selected));
  keyed(members, [...unit].reverse(), (layer) => layer.id, (layer) => h("li", {}, row(app, layer.id)), (item, layer) => updateRow(app, item.firstElementChild as HTMLElement, layer));
}

const idsOf = (head: HTMLElement): string[] => JSON.parse(head.dataset["ids"] ?? "[]") as string[];

function row(app: App, id: string): HTMLElement {
  const layer = (): Layer | undefined => (app.doc ? edit.find(app.doc, id) : undefined);
  const canvas = h("canvas", { width: THUMB, height: THUMB, "aria-hidden": "true" });
  const label = h("button", { type: "button", class: "name", onclick: (event: MouseEvent) => choose(app, [id], event), ondblclick: () => rename(app, element, id) }, canvas, h("span"));
  const element = h("div", { class: "row layer" },
    iconButton("eye", "", () => app.look([id], { visible: !layer()?.visible })),
    label,
    iconButton("unlock", "", () => app.look([id], { locked: !layer()?.locked }), { class: "quiet lock" }),
  );
  return element;
}

function updateRow(app: App, element: HTMLElement, layer: Layer): void {
  const [visible, label, lock] = Array.from(element.children) as [HTMLButtonElement, HTMLButtonElement, HTMLButtonElement];
  const selected = app.selection.includes(layer.id);
  element.dataset["selected"] = String(selected);
  element.dataset["hidden"] = String(!layer.visible);
  eye(visible, layer.visible, layer.name);
  const name = label.querySelector("span");
  if (name) say(name, layer.part ? t(`part.${layer.part}`) : layer.name);
  set(label, "title", layer.name);
  set(label, "aria-pressed", String(selected));
  set(lock, "aria-label", t(layer.locked ? "layer.unlock" : "layer.lock", { name: layer.name }));
  set(lock, "title", lock.getAttribute("aria-label"));
  set(lock, "aria-pressed", String(layer.locked));
  if (lock.dataset["locked"] !== String(layer.locked)) {
    lock.dataset["locked"] = String(layer.locked);
    lock.replaceChildren(icon(layer.locked ? "lock" : "unlock"));
  }
  const canvas = label.querySelector("canvas");
  if (canvas && canvas.dataset["picture"] !== layer.picture) {
    canvas.dataset["picture"] = layer.picture;
    void paint(canvas, layer.picture);
  }
}

function eye(button: HTMLButtonElement, visible: boolean, name: string): void {
  const label = t(visible ? "layer.hide" : "layer.show", { name });
  set(button, "aria-label", label);
  set(button, "title", label);
  if (button.dataset["visible"] === String(visible)) return;
  button.dataset["visible"] = String(visible);
  button.replaceChildren(icon(visible ? "eye" : "hidden"));
}

function paint(canvas: HTMLCanvasElement, name: string): Promise<void> {
  return withPictures([name], ([image]) => {
    if (!image) return;
    const scale = Math.min(THUMB / image.width, THUMB / image.height);
    const [width, height] = [image.width * scale, image.height * scale];
    canvas.getContext("2d")?.clearRect(0, 0, THUMB, THUMB);
    canvas.getContext("2d")?.drawImage(image, (THUMB - width) / 2, (THUMB - height) / 2, width, height);
  });
}

function choose(app: App, ids: string[], event: MouseEvent): void {
  app.setTool("move");
  app.select(ids, event.shiftKey || event.ctrlKey || event.metaKey);
}

export function rename(app: App, element: HTMLElement, id: string): void {
  const layer = app.doc && edit.find(app.doc, id);
  const label = element.querySelector<HTMLElement>(".name");
  if (!layer || !label) return;
  const input = h("input", { class: "rename", value: layer.name, maxlength: 200, "aria-label": t("layer.name") });
  const done = (take: boolean): void => {
    if (!input.isConnected) return;
    input.replaceWith(label);
    if (take && input.value.trim()) app.look([id], { name: input.value.trim() });
    label.focus();
  };
  input.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter") done(true);
    if (event.key === "Escape") done(false);
  });
  input.addEventListener("blur", () => done(true));
  label.replaceWith(input);
  input.select();
}

/** Opacity, blend mode, place and size. */
function lookOf(app: App): { element: HTMLElement; update: () => void } {
  const ids = (): string[] => app.selection;
  const opacity = h("input", { type: "range", min: 0, max: 100, step: 1, oninput: () => app.look(ids(), { opacity: Number(opacity.value) / 100 }, "opacity") });
  const blend = h("select", { onchange: () => app.look(ids(), { blend: blend.value as Layer["blend"] }) }, ...edit.BLEND_MODES.map((mode) => h("option", { value: mode }, t(`blend.${mode}`))));
  const place = (axis: "x" | "y"): HTMLInputElement => {
    const input = h("input", { type: "number", step: 1, onchange: () => {
      const [only] = app.selected;
      if (only && app.doc && input.value !== "") app.commit(edit.moveBy(app.doc, ids(), axis === "x" ? Number(input.value) - only.x : 0, axis === "y" ? Number(input.value) - only.y : 0));
    } });
    return input;
  };
  const [x, y] = [place("x"), place("y")];
  const scale = h("input", { type: "number", min: 1, max: 1600, step: 1, onchange: () => {
    const wanted = Math.min(Math.max(Number(scale.value) / 100, 0.01), edit.MAX_SCALE);
    if (scale.value !== "") app.look(ids(), { scale: wanted });
  } });
  const name = h("input", { maxlength: 200, onchange: () => name.value.trim() && app.look(ids(), { name: name.value.trim() }) });
  const percent = h("output");
  const facts = h("p", { class: "facts" });
  const element = h("div", { class: "look", hidden: true },
    field(t("layer.name"), name),
    field(t("layer.opacity"), h("div", { class: "slider" }, opacity, percent)),
    field(t("layer.blend"), blend),
    h("div", { class: "three" }, field(t("box.x"), x), field(t("box.y"), y), field(t("layer.scale"), scale)),
    facts,
  );
  const update = (): void => {
    const [layer] = app.selected.slice(-1);
    element.hidden = !layer;
    if (!layer) return;
    fill(name, layer.name);
    set(name, "disabled", app.selection.length > 1);
    opacity.value = String(Math.round(layer.opacity * 100));
    say(percent, `${Math.round(layer.opacity * 100)} %`);
    fill(blend, layer.blend);
    fill(x, app.selected[0]?.x ?? layer.x);
    fill(y, app.selected[0]?.y ?? layer.y);
    fill(scale, Math.round(layer.scale * 1000) / 10);
    for (const input of [x, y, scale]) set(input, "disabled", layer.locked || layer.role === "background");
    say(facts, layer.seed === null ? "" : t("layer.facts", { prompt: layer.prompt ?? "–", seed: layer.seed }));
  };
  return { element, update };
}

type Action = [button: HTMLButtonElement, allowed: () => boolean];

const action = (name: "split" | "redraw" | "history", label: string, onclick: () => void): HTMLButtonElement =>
  h("button", { type: "button", class: "plain", onclick }, icon(name), h("span", {}, label));

function actionsOf(app: App): { element: HTMLElement; update: () => void } {
  const change = (make: (doc: edit.Doc) => edit.Doc) => (): void => void (app.doc && app.commit(make(app.doc)));
  const top = (): string => app.selection.at(-1) ?? "";
  const copy = (): void => {
    if (!app.doc) return;
    const [doc, ids] = edit.duplicate(app.doc, app.selection);
    app.commit(doc);
    if (ids.length) app.select(ids);
  };
  const alone = (): boolean => app.selection.length === 1;
  const last = (): Layer | undefined => app.selected.at(-1);
  const icons: Action[] = [
    [iconButton("up", t("layer.up"), change((doc) => edit.shift(doc, top(), 1, alone()))), () => true],
    [iconButton("down", t("layer.down"), change((doc) => edit.shift(doc, top(), -1, alone()))), () => true],
    [iconButton("copy", t("layer.duplicate"), copy), () => true],
    [iconButton("group", t("layer.group"), change((doc) => edit.group(doc, app.selection, t("group.name")))), () => app.selection.length > 1],
    [iconButton("ungroup", t("layer.ungroup"), change((doc) => edit.ungroup(doc, app.selection))), () => app.selected.some((layer) => layer.group !== null)],
    [iconButton("trash", t("layer.delete"), change((doc) => edit.remove(doc, app.selection))), () => app.selected.every((layer) => !layer.locked)],
  ];
  const named: Action[] = [
    [action("split", t("layer.split"), () => void (last() && split(app, last() as Layer))), () => alone() && last()?.part === null && last()?.blend === "normal"],
    [action("redraw", t("layer.redraw"), () => void (last() && app.formHolds() && draw(app, last()))), () => alone() && canDraw(app) && app.busy === 0],
    [action("history", t("layer.reuse"), () => void (last() && reuse(app, last() as Layer))), () => alone() && last()?.seed !== null],
  ];
  const element = h("div", { class: "actions", role: "group", "aria-label": t("layer.actions") },
    h("div", { class: "row" }, ...icons.map(([button]) => button)),
    ...named.map(([button]) => button));
  const update = (): void => {
    const usable = app.selected.length > 0 && app.selected.every((layer) => layer.role === "foreground");
    element.hidden = !usable;
    for (const [button, allowed] of [...icons, ...named]) set(button, "disabled", !usable || !allowed());
  };
  return { element, update };
}
