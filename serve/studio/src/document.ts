/** The document: immutable, from back to front. Every edit is a function from one document to the next. */

import { shifted, type Box, type Size } from "./geometry";

export const BLEND_MODES = ["normal", "multiply", "screen"] as const;
export type BlendMode = (typeof BLEND_MODES)[number];
export const MAX_SCALE = 16;

export interface Layer {
  readonly id: string;
  readonly name: string;
  readonly role: "background" | "foreground";
  /** sha256 of the PNG that holds its pixels, as the service wrote it. */
  readonly picture: string;
  /** Top left corner on the canvas, and size of the PNG; it is shown `scale` times as large. */
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly scale: number;
  readonly opacity: number;
  readonly blend: BlendMode;
  readonly visible: boolean;
  readonly locked: boolean;
  readonly group: string | null;
  readonly part: "object" | "effects" | null;
  /** What was asked for. It moves with the layer, and like the size is that of the PNG: `shownBox` is `scale` times as large. */
  readonly box: Box | null;
  readonly prompt: string | null;
  readonly seed: number | null;
  readonly model: unknown;
  readonly parameters: Readonly<Record<string, unknown>>;
  /** The drawing whose candidate it is, so that another candidate can take its place. */
  readonly drawing: string | null;
}

export interface Doc extends Size {
  readonly layers: readonly Layer[];
}

export type Look = Partial<Pick<Layer, "name" | "x" | "y" | "scale" | "opacity" | "blend" | "visible" | "locked">>;

export const shownWidth = (layer: Layer): number => Math.max(1, Math.round(layer.width * layer.scale));
export const shownHeight = (layer: Layer): number => Math.max(1, Math.round(layer.height * layer.scale));

/** The box on the canvas: it grows about the layer's corner, as the service has it (`Layer.resized`). */
export function shownBox(layer: Layer): Box | null {
  const { box, x, y, width, height, scale } = layer;
  if (!box || scale === 1) return box;
  const [x0, y0, x1, y1] = shifted(box, -x, -y);
  const [left, right] = [x0, x1].map((at) => Math.round((at * shownWidth(layer)) / width)) as [number, number];
  const [top, bottom] = [y0, y1].map((at) => Math.round((at * shownHeight(layer)) / height)) as [number, number];
  return shifted([left, top, Math.max(right, left + 1), Math.max(bottom, top + 1)], x, y);
}

export const find = (doc: Doc, id: string): Layer | undefined => doc.layers.find((layer) => layer.id === id);

/** Neighbours of one group are one unit, every other layer is a unit by itself; from back to front. */
export function units(doc: Doc): Layer[][] {
  const found: Layer[][] = [];
  for (const layer of doc.layers) {
    const last = found.at(-1);
    if (last && layer.group !== null && last[0]?.group === layer.group) last.push(layer);
    else found.push([layer]);
  }
  return found;
}

/** All layers of the group that a layer lies in, or the layer alone. */
export function unitOf(doc: Doc, id: string): Layer[] {
  return units(doc).find((unit) => unit.some((layer) => layer.id === id)) ?? [];
}

/** Change how layers look; their boxes move with them. What is locked keeps its place, but can be unlocked, shown and hidden. */
export function update(doc: Doc, ids: readonly string[], look: Look | ((layer: Layer) => Look)): Doc {
  const layers = doc.layers.map((layer) => {
    if (!ids.includes(layer.id)) return layer;
    const wanted = typeof look === "function" ? look(layer) : look;
    const changed = { ...layer, ...(layer.locked ? withoutPlace(wanted) : wanted) };
    const [dx, dy] = [changed.x - layer.x, changed.y - layer.y];
    const box = layer.box && (dx !== 0 || dy !== 0) ? shifted(layer.box, dx, dy) : layer.box;
    return same(layer, changed) ? layer : { ...changed, box };
  });
  return layers.every((layer, index) => layer === doc.layers[index]) ? doc : { ...doc, layers };
}

const withoutPlace = ({ x: _x, y: _y, scale: _scale, ...rest }: Look): Look => rest;
const same = (a: Layer, b: Layer): boolean => (Object.keys(a) as (keyof Layer)[]).every((key) => Object.is(a[key], b[key]));

export function moveBy(doc: Doc, ids: readonly string[], dx: number, dy: number): Doc {
  return update(doc, ids, (layer) => ({ x: layer.x + Math.round(dx), y: layer.y + Math.round(dy) }));
}

/** Put layers in, right above the unit of `below`; on top of all where there is none. */
export function insert(doc: Doc, layers: readonly Layer[], below: string | null): Doc {
  const unit = below === null ? [] : unitOf(doc, below);
  const last = unit.at(-1);
  const at = last ? doc.layers.indexOf(last) + 1 : doc.layers.length;
  const taken = new Set(doc.layers.map((layer) => layer.id));
  const groups = new Set(doc.layers.map((layer) => layer.group));
  const renamed = new Map<string, string>();
  const fresh = layers.map((layer) => {
    let group = layer.group;
    if (group !== null && groups.has(group)) {
      if (!renamed.has(group)) renamed.set(group, unused(group, groups));
      group = renamed.get(group) ?? group;
    }
    return { ...layer, group, id: taken.has(layer.id) ? newId() : layer.id };
  });
  return { ...doc, layers: [...doc.layers.slice(0, at), ...fresh, ...doc.layers.slice(at)] };
}

/** Put other layers in the place of one. */
export function replace(doc: Doc, id: string, layers: readonly Layer[]): Doc {
  return { ...doc, layers: doc.layers.flatMap((layer) => (layer.id === id ? layers : [layer])) };
}

/** Backgrounds and what is locked stay. */
export function remove(doc: Doc, ids: readonly string[]): Doc {
  const layers = doc.layers.filter((layer) => !ids.includes(layer.id) || layer.locked || layer.role === "background");
  return layers.length === doc.layers.length ? doc : { ...doc, layers };
}

/** Copies, right above what was copied. Returns their ids as well. */
export function duplicate(doc: Doc, ids: readonly string[]): [Doc, string[]] {
  const chosen = doc.layers.filter((layer) => ids.includes(layer.id) && layer.role !== "background");
  const top = chosen.at(-1);
  if (!top) return [doc, []];
  const copies = chosen.map((layer) => ({ ...layer, id: newId(), locked: false, drawing: null }));
  return [insert(doc, copies, top.id), copies.map((copy) => copy.id)];
}

/** Move the unit of a layer, or inside its group the layer itself, one place up (1) or down (-1). The background stays at the back. */
export function shift(doc: Doc, id: string, by: 1 | -1, alone: boolean): Doc {
  const parts = units(doc);
  const at = parts.findIndex((unit) => unit.some((layer) => layer.id === id));
  const unit = parts[at];
  if (!unit) return doc;
  if (alone && unit.length > 1) {
    const inside = unit.findIndex((layer) => layer.id === id);
    return { ...doc, layers: parts.flatMap((other) => (other === unit ? swapped(unit, inside, by) : other)) };
  }
  const other = parts[at + by];
  if (!other || other[0]?.role === "background" || unit[0]?.role === "background") return doc;
  return { ...doc, layers: swapped(parts, at, by).flat() };
}

function swapped<T>(list: readonly T[], at: number, by: 1 | -1): T[] {
  const out = [...list];
  const [here, there] = [out[at], out[at + by]];
  if (here === undefined || there === undefined) return out;
  out[at] = there;
  out[at + by] = here;
  return out;
}

/** Bring layers together, below the topmost of them, under one name. */
export function group(doc: Doc, ids: readonly string[], name: string): Doc {
  const chosen = doc.layers.filter((layer) => ids.includes(layer.id) && layer.role !== "background");
  const top = chosen.at(-1);
  if (!top || chosen.length < 2) return doc;
  const free = unused(name, new Set(doc.layers.filter((layer) => !chosen.includes(layer)).map((layer) => layer.group)));
  const anchor = unitOf(doc, top.id).at(-1) ?? top;
  const layers = doc.layers.flatMap((layer) => {
    const kept = chosen.includes(layer) ? [] : [layer];
    return layer === anchor ? [...kept, ...chosen.map((one) => ({ ...one, group: free }))] : kept;
  });
  return { ...doc, layers: apart(layers) };
}

export function ungroup(doc: Doc, ids: readonly string[]): Doc {
  if (!doc.layers.some((layer) => ids.includes(layer.id) && layer.group !== null)) return doc;
  const layers = doc.layers.map((layer) => (ids.includes(layer.id) ? { ...layer, group: null } : layer));
  return { ...doc, layers: apart(layers) };
}

/** Where a group was torn apart, its later pieces get names of their own. */
function apart(layers: readonly Layer[]): Layer[] {
  const seen = new Map<string, string>();
  let before: string | null = null;
  return layers.map((layer) => {
    const original = layer.group;
    let name = original;
    if (original !== null) {
      if (original !== before) seen.set(original, seen.has(original) ? unused(original, new Set(seen.values())) : original);
      name = seen.get(original) ?? original;
    }
    before = original;
    return name === original ? layer : { ...layer, group: name };
  });
}

function unused(name: string, taken: ReadonlySet<string | null>): string {
  for (let number = 2; ; number++) {
    const wanted = number === 2 && !taken.has(name) ? name : `${name} ${number}`;
    if (!taken.has(wanted)) return wanted;
  }
}

export const newId = (): string => `layer-${random()}`;

/** 16 hexadecimal digits; `randomUUID` is there on secure pages only. */
export function random(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
