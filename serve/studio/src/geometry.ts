/** Boxes in whole pixels of the picture: half-open, origin top left, as the service takes them. */

export type Box = readonly [x0: number, y0: number, x1: number, y1: number];

export interface Size {
  readonly width: number;
  readonly height: number;
}

const clamp = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);

/** The box between two corners, in whole pixels, cut off at the canvas; at least one pixel wide and high. */
export function boxBetween(ax: number, ay: number, bx: number, by: number, canvas: Size): Box {
  const x0 = clamp(Math.round(Math.min(ax, bx)), 0, canvas.width - 1);
  const y0 = clamp(Math.round(Math.min(ay, by)), 0, canvas.height - 1);
  const x1 = clamp(Math.round(Math.max(ax, bx)), x0 + 1, canvas.width);
  const y1 = clamp(Math.round(Math.max(ay, by)), y0 + 1, canvas.height);
  return [x0, y0, x1, y1];
}

/** The same box moved so that it lies inside the canvas, as far as it fits. */
export function movedInto(box: Box, canvas: Size): Box {
  const width = Math.min(box[2] - box[0], canvas.width);
  const height = Math.min(box[3] - box[1], canvas.height);
  const x = clamp(Math.round(box[0]), 0, canvas.width - width);
  const y = clamp(Math.round(box[1]), 0, canvas.height - height);
  return [x, y, x + width, y + height];
}

/** A box of somewhere else as it can be here: cut off at the canvas, or moved into it where nothing would be left. */
export function cutTo(box: Box, canvas: Size): Box {
  const [x0, y0, x1, y1] = box;
  const meets = x0 < canvas.width && y0 < canvas.height && x1 > 0 && y1 > 0;
  return meets ? boxBetween(x0, y0, x1, y1, canvas) : movedInto(box, canvas);
}

export const shifted = ([x0, y0, x1, y1]: Box, dx: number, dy: number): Box => [x0 + dx, y0 + dy, x1 + dx, y1 + dy];

/** A box in the lower middle, where tables and floors are. */
export function defaultBox(canvas: Size): Box {
  const side = 0.45 * Math.min(canvas.width, canvas.height);
  const x = (canvas.width - side) / 2;
  const y = canvas.height * 0.42;
  return boxBetween(x, y, x + side, y + side, canvas);
}

/** A square around a box with some of its surroundings, for small pictures of what was drawn. May reach over the canvas. */
export function around(box: Box, canvas: Size, margin = 0.45): { x: number; y: number; side: number } {
  const longer = Math.max(box[2] - box[0], box[3] - box[1]);
  const side = Math.min(longer * (1 + 2 * margin), Math.max(canvas.width, canvas.height));
  const place = (low: number, high: number, length: number): number => {
    const start = (low + high - side) / 2;
    return side >= length ? (length - side) / 2 : clamp(start, 0, length - side);
  };
  return { x: place(box[0], box[2], canvas.width), y: place(box[1], box[3], canvas.height), side };
}
