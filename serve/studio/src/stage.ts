/** The canvas: shows the document, takes boxes and moves by mouse and touch. It only shows: no pixel ever leaves it for a file. */

import Konva from "konva/lib/Core";
import { Image as KonvaImage } from "konva/lib/shapes/Image";
import { Rect } from "konva/lib/shapes/Rect";
import { Transformer } from "konva/lib/shapes/Transformer";
import type { App } from "./app";
import { shownHeight, shownWidth, unitOf, type Doc } from "./document";
import { boxBetween, movedInto, type Box } from "./geometry";
import { CORNERS, give, Grips } from "./grips";
import { OPERATIONS, shows, thumb } from "./look";
import { bitmap, keepThose, loaded } from "./pictures";
import { pinch } from "./pinch";
import { settle } from "./ui/dom";

const MARGIN = 28;
const ROOMY = 90; // of the screen: a smaller box has handles at its corners alone
const SIDES = ["top-center", "middle-left", "middle-right", "bottom-center"];
const SMALLEST = 6; // of the screen: less is a click
const PIXELS_FROM = 4; // zoom from which single pixels are to be seen

export class Stage {
  private readonly stage: Konva.Stage;
  private readonly content = new Konva.Layer({ listening: false });
  private readonly overlay = new Konva.Layer();
  private readonly images = new Map<string, KonvaImage>();
  private readonly preview = new KonvaImage({ image: undefined, listening: false });
  private readonly box = new Rect({ draggable: true, name: "box" });
  private readonly handles = new Transformer({ rotateEnabled: false, flipEnabled: false, ignoreStroke: true, keepRatio: false });
  private readonly grips: Grips;
  private from: { x: number; y: number } | null = null;
  private dropping = false;
  private fitted: string | null = null;
  private fits = true;

  constructor(
    private readonly app: App,
    private readonly container: HTMLDivElement,
    private readonly onZoom: (zoom: number) => void,
  ) {
    this.stage = new Konva.Stage({ container, width: 10, height: 10 });
    this.stage.add(this.content, this.overlay);
    this.content.add(this.preview);
    this.overlay.add(this.box, this.handles);
    this.grips = new Grips(app, this.overlay, (id) => this.images.get(id));
    this.listenToBox();
    this.listenToPointer();
    new ResizeObserver(() => this.resized()).observe(container);
    app.onChange(() => this.update());
    app.thumb = () => (app.doc ? thumb(app.doc) : "");
    keepThose(() => this.needed());
  }

  get zoom(): number {
    return this.stage.scaleX();
  }

  // Showing

  private update(): void {
    const { doc } = this.app;
    this.container.hidden = !doc;
    if (!doc) return;
    if (this.fitted !== `${this.app.workId} ${doc.width} ${doc.height}`) {
      this.fitted = `${this.app.workId} ${doc.width} ${doc.height}`;
      this.resized();
      this.fit();
    }
    this.showLayers(doc);
    this.showPreview(doc);
    this.showBox();
    this.grips.show(doc);
    this.style();
  }

  private showLayers(doc: Doc): void {
    for (const [id, image] of this.images) {
      if (doc.layers.some((layer) => layer.id === id)) continue;
      image.destroy();
      this.images.delete(id);
    }
    doc.layers.forEach((layer, index) => {
      let image = this.images.get(layer.id);
      if (!image) {
        image = new KonvaImage({ image: undefined });
        this.images.set(layer.id, image);
        this.content.add(image);
      }
      const { x, y, opacity, visible } = layer;
      give(image, { opacity, visible, globalCompositeOperation: OPERATIONS[layer.blend] });
      if (!this.grips.held) give(image, { x, y, width: shownWidth(layer), height: shownHeight(layer) });
      image.zIndex(index);
      const near = loaded(layer.picture);
      if (near) give(image, { image: near, picture: layer.picture });
      else this.load(layer.picture);
    });
  }

  /** The pictures of the document, and those that are still shown in the place of others. */
  private needed(): string[] {
    const { doc, previewed } = this.app;
    const shown = [...this.images.values(), this.preview].map((image) => image.getAttr("picture") as string | undefined);
    const wanted = [...(doc?.layers ?? []).map((layer) => layer.picture), previewed?.layers[0]?.picture, previewed?.preview];
    return [...shown, ...wanted].filter((name) => typeof name === "string");
  }

  /** A candidate where it would lie. The page says that it is a preview. */
  private showPreview(doc: Doc): void {
    const { current: drawing, previewed } = this.app;
    const layer = previewed?.layers[0];
    const name = layer?.picture ?? previewed?.preview ?? null;
    const image = name ? loaded(name) : undefined;
    this.preview.visible(name !== null);
    if (name && !image) this.load(name); // until then the last one stays
    if (!image || !drawing) return;
    const place = layer ? { x: layer.x, y: layer.y, width: layer.width, height: layer.height } : { x: 0, y: 0, width: doc.width, height: doc.height };
    const old = doc.layers.find((one) => one.drawing === drawing.id || one.id === drawing.replaces);
    const look = { opacity: old?.opacity ?? 1, globalCompositeOperation: OPERATIONS[old?.blend ?? "normal"] };
    give(this.preview, { image, picture: name, ...place, ...look });
    if (old) this.images.get(old.id)?.visible(false);
    const under = old ?? (drawing.above ? unitOf(doc, drawing.above).at(-1) : undefined);
    this.preview.zIndex(under ? doc.layers.indexOf(under) + 1 : doc.layers.length);
  }

  private load(name: string): void {
    bitmap(name).then(
      () => this.app.changed(),
      (error: unknown) => console.warn(error),
    );
  }

  /** Whether the pointer draws, moves or resizes the box. */
  private get boxHeld(): boolean {
    return this.from !== null || this.box.isDragging() || this.handles.isTransforming();
  }

  private showBox(): void {
    if (this.boxHeld) return;
    const { form, tool } = this.app;
    const shown = tool === "box" && form.box !== null;
    this.box.visible(shown);
    this.handles.visible(shown);
    if (!form.box) return;
    const [x0, y0, x1, y1] = form.box;
    this.box.setAttrs({ x: x0, y: y0, width: x1 - x0, height: y1 - y0, scaleX: 1, scaleY: 1 });
    const small = Math.min(x1 - x0, y1 - y0) * this.zoom < ROOMY;
    this.handles.enabledAnchors(small ? CORNERS : [...CORNERS, ...SIDES]);
    this.handles.nodes(shown ? [this.box] : []);
  }

  private style(): void {
    const accent = getComputedStyle(this.container).getPropertyValue("--accent-line").trim();
    const line = 1 / this.zoom;
    this.box.setAttrs({ stroke: accent, strokeWidth: 2 * line, dash: [8 * line, 5 * line], fill: "rgba(255,255,255,0.07)" });
    for (const frame of [this.handles, this.grips.frames]) {
      frame.setAttrs({ borderStroke: accent, anchorStroke: accent, anchorFill: "#fff", anchorSize: matchMedia("(pointer: coarse)").matches ? 16 : 11, anchorCornerRadius: 3 });
    }
    this.content.imageSmoothingEnabled(this.zoom < PIXELS_FROM);
  }

  // The view

  private resized(): void {
    const { clientWidth, clientHeight } = this.container;
    if (clientWidth === 0 || clientHeight === 0) return;
    this.stage.size({ width: clientWidth, height: clientHeight });
    if (this.fits) this.fit();
  }

  fit(): void {
    const { doc } = this.app;
    if (!doc) return;
    const { width, height } = this.stage.size();
    const zoom = Math.min((width - 2 * MARGIN) / doc.width, (height - 2 * MARGIN) / doc.height);
    this.view(Math.max(zoom, 0.01), (width - doc.width * zoom) / 2, (height - doc.height * zoom) / 2);
    this.fits = true;
  }

  /** Zoom about a point of the stage, by default its middle. */
  zoomTo(zoom: number, point = { x: this.stage.width() / 2, y: this.stage.height() / 2 }): void {
    const wanted = Math.min(Math.max(zoom, 0.05), 32);
    const ratio = wanted / this.zoom;
    this.view(wanted, point.x - (point.x - this.stage.x()) * ratio, point.y - (point.y - this.stage.y()) * ratio);
    this.fits = false;
  }

  private view(zoom: number, x: number, y: number): void {
    this.stage.setAttrs({ scaleX: zoom, scaleY: zoom, x: Math.round(x), y: Math.round(y) });
    const { doc } = this.app;
    if (doc) {
      const place = { left: this.stage.x(), top: this.stage.y(), width: doc.width * zoom, height: doc.height * zoom };
      for (const [name, value] of Object.entries(place)) this.container.style.setProperty(`--${name}`, `${value}px`);
    }
    this.onZoom(zoom);
    this.style();
  }

  private listenToBox(): void {
    this.box.on("dragmove", () => {
      const { doc } = this.app;
      const [x, y] = doc ? movedInto(this.boxNow(), doc) : this.boxNow();
      this.box.position({ x, y });
    });
    this.box.on("dragend transformend", () => this.dropping || this.app.setBox(this.boxNow()));
  }

  /** Two fingers zoom: what the first of them had begun to move goes back. */
  private drop(): void {
    const held = this.boxHeld || this.grips.held;
    this.from = null;
    this.dropping = true;
    this.box.stopDrag();
    this.handles.stopTransform();
    this.dropping = false;
    this.grips.drop();
    if (held) this.app.changed();
  }

  private boxNow(): Box {
    const { x, y } = this.box.position();
    return [x, y, x + this.box.width() * this.box.scaleX(), y + this.box.height() * this.box.scaleY()];
  }

  private listenToPointer(): void {
    const { stage } = this;
    // What is typed belongs to the layers selected until now. Before anything is selected or moved, so in the first phase.
    this.container.addEventListener("pointerdown", () => settle(false), { capture: true });
    stage.on("pointerdown", (event) => {
      const point = stage.getRelativePointerPosition();
      if (!event.evt.isPrimary) return; // a second finger
      if (!point || event.target !== stage || (event.evt.pointerType === "mouse" && event.evt.button !== 0)) return;
      if (this.app.tool === "box" || !this.pick(point, event.evt.shiftKey)) this.from = point;
    });
    stage.on("click tap", (event) => {
      const point = stage.getRelativePointerPosition();
      if (point && event.target.name() === "grip") this.pick(point, event.evt.shiftKey);
    });
    stage.on("pointermove", () => {
      const { doc } = this.app;
      const point = stage.getRelativePointerPosition();
      if (!this.from || !point || !doc) return;
      if (Math.hypot(point.x - this.from.x, point.y - this.from.y) * this.zoom < SMALLEST) return;
      if (this.app.tool === "move") this.app.setTool("box"); // dragging where nothing lies draws a box
      const [x0, y0, x1, y1] = boxBetween(this.from.x, this.from.y, point.x, point.y, doc);
      this.box.setAttrs({ x: x0, y: y0, width: x1 - x0, height: y1 - y0, visible: true });
      this.handles.visible(false);
    });
    const end = (): void => {
      if (!this.from) return;
      this.from = null;
      const box = this.boxNow();
      if (this.app.tool === "box" && Math.min(box[2] - box[0], box[3] - box[1]) * this.zoom >= SMALLEST) this.app.setBox(box);
      else this.app.changed();
    };
    stage.on("pointerup pointercancel", end);
    window.addEventListener("pointerup", end);
    this.container.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    pinch(this.container, () => this.drop(), (zoom, point, dx, dy) => {
      this.drop();
      this.zoomTo(this.zoom * zoom, point);
      this.view(this.zoom, this.stage.x() + dx, this.stage.y() + dy);
    });
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) {
      const frame = this.container.getBoundingClientRect();
      this.zoomTo(this.zoom * Math.exp(-event.deltaY / 200), { x: event.clientX - frame.left, y: event.clientY - frame.top });
      return;
    }
    this.view(this.zoom, this.stage.x() - event.deltaX, this.stage.y() - event.deltaY);
    this.fits = false;
  }

  /** Select the uppermost layer that shows something at a point, with its group. */
  private pick(point: { x: number; y: number }, add: boolean): boolean {
    const { doc } = this.app;
    const found = doc?.layers.findLast((layer) => layer.role === "foreground" && layer.visible && !layer.locked && shows(layer, point));
    const unit = doc && found ? unitOf(doc, found.id).map((layer) => layer.id) : [];
    this.app.select(unit, add && unit.length > 0);
    return unit.length > 0;
  }
}
