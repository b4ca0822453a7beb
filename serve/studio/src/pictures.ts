/** Pictures as the screen shows them, by the name under which they are kept, or by their data: address. */

import { picture } from "./persist";

const MOST = 200;
const ready = new Map<string, ImageBitmap>();
const coming = new Map<string, Promise<ImageBitmap>>();

/** The picture, if it is there already. */
export const loaded = (name: string): ImageBitmap | undefined => ready.get(name);

export function bitmap(name: string): Promise<ImageBitmap> {
  const near = ready.get(name);
  if (near) return Promise.resolve(near);
  let loading = coming.get(name);
  if (!loading) {
    loading = decode(name).finally(() => coming.delete(name));
    coming.set(name, loading);
  }
  return loading;
}

async function decode(name: string): Promise<ImageBitmap> {
  const made = await createImageBitmap(name.startsWith("data:") ? bytes(name) : await picture(name));
  ready.set(name, made);
  for (const old of [...ready.keys()].slice(0, Math.max(ready.size - MOST, 0))) ready.delete(old);
  return made;
}

function bytes(address: string): Blob {
  const [head, body] = address.split(",");
  const binary = atob(body ?? "");
  return new Blob([Uint8Array.from(binary, (letter) => letter.charCodeAt(0))], { type: head?.slice(5).split(";")[0] ?? "" });
}
