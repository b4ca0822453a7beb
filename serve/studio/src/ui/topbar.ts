/** The bar over everything: files, undo, tools, view, history, download. */

import type { App, Tool } from "../app";
import type { Stage } from "../stage";
import { changeKey, currentKey } from "../api";
import { chooseLanguage, language, LANGUAGES, t, type Language } from "../text";
import { download, open } from "../files";
import { chooseFile, field, h, icon, iconButton, say, set } from "./dom";
import { OPENED, stem } from "./home";
import { menu } from "./menu";
import { chooseTheme, theme, THEMES, type Theme } from "./theme";

const FORMATS = ["psd", "ora", "png", "zip"] as const;

export function topBar(app: App, stage: () => Stage, history: HTMLDialogElement): HTMLElement {
  const home = h("button", { type: "button", class: "wordmark", title: t("bar.home"), onclick: () => app.close() }, h("b", {}, "BFS"), h("span", {}, "Studio"));
  const undo = iconButton("undo", t("bar.undo"), () => app.undo(), { id: "undo" });
  const redo = iconButton("redo", t("bar.redo"), () => app.redo(), { id: "redo" });
  const tools = (["box", "move"] as const).map((tool) => toolButton(app, tool));
  const zoom = h("button", { type: "button", class: "zoom", title: t("bar.fit"), onclick: () => stage().fit() }, "100 %");
  const view = h("div", { class: "row view" }, iconButton("minus", t("bar.out"), () => stage().zoomTo(stage().zoom / 1.25)), zoom, iconButton("plus", t("bar.in"), () => stage().zoomTo(stage().zoom * 1.25)));
  const save = h("button", { type: "button", class: "primary", id: "download", "aria-label": t("bar.download") }, icon("download"), h("span", {}, t("bar.download")));
  const formats = menu(save, () => FORMATS.map((format) => ({ label: format.toUpperCase(), hint: t(`format.${format}`), act: () => void download(app, format) })));
  const settings = iconButton("settings", t("bar.settings"), () => undefined);
  const choices: HTMLElement = menu(settings, () => [languageField(), themeField(), ...(currentKey() === null ? [] : [anotherKey(() => choices.hidePopover())])], "group");
  const work = h("div", { class: "row work" }, undo, redo, h("span", { class: "rule" }), ...tools, h("span", { class: "rule" }), view);
  const bar = h("header", { class: "bar" }, h("h1", {}, home), work,
    h("div", { class: "row end" },
      iconButton("open", t("bar.open"), () => chooseFile(OPENED, (file) => void open(app, file, stem(file.name)))),
      iconButton("history", t("history.title"), () => history.showModal(), { id: "history" }),
      settings, choices, save, formats));
  app.onChange(() => {
    const { doc } = app;
    work.hidden = !doc;
    set(undo, "disabled", !app.history?.canUndo);
    set(redo, "disabled", !app.history?.canRedo);
    save.hidden = !doc;
    set(save, "disabled", !doc || app.busy > 0);
    tools.forEach((button) => set(button, "aria-pressed", String(button.dataset["tool"] === app.tool)));
  });
  bar.addEventListener("zoom", (event) => {
    say(zoom, `${Math.round((event as CustomEvent<number>).detail * 100)} %`);
    set(zoom, "aria-label", `${zoom.textContent} – ${t("bar.fit")}`);
  });
  return bar;
}

function toolButton(app: App, tool: Tool): HTMLButtonElement {
  return iconButton(tool, t(`tool.${tool}`), () => app.setTool(tool), { "data-tool": tool });
}

/** For a key that is accepted, and yet not good for what one wants to do. */
function anotherKey(close: () => void): HTMLElement {
  return h("button", { type: "button", onclick: () => {
    close();
    void changeKey();
  } }, t("key.another"));
}

function languageField(): HTMLElement {
  const select = h("select", { onchange: () => chooseLanguage(select.value as Language) }, ...Object.entries(LANGUAGES).map(([tag, name]) => h("option", { value: tag, selected: tag === language, lang: tag }, name)));
  return field(t("settings.language"), select);
}

function themeField(): HTMLElement {
  const select = h("select", { onchange: () => chooseTheme(select.value as Theme) }, ...THEMES.map((name) => h("option", { value: name, selected: name === theme() }, t(`theme.${name}`))));
  return field(t("settings.theme"), select);
}
