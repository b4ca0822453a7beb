/** Words of the page, in the languages of `strings/`. */

import de from "./strings/de.json";
import en from "./strings/en.json";

export type Key = keyof typeof en;
export const LANGUAGES = { en: "English", de: "Deutsch" } as const;
export type Language = keyof typeof LANGUAGES;

// Both files must have the same keys: TypeScript refuses the build otherwise.
const STRINGS: Record<Language, Record<Key, string>> = { en, de: de satisfies Record<keyof typeof en, string> };
const CHOICE = "bfs-language";

function preferred(): Language {
  const chosen = localStorage.getItem(CHOICE) ?? navigator.languages.find((tag) => tag.slice(0, 2) in STRINGS) ?? "en";
  const short = chosen.slice(0, 2);
  return short in STRINGS ? (short as Language) : "en";
}

export const language: Language = preferred();
document.documentElement.lang = language;

export function chooseLanguage(wanted: Language): void {
  localStorage.setItem(CHOICE, wanted);
  location.reload();
}

/** The text of a key, its `{names}` filled in. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  return STRINGS[language][key].replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ""));
}

t.has = (key: string): key is Key => key in en;
