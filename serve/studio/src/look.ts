/** How layers look on a small canvas of the page: for lists, and to find what lies under the pointer. Never for a file. */

import { shownHeight, shownWidth, type Doc, type Layer } from "./document";
import { ended, type Candidate, type Drawing } from "./drawing";
import { around, defaultBox } from "./geometry";
import { loaded, withPictures } from "./pictures";

/** Blend modes as canvases call them. */
export const OPERATIONS = { normal: "source-over", multiply: "multiply", screen: "screen" } as const;

const THUMB = { width: 240, height: 160 };
const TRACE = 8; // an alpha that nobody aims at

/** The document as a small picture, as a data: address. */
export function thumb(doc: Doc): string {
  const scale = Math.min(THUMB.width / doc.width, THUMB.height / doc.height);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(doc.width * scale));
  canvas.height = Math.max(1, Math.round(doc.height * scale));
  const context = canvas.getContext("2d");
  if (!context) return "";
  for (const layer of doc.layers) {
    const image = loaded(layer.picture);
    if (!image || !layer.visible) continue;
    context.globalAlpha = layer.opacity;
    context.globalCompositeOperation = OPERATIONS[layer.blend];
    context.drawImage(image, layer.x * scale, layer.y * scale, shownWidth(layer) * scale, shownHeight(layer) * scale);
  }
  return canvas.toDataURL("image/webp", 0.7);
}

/** The surroundings of a drawing's box, with what there is of a candidate. */
export function paintTile(canvas: HTMLCanvasElement, drawing: Drawing, candidate: Candidate | undefined): Promise<void> {
  const { canvas: size } = drawing;
  const layer = candidate?.layers[0];
  const { x, y, side } = around(drawing.form.box ?? layer?.box ?? defaultBox(size), size);
  const scale = canvas.width / side;
  const name = layer?.picture ?? (candidate && !ended(candidate) ? candidate.preview : null);
  return withPictures([drawing.base, name], ([base, drawn]) => {
    const context = canvas.getContext("2d");
    if (!context) return;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (base) context.drawImage(base, -x * scale, -y * scale, size.width * scale, size.height * scale);
    if (!drawn) return;
    const place = layer ?? { x: 0, y: 0, width: size.width, height: size.height };
    context.drawImage(drawn, (place.x - x) * scale, (place.y - y) * scale, place.width * scale, place.height * scale);
  });
}

/** Whether a layer shows more than a trace at a point of the canvas. */
export function shows(layer: Layer, { x, y }: { x: number; y: number }): boolean {
  const image = loaded(layer.picture);
  const [u, v] = [Math.floor((x - layer.x) / layer.scale), Math.floor((y - layer.y) / layer.scale)];
  if (!image || u < 0 || v < 0 || u >= layer.width || v >= layer.height) return false;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d");
  context?.drawImage(image, -u, -v);
  return (context?.getImageData(0, 0, 1, 1).data[3] ?? 0) > TRACE;
}
