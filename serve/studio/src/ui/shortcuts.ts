/** The keyboard, and files that are dropped or pasted. */

import type { App } from "../app";
import * as edit from "../document";
import type { Stage } from "../stage";
import { download, open, useReference } from "../files";
import { settle } from "./dom";
import { stem } from "./home";

const ARROWS: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function listen(app: App, stage: Stage): void {
  addEventListener("keydown", (event) => {
    const on = event.target instanceof HTMLElement ? event.target : document.body;
    if (on.closest("[popover]") || document.querySelector("dialog[open]")) return; // what lies over the page has the keys
    const command = event.ctrlKey || event.metaKey;
    if (command && event.key === "Enter") return done(event, () => event.repeat || press("draw"));
    if (command && event.key.toLowerCase() === "s" && app.doc) return done(event, () => event.repeat || save(app));
    if (on.closest("textarea, input:not([type=range])") || !app.doc) return;
    if (command) return withCommand(app, event);
    if (on.closest("select, input")) return; // they have plain keys of their own
    const act = plain(app, stage, event);
    if (act) done(event, act);
  });
  drop(app);
  addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (file) done(event, () => void open(app, file, stem(file.name)));
  });
}

function done(event: Event, act: () => void): void {
  event.preventDefault();
  act();
}

/** Press a button of the page with all that was typed until now, as the mouse would. */
function press(id: string): void {
  settle(true);
  document.getElementById(id)?.click();
}

function save(app: App): void {
  settle(true);
  if (app.busy === 0) void download(app, "psd");
}

function withCommand(app: App, event: KeyboardEvent): void {
  const { doc } = app;
  const key = event.key.toLowerCase();
  if (key === "z") done(event, () => (event.shiftKey ? app.redo() : app.undo()));
  if (key === "y") done(event, () => app.redo());
  if (!doc) return;
  if (key === "d" && app.selection.length) done(event, () => app.commit(edit.duplicate(doc, app.selection)[0]));
  if (key === "a") done(event, () => (app.setTool("move"), app.select(doc.layers.filter((layer) => layer.role === "foreground").map((layer) => layer.id))));
}

function plain(app: App, stage: Stage, event: KeyboardEvent): (() => void) | null {
  const { doc } = app;
  const arrow = ARROWS[event.key];
  const onControl = event.target instanceof HTMLElement && event.target.closest("button, a, [role=menu]");
  if (arrow && doc && !onControl) return () => nudge(app, doc, arrow, event);
  switch (event.key) {
    case "b":
      return () => app.setTool("box");
    case "v":
      return () => app.setTool("move");
    case "0":
      return () => stage.fit();
    case "1":
      return () => stage.zoomTo(1);
    case "+":
      return () => stage.zoomTo(stage.zoom * 1.25);
    case "-":
      return () => stage.zoomTo(stage.zoom / 1.25);
    case "Delete":
    case "Backspace":
      return app.selection.length && doc ? () => app.commit(edit.remove(doc, app.selection)) : null;
    case "Escape":
      return () => app.select([]);
    default:
      return null;
  }
}

/** Move what is selected, or the box, by a pixel, with Shift by ten. With Alt a box grows at its lower right corner. */
function nudge(app: App, doc: edit.Doc, [dx, dy]: [number, number], event: KeyboardEvent): void {
  const by = event.shiftKey ? 10 : 1;
  if (app.tool === "move") {
    app.commit(edit.moveBy(doc, app.selection, dx * by, dy * by), `nudge ${app.selection.join()}`);
  } else if (app.form.box) {
    const [x0, y0, x1, y1] = app.form.box;
    const [mx, my] = event.altKey ? [0, 0] : [dx * by, dy * by];
    const fits = x0 + mx >= 0 && y0 + my >= 0 && x1 + mx <= doc.width && y1 + my <= doc.height;
    if (event.altKey) app.setBox([x0, y0, Math.max(x1 + dx * by, x0 + 1), Math.max(y1 + dy * by, y0 + 1)]);
    else if (fits) app.setBox([x0 + mx, y0 + my, x1 + mx, y1 + my]);
  }
}

function drop(app: App): void {
  const root = document.documentElement;
  addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    root.dataset["dragging"] = "";
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) delete root.dataset["dragging"];
  });
  addEventListener("drop", (event) => {
    delete root.dataset["dragging"];
    const [file] = event.dataTransfer?.files ?? [];
    if (!file) return;
    event.preventDefault();
    const place = event.target instanceof HTMLElement ? event.target.closest("[data-drop]") : null;
    if (place) void useReference(app, file);
    else void open(app, file, stem(file.name));
  });
}
