/** Pictures as the screen shows them, by the name under which they are kept, or by their data: address. */

import { picture } from "./persist";

const MOST = 200;
const MOST_BYTES = 384 * 2 ** 20; // decoded, besides what the canvas shows
const ready = new Map<string, ImageBitmap>(); // last used last
const coming = new Map<string, Promise<ImageBitmap>>();
const held: string[] = [];
let onCanvas: () => readonly string[] = () => [];

/** Which pictures the canvas shows: they are not let go of. */
export function keepThose(names: () => readonly string[]): void {
  onCanvas = names;
}

/** The picture, if it is there already. */
export function loaded(name: string): ImageBitmap | undefined {
  const image = ready.get(name);
  if (!image) return undefined;
  ready.delete(name);
  ready.set(name, image);
  return image;
}

export function bitmap(name: string): Promise<ImageBitmap> {
  const near = loaded(name);
  if (near) return Promise.resolve(near);
  let loading = coming.get(name);
  if (!loading) {
    loading = decode(name).finally(() => coming.delete(name));
    coming.set(name, loading);
  }
  return loading;
}

/** Paint with pictures, which stay until it is done; null for one that is lost. */
export async function withPictures(names: readonly (string | null)[], paint: (images: readonly (ImageBitmap | null)[]) => void): Promise<void> {
  const wanted = names.filter((name) => name !== null);
  held.push(...wanted);
  try {
    paint(await Promise.all(names.map((name) => (name === null ? null : bitmap(name).catch(() => null)))));
  } finally {
    for (const name of wanted) held.splice(held.indexOf(name), 1);
  }
}

async function decode(name: string): Promise<ImageBitmap> {
  const made = await createImageBitmap(name.startsWith("data:") ? bytes(name) : await picture(name));
  ready.set(name, made);
  letGo(name);
  return made;
}

/** Close what was not used for longest. A browser would free them late: for it, a decoded picture is a small object. */
function letGo(fresh: string): void {
  const needed = new Set([fresh, ...held, ...onCanvas()]);
  let taken = [...ready.values()].reduce((sum, image) => sum + size(image), 0);
  for (const [name, image] of ready) {
    if (ready.size <= MOST && taken <= MOST_BYTES) return;
    if (needed.has(name)) continue;
    ready.delete(name);
    taken -= size(image);
    image.close();
  }
}

const size = (image: ImageBitmap): number => image.width * image.height * 4;

function bytes(address: string): Blob {
  const [head, body] = address.split(",");
  const binary = atob(body ?? "");
  return new Blob([Uint8Array.from(binary, (letter) => letter.charCodeAt(0))], { type: head?.slice(5).split(";")[0] ?? "" });
}
