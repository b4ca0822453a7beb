/** What a drawing is asked for: the fields of the left panel, and the request that they make. */

import type { Box } from "./geometry";

export interface Form {
  readonly prompt: string;
  readonly box: Box | null;
  readonly seed: number;
  /** Keep the seed for the next drawing as well. */
  readonly seedLocked: boolean;
  /** null: as the model has it. */
  readonly steps: number | null;
  readonly guidance: number | null;
  readonly candidates: number;
  /** Name of a picture that shows the object. */
  readonly reference: string | null;
  readonly model: string | null;
}

export const MAX_SEED = 2 ** 32 - 1;
export const MAX_CANDIDATES = 8;
export const MAX_STEPS = 200;

export const emptyForm = (): Form => ({
  prompt: "",
  box: null,
  seed: newSeed(),
  seedLocked: false,
  steps: null,
  guidance: null,
  candidates: 1,
  reference: null,
  model: null,
});

/** Short enough to be read out and typed in again. */
export const newSeed = (): number => (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) % 1_000_000;

/** The seed of a candidate, as the service numbers them. */
export const seedOf = (seed: number, candidate: number): number => (seed + candidate) % 2 ** 32;

/** The fields of `POST /v1/layers` besides its pictures. */
export function fieldsOf(form: Form, seed: number): [string, string][] {
  const fields: [string, string][] = [
    ["box", (form.box ?? []).join(",")],
    ["prompt", form.prompt],
    ["seed", String(seed)],
  ];
  if (form.steps !== null) fields.push(["steps", String(form.steps)]);
  if (form.guidance !== null) fields.push(["true_cfg_scale", String(form.guidance)]);
  if (form.model !== null) fields.push(["model", form.model]);
  return fields;
}

/** A prompt in the words of the model, and each of them found in it: the words of a kind stand in the order of the kinds. */
export function wordsIn(prompt: string, vocabulary: Record<string, string[]>): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [kind, words] of Object.entries(vocabulary)) {
    const inside = words.filter((word) => new RegExp(`(^|[^\\p{L}])${word}($|[^\\p{L}])`, "iu").test(prompt));
    found[kind] = inside.sort((a, b) => b.length - a.length)[0] ?? "";
  }
  return found;
}

export function promptOf(words: Record<string, string>): string {
  const said = Object.values(words).filter(Boolean);
  return said.length === 0 ? "" : `a ${said.join(" ")}`;
}
