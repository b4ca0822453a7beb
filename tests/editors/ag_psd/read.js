// Runs in Node: opens PSDs with ag-psd, and writes what it finds in them as JSON and raw pixels.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { initializeCanvas, readPsd } from 'ag-psd';

const noCanvas = () => { throw new Error('there is no canvas here'); };
initializeCanvas(noCanvas, (width, height) => ({ width, height, data: new Uint8ClampedArray(4 * width * height) }));

const [folder, ...documents] = process.argv.slice(2);
documents.forEach((path, number) => {
  const psd = readPsd(readFileSync(path), { useImageData: true, throwForMissingFeatures: true });
  const layers = [];
  mkdirSync(`${folder}/${number}`, { recursive: true });
  const walk = (children, groups) => children.forEach((item) => {
    const { name, opacity, blendMode, hidden, left, top, mask } = item;
    const found = { groups, name, opacity, blendMode, hidden, left, top, masked: mask !== undefined };
    if (item.children) {
      layers.push({ ...found, group: true });
      walk(item.children, [...groups, name]);
    } else {
      const { width = 0, height = 0, data = [] } = item.imageData ?? {};
      writeFileSync(`${folder}/${number}/${layers.length}.rgba`, data);
      layers.push({ ...found, width, height });
    }
  });
  walk(psd.children, []);
  writeFileSync(`${folder}/${number}/flat.rgba`, psd.imageData.data);
  writeFileSync(`${folder}/${number}.json`, JSON.stringify({ width: psd.width, height: psd.height, layers }));
});
