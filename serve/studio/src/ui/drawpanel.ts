/** The left panel: what to draw, where, and how. */

import type { App } from "../app";
import { MAX_CANDIDATES, MAX_SEED, MAX_STEPS, newSeed, promptOf, wordsIn, type Form } from "../form";
import { picture } from "../persist";
import * as snippets from "../snippets";
import { currentKey } from "../api";
import { t, type Key } from "../text";
import { canDraw, draw } from "../painting";
import { useReference } from "../files";
import { chooseFile, field, fill, h, icon, iconButton, say, set } from "./dom";
import { menu } from "./menu";
import { copyText } from "./clipboard";

export const PICTURES = "image/png,image/jpeg,image/webp,image/tiff";

export function drawPanel(app: App): HTMLElement {
  const prompt = h("textarea", { id: "prompt", rows: 3, maxlength: 1000, placeholder: t("prompt.placeholder"), oninput: () => app.setForm({ prompt: prompt.value }) });
  const go = h("button", { type: "button", class: "primary", id: "draw", onclick: () => start() }, icon("brush"), h("span"));
  const hint = h("p", { class: "hint", id: "draw-hint" });
  const numbers = settings(app);
  const parts = [words(app), box(app), reference(app), numbers];
  const panel = h("section", { class: "panel draw", "aria-labelledby": "draw-title" },
    h("h2", { id: "draw-title" }, t("draw.title")),
    h("div", { class: "scroll" }, field(t("prompt.label"), prompt), ...parts.map((part) => part.element)),
    h("div", { class: "foot" }, hint, h("div", { class: "row" }, go, code(app))),
  );
  app.formHolds = (): boolean => {
    const wrong = numbers.element.querySelector<HTMLInputElement>("input:invalid");
    wrong?.reportValidity(); // the drawing would have the number from before
    return !wrong;
  };
  const start = (): void => {
    if (app.formHolds()) void draw(app);
  };
  go.setAttribute("aria-describedby", "draw-hint");
  app.onChange(() => {
    fill(prompt, app.form.prompt);
    for (const part of parts) part.update();
    const many = app.form.candidates;
    say(go.lastElementChild as Element, many > 1 ? t("draw.many", { n: many }) : t("draw.one"));
    set(go, "disabled", !canDraw(app) || app.busy > 0);
    say(hint, why(app));
  });
  return panel;
}

function why(app: App): string {
  if (app.models.length > 0 && app.model?.state !== "ready") return t("draw.loading");
  if (app.doc && !app.form.box) return t("draw.needsBox");
  if (app.doc && !app.form.prompt.trim() && !app.asked.reference) return t("draw.needsPrompt");
  const [layer] = app.selected.slice(-1);
  return layer && layer.role === "foreground" ? t("draw.above", { name: layer.name }) : "";
}

interface Part {
  readonly element: HTMLElement;
  readonly update: () => void;
}

/** The words that the model knows, one list for each kind. */
function words(app: App): Part {
  const row = h("div", { class: "words" });
  const element = h("fieldset", { hidden: true }, h("legend", {}, t("words.title")), row);
  let made = "";
  const update = (): void => {
    const vocabulary = app.model?.vocabulary ?? null;
    element.hidden = !vocabulary;
    if (!vocabulary) return;
    if (made !== JSON.stringify(vocabulary)) {
      made = JSON.stringify(vocabulary);
      row.replaceChildren(...Object.entries(vocabulary).map(([kind, list]) => choice(app, kind, list)));
    }
    const inside = wordsIn(app.form.prompt, vocabulary);
    for (const select of row.querySelectorAll("select")) fill(select, inside[select.name] ?? "");
  };
  return { element, update };
}

function choice(app: App, kind: string, list: string[]): HTMLElement {
  const label = t.has(`words.${kind}`) ? t(`words.${kind}` as Key) : kind;
  const options = ["", ...list].map((word) => h("option", { value: word }, word || "–"));
  const select = h("select", { name: kind, onchange: () => {
    const vocabulary = app.model?.vocabulary ?? {};
    app.setForm({ prompt: promptOf({ ...wordsIn(app.form.prompt, vocabulary), [kind]: select.value }) });
  } }, ...options);
  return field(label, select);
}

function box(app: App): Part {
  const names = ["x", "y", "width", "height"] as const;
  const inputs = names.map((name) => h("input", { type: "number", inputmode: "numeric", step: 1, min: name === "x" || name === "y" ? 0 : 1, onchange: () => take() }));
  const take = (): void => {
    if (inputs.some((input) => input.value === "")) return;
    const [x, y, width, height] = inputs.map((input) => Math.round(Number(input.value))) as [number, number, number, number];
    app.setBox([x, y, x + Math.max(width, 1), y + Math.max(height, 1)]);
  };
  const element = h("fieldset", {}, h("legend", {}, t("box.title")), h("div", { class: "four" }, ...names.map((name, index) => field(t(`box.${name}`), inputs[index] as HTMLElement))));
  const update = (): void => {
    const at = app.form.box;
    const values = at ? [at[0], at[1], at[2] - at[0], at[3] - at[1]] : ["", "", "", ""];
    inputs.forEach((input, index) => {
      fill(input, values[index] ?? "");
      set(input, "disabled", !app.doc);
    });
  };
  return { element, update };
}

function reference(app: App): Part {
  const image = h("img", { alt: t("reference.alt") });
  const add = h("button", { type: "button", class: "plain", onclick: () => chooseFile(PICTURES, (file) => void useReference(app, file)) }, icon("plus"), t("reference.add"));
  const remove = iconButton("close", t("reference.remove"), () => void useReference(app, null));
  const shown = h("div", { class: "reference" }, image, remove);
  const element = h("div", { hidden: true, class: "drop", "data-drop": "reference" }, add, shown);
  let name: string | null = null;
  const update = (): void => {
    element.hidden = !app.model?.capabilities.includes("reference");
    add.hidden = app.form.reference !== null;
    shown.hidden = app.form.reference === null;
    if (name === app.form.reference) return;
    name = app.form.reference;
    URL.revokeObjectURL(image.src);
    if (name) void picture(name).then((blob) => (image.src = URL.createObjectURL(blob))).catch(() => app.setForm({ reference: null }));
  };
  return { element, update };
}

function settings(app: App): Part {
  const whole = (input: HTMLInputElement): number | null => (input.value.trim() === "" ? null : Math.round(Number(input.value)));
  const number = (attributes: Record<string, unknown>, take: (input: HTMLInputElement) => Partial<Form>): HTMLInputElement => {
    const input = h("input", { type: "number", inputmode: "decimal", ...attributes, onchange: () => {
      if (input.checkValidity()) app.setForm(take(input));
      else input.reportValidity();
    } });
    return input;
  };
  const seed = number({ min: 0, max: MAX_SEED, step: 1 }, (input) => ({ seed: whole(input) ?? newSeed() }));
  const steps = number({ min: 1, max: MAX_STEPS, step: 1 }, (input) => ({ steps: whole(input) }));
  const guidance = number({ min: 0, max: 20, step: 0.1 }, (input) => ({ guidance: input.value.trim() === "" ? null : Number(input.value) }));
  const candidates = number({ min: 1, max: MAX_CANDIDATES, step: 1 }, (input) => ({ candidates: whole(input) ?? 1 }));
  const lock = iconButton("unlock", t("seed.lock"), () => app.setForm({ seedLocked: !app.form.seedLocked }), { "aria-pressed": "false" });
  const dice = iconButton("dice", t("seed.new"), () => {
    seed.value = "";
    app.setForm({ seed: newSeed() });
  });
  const model = h("select", { onchange: () => app.setForm({ model: model.value || null }) });
  const modelField = field(t("model.label"), model);
  const element = h("fieldset", {}, h("legend", {}, t("settings.title")),
    h("div", { class: "three" }, field(t("candidates.label"), candidates), field(t("steps.label"), steps), field(t("guidance.label"), guidance)),
    h("div", { class: "with-buttons" }, field(t("seed.label"), seed), lock, dice),
    modelField,
  );
  const update = (): void => {
    const form = app.asked;
    const values = [[seed, form.seed], [steps, form.steps ?? ""], [guidance, form.guidance ?? ""], [candidates, form.candidates]] as const;
    for (const [input, value] of values) if (input.validity.valid) fill(input, value); // what is wrong stays to be seen until it is mended
    set(steps, "placeholder", app.model?.default_steps ?? "");
    set(guidance, "placeholder", app.model?.true_cfg_scale ?? "");
    set(lock, "aria-pressed", String(form.seedLocked));
    lock.replaceChildren(icon(form.seedLocked ? "lock" : "unlock"));
    modelField.hidden = app.models.length < 2;
    const names = app.models.map((one) => one.name).join();
    if (model.dataset["names"] !== names) {
      model.dataset["names"] = names;
      model.replaceChildren(...app.models.map((one) => h("option", { value: one.default ? "" : one.name }, one.name)));
    }
    fill(model, form.model ?? "");
  };
  return { element, update };
}

/** The same drawing outside of the page. */
function code(app: App): HTMLElement {
  const button = iconButton("code", t("code.title"), () => undefined, { class: "quiet outlined" });
  const list = menu(button, () => [
    { label: t("code.curl"), act: () => copyText(app, snippets.curl(app.asked, currentKey() !== null)) },
    { label: t("code.python"), act: () => copyText(app, snippets.python(app.asked)) },
  ]);
  return h("div", {}, button, list);
}
