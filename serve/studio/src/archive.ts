/** Documents as the service writes and reads them: a zip of one PNG per layer and a manifest. No pixel is touched here. */

import { strFromU8, strToU8, unzipSync, zipSync } from "fflate";
import { BLEND_MODES, type BlendMode, type Doc, type Layer } from "./document";
import type { Box } from "./geometry";

export type Pictures = Map<string, Blob>;

/** A layer as a manifest tells of it (`bfs_model/document/format/manifest.py`). */
interface Entry {
  id: string;
  name: string;
  role: Layer["role"];
  x: number;
  y: number;
  width: number;
  height: number;
  opacity: number;
  blend_mode: BlendMode;
  visible: boolean;
  group: string | null;
  part: Layer["part"];
  box: Box | null;
  prompt: string | null;
  seed: number | null;
  model: unknown;
  parameters: Record<string, unknown>;
  file: string;
  sha256: string;
}

export interface Manifest {
  format: string;
  version: number;
  width: number;
  height: number;
  layers: Entry[];
}

const MANIFEST = "manifest.json";

/** What the service answered: the document, and the pictures of its layers by their sha256. */
export function read(data: Uint8Array<ArrayBuffer>): { doc: Doc; pictures: Pictures } {
  const files = unzipSync(data);
  const text = files[MANIFEST];
  if (!text) throw new Error("no manifest");
  const manifest = JSON.parse(strFromU8(text)) as Manifest;
  const pictures: Pictures = new Map();
  const layers = manifest.layers.map((entry) => {
    const bytes = files[entry.file];
    if (!bytes) throw new Error(`no ${entry.file}`);
    pictures.set(entry.sha256, new Blob([bytes as Uint8Array<ArrayBuffer>], { type: "image/png" }));
    return layerOf(entry);
  });
  return { doc: { width: manifest.width, height: manifest.height, layers }, pictures };
}

function layerOf(entry: Entry): Layer {
  const { blend_mode: blend, file: _file, sha256: picture, ...plain } = entry;
  const known = BLEND_MODES.includes(blend) ? blend : "normal";
  return { ...plain, blend: known, picture, scale: 1, locked: entry.role === "background", drawing: null };
}

/** The zip that the service is to compose. Layers that are scaled are so by `edits`. */
export async function write(doc: Doc, picture: (sha256: string) => Promise<Blob>): Promise<{ document: Blob; edits: object[] }> {
  const files: Record<string, Uint8Array> = {};
  const entries = doc.layers.map((layer, index): Entry => {
    const { blend, picture: sha256, scale: _scale, locked: _locked, drawing: _drawing, ...plain } = layer;
    return { ...plain, blend_mode: blend, file: `layers/${String(index).padStart(3, "0")}.png`, sha256 };
  });
  const manifest = { format: "bfs-document", version: 1, written_by: "bfs studio", width: doc.width, height: doc.height, layers: entries };
  files[MANIFEST] = strToU8(JSON.stringify(manifest));
  for (const entry of entries) files[entry.file] = new Uint8Array(await (await picture(entry.sha256)).arrayBuffer());
  const edits = doc.layers
    .filter((layer) => layer.scale !== 1)
    .map((layer) => ({ layer: layer.id, scale: layer.scale, x: layer.x, y: layer.y }));
  const zip = zipSync(files, { level: 0 }) as Uint8Array<ArrayBuffer>;
  return { document: new Blob([zip], { type: "application/zip" }), edits };
}

const KEYWORD = "bfs\0";
const HEAD = 8;

/** The manifest inside a PNG of ours (iTXt `bfs`), or null. */
export function manifestIn(png: Uint8Array): Manifest | null {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  for (let at = HEAD; at + 12 <= png.length; at += 12 + view.getUint32(at)) {
    const end = at + 8 + view.getUint32(at);
    if (strFromU8(png.subarray(at + 4, at + 8), true) !== "iTXt" || end > png.length) continue;
    // Keyword, 0, then: compressed or not, method, language, 0, translated keyword, 0. Ours are neither compressed nor translated.
    if (strFromU8(png.subarray(at + 8, at + 12), true) !== KEYWORD) continue;
    try {
      const manifest = JSON.parse(strFromU8(png.subarray(at + 8 + KEYWORD.length + 4, end))) as Manifest;
      return manifest.format === "bfs-document" ? manifest : null;
    } catch {
      return null;
    }
  }
  return null;
}
