/** The strip under the canvas: the candidates of a drawing, side by side as they arrive. */

import type { App } from "../app";
import { problemText } from "../errors";
import { ended, under_way, type Candidate, type Drawing } from "../drawing";
import { around, defaultBox } from "../geometry";
import { bitmap } from "../pictures";
import { t } from "../text";
import { apply } from "../painting";
import { h, iconButton, keyed, say, set } from "./dom";

const SIDE = 224;

export function candidateStrip(app: App): HTMLElement {
  const list = h("ul", { class: "candidates" });
  const title = h("h2");
  const cancel = h("button", { type: "button", class: "plain", id: "cancel", onclick: () => app.current && app.drawer.cancel(app.current) }, t("draw.cancel"));
  const close = iconButton("close", t("candidates.close"), () => {
    app.current = app.shown = null;
    app.changed();
  });
  const strip = h("section", { class: "strip", hidden: true, "aria-label": t("candidates.title") }, h("header", {}, title, cancel, close), list);
  app.onChange(() => {
    const drawing = app.current;
    strip.hidden = !drawing || !app.doc;
    if (!drawing) return;
    const running = under_way(drawing);
    say(title, running ? t("draw.running") : drawing.candidates.length > 1 ? t("candidates.choose") : t("candidates.title"));
    cancel.hidden = !running;
    close.hidden = running;
    keyed(list, drawing.candidates, (one) => one.key, (one) => tile(app, drawing, one), (element, one) => update(app, drawing, element, one));
  });
  return strip;
}

function tile(app: App, drawing: Drawing, candidate: Candidate): HTMLElement {
  const show = (): void => {
    if (candidate.status !== "done" || drawing.candidates.length === 1) return;
    app.shown = candidate;
    app.changed();
  };
  const take = h("button", { type: "button", class: "tile", onclick: () => apply(app, drawing, candidate), onfocus: show, onpointerenter: show },
    h("canvas", { width: SIDE, height: SIDE, "aria-hidden": "true" }),
    h("progress", { max: 1, "aria-hidden": "true" }),
    h("span", { class: "state" }),
  );
  const stop = iconButton("close", t("draw.cancelOne", { seed: candidate.seed }), () => app.drawer.cancel(drawing, candidate), { class: "quiet stop" });
  return h("li", {}, take, stop);
}

function update(app: App, drawing: Drawing, element: HTMLElement, candidate: Candidate): void {
  const take = element.firstElementChild as HTMLButtonElement;
  const [canvas, progress, state] = Array.from(take.children) as [HTMLCanvasElement, HTMLProgressElement, HTMLElement];
  const applied = app.doc?.layers.find((layer) => layer.drawing === drawing.id)?.seed === candidate.seed;
  set(take, "aria-disabled", candidate.status === "done" ? false : "true");
  set(take, "aria-pressed", candidate.status === "done" ? String(applied) : null);
  set(take, "data-status", candidate.status);
  set(take, "data-shown", app.shown === candidate);
  set(take, "aria-label", t("candidate.label", { seed: candidate.seed, state: text(candidate, applied) }));
  say(state, text(candidate, applied));
  progress.hidden = ended(candidate);
  if (candidate.steps > 0) progress.value = candidate.step / candidate.steps;
  else progress.removeAttribute("value");
  (element.lastElementChild as HTMLElement).hidden = ended(candidate) || drawing.candidates.length === 1;
  const layer = candidate.layers[0];
  const seen = `${drawing.base} ${layer?.picture ?? candidate.preview?.length ?? ""} ${candidate.status === "canceled"}`;
  if (canvas.dataset["seen"] !== seen) {
    canvas.dataset["seen"] = seen;
    void paint(canvas, drawing, candidate);
  }
}

function text(candidate: Candidate, applied: boolean): string {
  switch (candidate.status) {
    case "sending":
      return t("state.sending");
    case "queued":
      return candidate.position ? t("state.position", { n: candidate.position }) : t("state.queued");
    case "running":
      return candidate.steps ? t("state.step", { step: candidate.step, steps: candidate.steps }) : t("state.running");
    case "failed":
      return candidate.problem ? problemText(candidate.problem) : t("state.failed");
    case "canceled":
      return t("state.canceled");
    case "done":
      return applied ? t("state.applied") : t("state.seed", { seed: candidate.seed });
  }
}

/** The surroundings of the box, with what there is of the candidate. */
export async function paint(canvas: HTMLCanvasElement, drawing: Drawing, candidate: Candidate | undefined): Promise<void> {
  const { canvas: size } = drawing;
  const layer = candidate?.layers[0];
  const { x, y, side } = around(drawing.form.box ?? layer?.box ?? defaultBox(size), size);
  const scale = canvas.width / side;
  const base = await bitmap(drawing.base).catch(() => null);
  const name = layer?.picture ?? (candidate && !ended(candidate) ? candidate.preview : null);
  const drawn = name ? await bitmap(name).catch(() => null) : null;
  const context = canvas.getContext("2d");
  if (!context) return;
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (base) context.drawImage(base, -x * scale, -y * scale, size.width * scale, size.height * scale);
  if (!drawn) return;
  const place = layer ?? { x: 0, y: 0, width: size.width, height: size.height };
  context.drawImage(drawn, (place.x - x) * scale, (place.y - y) * scale, place.width * scale, place.height * scale);
}
