/** Light or dark: as the system has it, unless somebody chose. */

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];
const CHOICE = "bfs-theme";

export const theme = (): Theme => THEMES.find((name) => name === localStorage.getItem(CHOICE)) ?? "system";

export function chooseTheme(wanted: Theme): void {
  localStorage.setItem(CHOICE, wanted);
  applyTheme();
}

export function applyTheme(): void {
  document.documentElement.dataset["theme"] = theme();
}
