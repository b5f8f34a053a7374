// Draws masks on the frames of a clip. Pixels are ids in a Uint8Array of the frame's size, set here one by one and never
// by strokes of a canvas, whose soft edges are no ids. The kernel holds what is drawn: a change goes there as a PNG once
// it is finished; undo, prompts and predictions come back as one. While a stroke goes on, nothing is sent.

const VOID = 255, UNDRAWN = 0;
const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const TOOLS = [["brush", "Brush", "b"], ["eraser", "Eraser", "e"], ["polygon", "Polygon", "p"], ["box", "Box", "x"], ["pan", "Move", "h"]];
const SHORTCUTS = [["B E P X H", "brush, eraser, polygon, box, move the picture"], ["[ ]", "smaller, larger brush"],
  ["1 … 9, 0", "object 1 … 9, background scribble"], ["N", "new object"], ["Z, Shift+Z", "undo, redo"], ["+ − F", "zoom in, out, fit"],
  ["Enter, Esc, Backspace", "close the polygon, give it up, take back its last corner"], [", .", "previous, next frame"], ["← →", "beside Play and on the slider: previous, next frame"], ["K", "play, pause"],
  ["Arrows (Shift: 10)", "move the pointer over the picture"], ["Space", "press and release the pointer: draws, sets corners"]];
const STATES = { given: ["drawn", 1, "#0072b2"], seen: ["in sight", 0.8, "#009e73"], doubtful: ["doubtful", 0.5, "#e69f00"], lost: ["lost", 0.25, "#d55e00"] };
const LETTERS = { g: "given", s: "seen", d: "doubtful", l: "lost" };

const colors = Array.from({ length: 256 }, (_, id) => {  // DAVIS's palette: bits of the id, spread over the channels
  const color = [0, 0, 0];
  for (let bit = 7, rest = id; rest; bit--, rest >>= 3) for (let c = 0; c < 3; c++) color[c] |= ((rest >> c) & 1) << bit;
  return color;
});
const css = (id) => (id === VOID ? "repeating-linear-gradient(45deg, #e0e0c0 0 4px, #777 4px 8px)" : `rgb(${colors[id]})`);

// ---- PNG of 8-bit values, both ways, exact whatever the browser does with colors
const crcs = Uint32Array.from({ length: 256 }, (_, n) => { for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1; return n; });
const crc = (bytes) => { let c = ~0; for (const byte of bytes) c = crcs[(c ^ byte) & 255] ^ (c >>> 8); return ~c >>> 0; };
const through = async (bytes, stream) => new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());

function chunk(name, data) {
  const whole = new Uint8Array(12 + data.length), view = new DataView(whole.buffer);
  view.setUint32(0, data.length);
  whole.set(new TextEncoder().encode(name), 4);
  whole.set(data, 8);
  view.setUint32(8 + data.length, crc(whole.subarray(4, 8 + data.length)));
  return whole;
}

export async function encode(labels, width, height) {
  const rows = new Uint8Array(height * (width + 1));
  for (let y = 0; y < height; y++) rows.set(labels.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  const header = new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, 8, 3, 0, 0, 0]), view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  const parts = [chunk("IHDR", header), chunk("tEXt", new TextEncoder().encode("Software\0sstlib")), chunk("PLTE", new Uint8Array(colors.flat())),
    chunk("IDAT", await through(rows, new CompressionStream("deflate"))), chunk("IEND", new Uint8Array())];
  return new Uint8Array(await new Blob([new Uint8Array(SIGNATURE), ...parts]).arrayBuffer());
}

export async function decode(png) {  // what the kernel writes: 8 bits a pixel, one channel, not interlaced
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength), pixels = [];
  for (let at = 8; at < png.length; at += 12 + view.getUint32(at))
    if (view.getUint32(at + 4) === 0x49444154) pixels.push(png.subarray(at + 8, at + 8 + view.getUint32(at)));
  const width = view.getUint32(16), height = view.getUint32(20), rows = await through(await new Blob(pixels).arrayBuffer(), new DecompressionStream("deflate"));
  const labels = new Uint8Array(width * height);
  for (let y = 0, from = 0, to = 0; y < height; y++) {
    const filter = rows[from++];
    for (let x = 0; x < width; x++, from++, to++) {
      const left = x ? labels[to - 1] : 0, up = y ? labels[to - width] : 0, corner = x && y ? labels[to - width - 1] : 0;
      const a = Math.abs(up - corner), b = Math.abs(left - corner), c = Math.abs(left + up - 2 * corner);
      labels[to] = rows[from] + [0, left, up, (left + up) >> 1, a <= b && a <= c ? left : b <= c ? up : corner][filter];
    }
  }
  return labels;
}

// ---- shapes on the grid of pixels: a pixel belongs to a shape when its center does
export function capsule(labels, width, height, [x0, y0], [x1, y1], radius, id) {
  const left = Math.max(0, Math.floor(Math.min(x0, x1) - radius)), right = Math.min(width, Math.ceil(Math.max(x0, x1) + radius) + 1);
  const top = Math.max(0, Math.floor(Math.min(y0, y1) - radius)), bottom = Math.min(height, Math.ceil(Math.max(y0, y1) + radius) + 1);
  const dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy || 1, reach = Math.max(radius * radius, 0.5);
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const px = x + 0.5 - x0, py = y + 0.5 - y0, along = Math.min(1, Math.max(0, (px * dx + py * dy) / length));
      if ((px - along * dx) ** 2 + (py - along * dy) ** 2 <= reach) labels[y * width + x] = id;
    }
  }
  return [left, top, Math.max(left, right), Math.max(top, bottom)];
}

export function polygon(labels, width, height, points, id) {
  for (let y = 0; y < height; y++) {
    const crossings = [];
    points.forEach(([x0, y0], n) => {
      const [x1, y1] = points[(n + 1) % points.length];
      if (y0 <= y + 0.5 !== y1 <= y + 0.5) crossings.push(x0 + ((y + 0.5 - y0) / (y1 - y0)) * (x1 - x0));
    });
    crossings.sort((a, b) => a - b);
    for (let n = 0; n < crossings.length; n += 2) {
      const from = Math.min(width, Math.max(0, Math.ceil(crossings[n] - 0.5))), to = Math.min(width, Math.max(0, Math.ceil(crossings[n + 1] - 0.5)));
      if (from < to) labels.fill(id, y * width + from, y * width + to);
    }
  }
  return [0, 0, width, height];
}

const joined = (a, b) => (a ? [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])] : b);
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

function make(tag, attributes = {}, ...children) {
  const node = document.createElementNS(["svg", "path", "circle"].includes(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("aria-") || (value !== null && value !== false)) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}
const button = (text, label, onclick, attributes = {}) => make("button", { type: "button", "aria-label": label, title: label, onclick, ...attributes }, text);

function render({ model, el }) {
  const { width, height, count, rate, names, segments } = model.get("clip");
  const labels = new Uint8Array(width * height), image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  const cache = new Map(), most = Math.max(24, Math.floor(3e8 / (width * height * 5)));  // frames: picture, mask, both decoded when they are shown
  const me = Math.random().toString(36).slice(2), edited = new Map();  // by frame, the number of this view's last change
  let frame = model.get("frame"), shown = -1, edits = 0, sending = Promise.resolve();
  let tool = "brush", object = model.get("objects")[0]?.id ?? 0, radius = Math.max(2, Math.round(width / 60)), opacity = 0.5, fit = true;
  let stroke = null, corners = null, dirty = null, drawing = 0, playing = null, following = false;
  let zoom = 1, panX = 0, panY = 0, base = 1, pointer = [width / 2, height / 2], pressed = false, ringed = false;
  const fingers = new Map();
  let pinch = null;

  // ---- what is sent: one after another, in the order in which it was done
  const post = (kind, content = {}, png = null) => {
    const edit = edits;
    sending = sending.then(async () => model.send({ kind, view: me, edit, ...content }, undefined, png ? [(await png).buffer] : []));
    return sending;
  };
  const change = (kind, content = {}, png = null) => { edited.set(frame, ++edits); return post(kind, { frame, ...content }, png); };
  const ask = (times) => { const unknown = times.filter((t) => t >= 0 && t < count && !cache.has(t)); for (const t of unknown) keep(t, {}); if (unknown.length) post("want", { frames: unknown }); };
  function keep(t, entry) {
    cache.delete(t);
    cache.set(t, entry);
    for (const old of cache.keys()) { if (cache.size <= most) break; if (old !== frame) { cache.get(old).bitmap?.close(); cache.delete(old); } }
  }

  // ---- the picture and, over it, the mask: both of the frame's size, scaled by the browser without smoothing
  const picture = make("canvas", { width, height }), mask = make("canvas", { width, height, class: "sst-mask" });
  const pairs = { line: ["path", {}], ring: ["circle", { visibility: "hidden" }] };  // each white on a wider black one
  const [line, ring] = Object.values(pairs).map(([tag, attributes]) => [make(tag, { class: "sst-dark", ...attributes }), make(tag, attributes)]);
  const put = (both, attributes) => { for (const node of both) for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value); };
  const layers = make("div", { class: "sst-layers", style: `width:${width}px;height:${height}px` }, picture, mask, make("svg", { viewBox: `0 0 ${width} ${height}`, width, height }, ...line, ...ring));
  const stage = make("div", { class: "sst-stage", tabindex: 0, role: "application", "aria-label": "frame to draw on", "aria-describedby": "sst-keys", style: `aspect-ratio:${width}/${height};max-width:calc(70vh*${width / height})` }, layers);
  const pictureContext = picture.getContext("2d"), maskContext = mask.getContext("2d");
  const fills = new Uint32Array(256), edges = new Uint32Array(256);
  function setOpacity(value) {
    opacity = value;
    colors.forEach(([r, g, b], id) => { fills[id] = id ? ((Math.round(opacity * 255) << 24) | (b << 16) | (g << 8) | r) >>> 0 : 0; edges[id] = id ? (0xff000000 | ((127 + (b >> 1)) << 16) | ((127 + (g >> 1)) << 8) | (127 + (r >> 1))) >>> 0 : 0; });
    touch([0, 0, width, height]);
  }
  const touch = (rectangle) => { dirty = joined(dirty, rectangle); drawing ||= requestAnimationFrame(paint); };
  function paint() {
    drawing = 0;
    if (stroke?.points.length > 1) advance();
    if (!dirty) return;
    const [left, top] = dirty, right = Math.min(width, dirty[2] + 1), bottom = Math.min(height, dirty[3] + 1);  // an edge reaches one pixel on
    for (let y = top; y < bottom; y++) {
      for (let x = left, at = y * width + left; x < right; x++, at++) {
        const id = labels[at];
        pixels[at] = id && ((x && labels[at - 1] !== id) || (y && labels[at - width] !== id)) ? edges[id] : fills[id];
      }
    }
    maskContext.putImageData(image, 0, 0, left, top, right - left, bottom - top);
    dirty = null;
    drawWaiting();
  }

  const drawWaiting = () => stage.setAttribute("aria-busy", shown !== frame);  // until then nothing can be drawn on it
  async function show(t) {
    const entry = cache.get(t);
    if (!entry?.jpeg) return ask([t]);
    const edit = edits, png = entry.png;
    entry.bitmap ??= await createImageBitmap(new Blob([entry.jpeg], { type: "image/jpeg" }));
    const bytes = await png, ids = bytes?.length ? await decode(bytes) : null;
    if (t !== frame || edit !== edits || stroke || entry.png !== png) return;  // another frame, or drawn on meanwhile
    pictureContext.drawImage(entry.bitmap, 0, 0, width, height);
    if (ids) labels.set(ids); else labels.fill(UNDRAWN);
    shown = t;
    touch([0, 0, width, height]);
    ask([t + 1, t - 1]);
  }

  function go(t, tell = true) {
    finish();
    frame = clamp(t, 0, count - 1);
    slider.value = frame;
    slider.setAttribute("aria-valuetext", `frame ${names[frame]}`);
    tellPlace();
    drawMarks();
    drawWaiting();
    if (tell) { model.set("frame", frame); model.save_changes(); }
    return show(frame);
  }

  // ---- changes of the mask
  function begin(point) {
    following = false;
    if (shown !== frame) return say("the frame is not here yet");
    if (!object && tool !== "eraser") addObject();
    stroke = { before: labels.slice(), points: [point], id: tool === "eraser" ? 0 : object, start: point };
    if (tool !== "box") { touch(capsule(labels, width, height, point, point, radius, stroke.id)); }
  }
  function advance() {
    const { points, id } = stroke;
    if (tool === "box") return drawLine();
    for (let n = 1; n < points.length; n++) dirty = joined(dirty, capsule(labels, width, height, points[n - 1], points[n], radius, id));
    points.splice(0, points.length - 1);
  }
  function finish(keepIt = true) {
    pressed = false;
    if (!stroke) return;
    const { before, points, start, id } = stroke;
    if (tool === "box") {
      const end = points[points.length - 1];
      const [left, top, right, bottom] = [Math.min(start[0], end[0]), Math.min(start[1], end[1]), Math.max(start[0], end[0]), Math.max(start[1], end[1])].map(Math.round);
      stroke = null;
      drawLine();
      const [x, y, x1, y1] = [clamp(left, 0, width), clamp(top, 0, height), clamp(right, 0, width), clamp(bottom, 0, height)];
      if (!keepIt || x1 - x < 2 || y1 - y < 2) return;
      if (fit) return prompt("box", { id, box: [x, y, x1 - x, y1 - y] });
      for (let row = y; row < y1; row++) labels.fill(id, row * width + x, row * width + x1);
      return commit([x, y, x1, y1]);
    }
    advance();
    stroke = null;
    if (keepIt) return commit();
    labels.set(before);
    touch([0, 0, width, height]);
    show(frame);
  }
  function commit(rectangle) {
    if (rectangle) touch(rectangle);
    const t = frame, png = encode(labels.slice(), width, height);
    change("draw", {}, png);
    if (cache.has(t)) cache.get(t).png = png;
  }
  function prompt(kind, content = {}) {
    say(kind === "box" ? "finding the object in the box …" : "finding the objects under the scribbles …");
    return change(kind, content);
  }
  function corner(point) {
    if (shown !== frame) return say("the frame is not here yet");
    if (!object) addObject();
    const near = corners && Math.hypot(corners[0][0] - point[0], corners[0][1] - point[1]) * base * zoom < 12;
    if (near && corners.length > 2) return closePolygon();
    corners = [...(corners ?? []), point];
    drawLine();
  }
  function closePolygon() {
    if (corners?.length > 2) commit(polygon(labels, width, height, corners, object));
    corners = null;
    drawLine();
  }
  function drawLine() {
    const points = stroke && tool === "box" ? (([x, y], [u, v]) => [[x, y], [u, y], [u, v], [x, v], [x, y]])(stroke.start, stroke.points[stroke.points.length - 1]) : corners ? [...corners, pointer] : [];
    put(line, { d: points.map(([x, y], n) => `${n ? "L" : "M"}${x} ${y}`).join("") });
    closing.hidden = !corners;
  }
  function drawRing(visible = true) {
    ringed = visible && tool !== "pan";
    const r = tool === "brush" || tool === "eraser" ? radius : 2 / (base * zoom);
    put(ring, { visibility: ringed ? "visible" : "hidden", cx: pointer[0], cy: pointer[1], r });
  }

  // ---- zoom, and pointers: a pen, a mouse or one finger draws, two fingers move and zoom
  function arrange() {
    const box = stage.getBoundingClientRect();
    base = box.width / width || 1;
    panX = clamp(panX, box.width - width * base * zoom, 0);
    panY = clamp(panY, box.height - height * base * zoom, 0);
    layers.style.transform = `translate(${panX}px,${panY}px) scale(${base * zoom})`;
    layers.classList.toggle("sst-large", base * zoom > 2);
    drawRing(ringed);
  }
  function zoomBy(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
    const next = clamp(zoom * factor, 1, 16), change = next / zoom;
    [panX, panY, zoom] = [x - (x - panX) * change, y - (y - panY) * change, next];
    arrange();
  }
  const fitAll = () => { zoom = 1; panX = panY = 0; arrange(); };
  const inStage = (event) => { const box = stage.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const inFrame = ([x, y]) => [(x - panX) / (base * zoom), (y - panY) / (base * zoom)];
  const spread = () => { const [a, b] = [...fingers.values()]; return { x: (a[0] + b[0]) / 2, y: (a[1] + b[1]) / 2, apart: Math.hypot(a[0] - b[0], a[1] - b[1]) }; };
  stage.addEventListener("pointerdown", (event) => {
    stage.focus({ preventScroll: true });
    fingers.set(event.pointerId, inStage(event));
    stage.setPointerCapture(event.pointerId);
    pointer = inFrame(inStage(event));
    if (fingers.size === 2) { finish(false); pinch = spread(); return; }
    if (fingers.size > 2) return;
    if (tool === "pan" || event.button === 1) pinch = { pan: inStage(event) };
    else if (event.button === 0 && tool === "polygon") corner(pointer);
    else if (event.button === 0) begin(pointer);
    drawRing();
    event.preventDefault();
  });
  stage.addEventListener("pointermove", (event) => {
    const at = inStage(event);
    if (fingers.has(event.pointerId)) fingers.set(event.pointerId, at);
    if (pinch?.pan) { panX += at[0] - pinch.pan[0]; panY += at[1] - pinch.pan[1]; pinch.pan = at; return arrange(); }
    if (pinch && fingers.size === 2) {
      const now = spread();
      panX += now.x - pinch.x;
      panY += now.y - pinch.y;
      if (pinch.apart > 0) zoomBy(now.apart / pinch.apart, now.x, now.y);
      pinch = now;
      return;
    }
    pointer = inFrame(at);
    if (stroke) {
      for (const one of event.getCoalescedEvents?.() ?? []) stroke.points.push(inFrame(inStage(one)));
      stroke.points.push(pointer);
      drawing ||= requestAnimationFrame(paint);
    } else if (corners) drawLine();
    drawRing();
  });
  const lift = (event, keepIt) => { fingers.delete(event.pointerId); if (pinch) { if (!fingers.size) pinch = null; } else finish(keepIt); };
  stage.addEventListener("pointerup", (event) => lift(event, true));
  stage.addEventListener("pointercancel", (event) => lift(event, false));
  stage.addEventListener("pointerleave", () => drawRing(false));
  stage.addEventListener("dblclick", () => { if (corners) closePolygon(); });
  stage.addEventListener("wheel", (event) => { if (event.ctrlKey || event.metaKey) { event.preventDefault(); zoomBy(Math.exp(-event.deltaY / 200), ...inStage(event)); } }, { passive: false });

  // ---- what the controls are
  const say = (text) => { status.textContent = text; };
  const tools = TOOLS.map(([name, text, key]) => button(text, `${text} (${key.toUpperCase()})`, () => pick(name), { "data-tool": name, "aria-keyshortcuts": key }));
  function pick(name) {
    tool = name;
    corners = null;
    drawLine();
    for (const one of tools) one.setAttribute("aria-pressed", one.dataset.tool === name);
    stage.dataset.tool = name;
    fitting.hidden = name !== "box";
    drawRing(false);
  }
  const range = (text, low, high, value, oninput) => { const input = make("input", { type: "range", min: low, max: high, step: "any", value, "aria-label": text }); input.addEventListener("input", () => oninput(Number(input.value))); return input; };
  const size = range("brush size", 0, 1, Math.log(radius) / Math.log(width / 4), (value) => { radius = (width / 4) ** value; drawRing(ringed); });
  const setRadius = (value) => { radius = clamp(value, 0.5, width / 4); size.value = Math.log(Math.max(1, radius)) / Math.log(width / 4); drawRing(); };
  const fitting = make("label", {}, make("input", { type: "checkbox", checked: true, onchange: (event) => { fit = event.target.checked; } }), " find the object in the box");
  const closing = button("Close polygon", "Close the polygon (Enter)", closePolygon);
  const file = make("input", { type: "file", accept: "image/*", hidden: true, onchange: async () => { if (file.files.length) change("load", {}, file.files[0].arrayBuffer().then((bytes) => new Uint8Array(bytes))); file.value = ""; } });
  const saveMask = async () => {
    const link = make("a", { href: URL.createObjectURL(new Blob([await encode(labels, width, height)], { type: "image/png" })), download: `${names[frame]}.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };
  const undo = button("Undo", "Undo (Z)", () => change("undo")), redo = button("Redo", "Redo (Shift+Z)", () => change("redo"));
  const group = (label, ...children) => make("div", { class: "sst-group", role: "group", "aria-label": label }, ...children);
  const toolbar = make("div", { class: "sst-bar" }, group("tools", ...tools), group("undo", undo, redo),
    group("zoom", button("−", "Zoom out (−)", () => zoomBy(0.8)), button("Fit", "Fit (F)", fitAll), button("+", "Zoom in (+)", () => zoomBy(1.25))),
    make("label", {}, "size ", size), make("label", {}, "opacity ", range("opacity of the mask", 0, 1, opacity, setOpacity)));
  const actions = make("div", { class: "sst-bar" }, fitting, closing,  // which come and go, and so stand below the picture: it stays where it is
    button("Scribbles → masks", "Strokes of the objects and of the background become masks", () => prompt("scribbles")),
    button("Clear frame", "Take away what was drawn on this frame", () => change("clear")),
    button("Load mask", "Load a mask for this frame from a file", () => file.click()), button("Save mask", "Save this frame's mask as a palette PNG", saveMask), file);

  const list = make("div", { class: "sst-objects", role: "group", "aria-label": "objects" });
  function drawObjects() {
    const objects = model.get("objects");
    if (object !== VOID && !objects.some(({ id }) => id === object)) object = objects[0]?.id ?? 0;
    if (list.contains(document.activeElement) && document.activeElement.tagName === "INPUT") document.activeElement.blur();
    const choice = (id, text) => make("button", { type: "button", class: "sst-swatch", style: `background:${css(id)}`, "aria-pressed": id === object, "aria-label": `draw ${text}`, title: `draw ${text}`, "data-id": id, onclick: () => choose(id) });
    list.replaceChildren(...objects.map(({ id, name }) => make("div", { class: "sst-object" }, choice(id, name),
      make("input", { type: "text", value: name, title: name, "aria-label": `name of object ${id}`, onfocus: () => choose(id), onchange: (event) => post("rename", { id, name: event.target.value }) }),
      button("×", `Remove ${name}`, () => change("remove", { id })))),
      make("div", { class: "sst-object" }, choice(VOID, "background scribble"), make("span", {}, "background scribble")),
      button("+ Object", "Add an object (N)", addObject));
    drawStrip();
  }
  function choose(id) {
    object = id;
    for (const one of list.querySelectorAll(".sst-swatch")) one.setAttribute("aria-pressed", Number(one.dataset.id) === id);
    if (tool === "eraser" || tool === "pan") pick("brush");
  }
  function addObject() {  // the id is the least free one, here as in the kernel
    const taken = new Set(model.get("objects").map(({ id }) => id));
    object = 1;
    while (taken.has(object)) object++;
    if (object > 254) return say("254 objects are the most that a mask holds");
    change("add", { id: object });
  }

  // ---- time: slider, playing, and of each object a row of colored cells
  const slider = make("input", { type: "range", min: 0, max: count - 1, step: 1, value: frame, "aria-label": "frame", class: "sst-slider" });
  slider.addEventListener("input", () => { following = false; stop(); go(Number(slider.value)); });
  const place = make("span", { class: "sst-place" });
  function tellPlace() {  // read aloud, but for what the slider says by itself, and for each frame of those that play
    place.setAttribute("aria-live", (playing && place.textContent.endsWith("playing")) || slider.matches(":focus") ? "off" : "polite");
    place.textContent = `${names[frame]} (${frame + 1} of ${count})${playing ? ", playing" : ""}`;
  }
  const play = button("Play", "Play (K)", () => (playing ? stop() : start()), { class: "sst-play" });
  function namePlay(text) {
    play.textContent = text;
    play.title = `${text} (K)`;
    play.setAttribute("aria-label", play.title);
    tellPlace();
  }
  const step = (by) => { following = false; stop(); go(frame + by); };
  const strip = make("div", { class: "sst-strip" }), legend = make("div", { class: "sst-legend" },
    ...Object.values(STATES).map(([text, share, color]) => make("span", {}, make("i", { style: `background:${color};height:${share}em` }), text)));
  const timeline = make("div", { class: "sst-time", style: `--count:${count}`, hidden: count < 2 },
    make("div", { class: "sst-bar" }, button("‹", "Previous frame (,)", () => step(-1)), play, button("›", "Next frame (.)", () => step(1)), place), slider, strip, legend);
  function start() {
    const first = frame === count - 1 ? 0 : frame, began = performance.now(), mine = {};
    let at = first, wait = 0;
    following = false;
    playing = mine;
    const tick = async (now) => {
      if (playing !== mine) return;
      const due = first + Math.floor(((now - began - wait) * rate) / 1000);
      if (due > at && at < count - 1) {
        if (cache.get(at + 1)?.jpeg) await go(++at, false);
        else wait += 1000 / rate;
        ask(Array.from({ length: 12 }, (_, n) => at + 1 + n));
      }
      if (playing !== mine) return;  // paused while that frame was decoded
      if (at >= count - 1) return stop();
      requestAnimationFrame(tick);
    };
    ask(Array.from({ length: 12 }, (_, n) => at + n));
    requestAnimationFrame(tick);
    if (first !== frame) go(first, false);
    namePlay("Pause");
  }
  function stop() {
    if (!playing) return;
    playing = null;
    namePlay("Play");
    model.set("frame", frame);
    model.save_changes();
  }
  function drawStrip() {
    const rows = model.get("strip"), named = model.get("objects").filter(({ id }) => rows[id]);
    strip.hidden = legend.hidden = !named.length;
    strip.replaceChildren(...named.map(({ id, name }) => {
      const cells = {}, told = [];
      [...rows[id]].forEach((letter, t) => {
        const state = LETTERS[letter.toLowerCase()];
        if (!state) return;
        const [text, share] = STATES[state];
        cells[letter] = `${cells[letter] ?? ""}M${t} 1v${-share}h1V1z`;
        if (told.length && told[told.length - 1][0] === text && told[told.length - 1][2] === t - 1) told[told.length - 1][2] = t; else told.push([text, t, t]);
      });
      const paths = Object.entries(cells).map(([letter, d]) => make("path", { d, fill: STATES[LETTERS[letter.toLowerCase()]][2], opacity: letter === letter.toLowerCase() ? 1 : 0.35 }));  // a capital: to be computed again
      const borders = make("path", { class: "sst-borders", d: count > 60 ? "" : Array.from({ length: count }, (_, t) => `M${t} 0v1`).join("") });
      const label = `${name}: ${told.map(([text, a, b]) => `${text} ${names[a]}${a < b ? `–${names[b]}` : ""}`).join(", ")}`;
      const row = make("svg", { viewBox: `0 0 ${count} 1`, preserveAspectRatio: "none", role: "img", class: "sst-row", "aria-label": label }, ...paths, borders);
      row.addEventListener("click", (event) => { const box = row.getBoundingClientRect(); step(Math.floor(((event.clientX - box.left) / box.width) * count) - frame); });
      return make("div", { class: "sst-track", title: name }, make("span", { class: "sst-dot", style: `background:${css(id)}` }), row);
    }));
    drawMarks();
  }
  const drawMarks = () => strip.style.setProperty("--frame", frame);

  // ---- segmentation
  const status = make("div", { class: "sst-status", role: "status", "aria-live": "polite" });
  const segment = button("Segment", "Carry the masks through the clip", () => { following = true; post("segment"); }, { class: "sst-main" });
  const cancel = button("Cancel", "Stop; masks that are there stay", () => post("cancel")), bar = make("progress", { max: count, "aria-label": "segmented frames" });
  const folder = make("input", { type: "text", placeholder: "folder for the masks", "aria-label": "folder for the masks" });
  const tinted = make("input", { type: "checkbox" });
  const session = make("div", { class: "sst-bar", hidden: !segments }, segment, cancel, bar,
    group("export", folder, make("label", {}, tinted, " overlay"), button("Export", "Write the masks of all frames into the folder", () => post("export", { folder: folder.value, overlay: tinted.checked }))));
  function drawSession() {
    const { running, done } = model.get("progress");
    segment.disabled = running;
    cancel.disabled = !running;
    bar.value = done;
    status.setAttribute("aria-live", running ? "off" : "polite");  // a line a frame is not read aloud
    say(model.get("status"));
  }
  const keys = make("details", { id: "sst-keys" }, make("summary", {}, "Keyboard and touch"), make("dl", {}, ...SHORTCUTS.flatMap(([key, what]) => [make("dt", {}, key), make("dd", {}, what)])),
    make("p", {}, "One finger draws, two move and zoom. With a mouse, Ctrl and the wheel zoom."));

  const root = make("div", { class: "sst-annotator", "data-lm-suppress-shortcuts": "true" }, toolbar, make("div", { class: "sst-middle" }, stage, list), actions, timeline, session, status, keys);
  const acts = { "[": () => setRadius(radius / 1.25), "]": () => setRadius(radius * 1.25), n: addObject, z: () => change("undo"), Z: () => change("redo"), y: () => change("redo"), "+": () => zoomBy(1.25), "=": () => zoomBy(1.25), "-": () => zoomBy(0.8), f: fitAll, ",": () => step(-1), ".": () => step(1), k: () => (playing ? stop() : start()), 0: () => choose(VOID) };
  for (const [name, , key] of TOOLS) acts[key] = () => pick(name);
  function typed(event) {
    const text = event.target.matches("input[type=text]"), native = event.target !== stage;
    event.stopPropagation();  // none of the notebook's own shortcuts while the focus is in here
    if (text || event.altKey) return;
    const key = event.key, moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    if ((event.ctrlKey || event.metaKey) && !["z", "Z", "y"].includes(key)) return;
    if (key === "Escape") { corners = null; drawLine(); finish(false); }
    else if (key === "Enter" && corners) closePolygon();
    else if (key === "Backspace" && corners) { corners = corners.length > 1 ? corners.slice(0, -1) : null; drawLine(); }
    else if (moves && !native) {
      pointer = [clamp(pointer[0] + moves[0] * (event.shiftKey ? 10 : 1), 0, width), clamp(pointer[1] + moves[1] * (event.shiftKey ? 10 : 1), 0, height)];
      if (stroke) { stroke.points.push(pointer); drawing ||= requestAnimationFrame(paint); }
      drawLine();
      drawRing();
    } else if (moves?.[0] && timeline.contains(event.target) && event.target !== slider) step(moves[0]);  // which moves by itself
    else if (key === " " && !native) {
      if (tool === "polygon") corner(pointer);
      else if (pressed) finish();
      else if (tool !== "pan") { begin(pointer); pressed = true; }
    } else if (/^[1-9]$/.test(key)) { const chosen = model.get("objects")[key - 1]; if (chosen) choose(chosen.id); }
    else if (acts[key] && !event.repeat | "[],.+-=".includes(key)) acts[key]();
    else return;
    event.preventDefault();
  }
  root.addEventListener("keydown", typed);

  // ---- what the kernel says
  function heard(content, buffers) {
    const { kind, frame: t } = content, bytes = buffers.map((view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
    if (kind === "frame") { keep(t, { ...cache.get(t), jpeg: bytes[0], png: bytes[1] }); if (t === frame) show(t); }
    if (kind === "forget") { cache.clear(); show(frame); }
    if (kind === "mask" && content.origin !== me && (content.edits[me] ?? 0) >= (edited.get(t) ?? 0)) {
      if (cache.get(t)) cache.get(t).png = bytes[0];
      if (following && content.predicted && !playing) go(t, false); else if (t === frame) show(t);
    }
  }
  const onFrame = () => { if (model.get("frame") !== frame && !playing) go(model.get("frame"), false); };
  const listeners = { "change:objects": drawObjects, "change:strip": drawStrip, "change:progress": drawSession, "change:status": drawSession, "change:frame": onFrame, "msg:custom": heard };
  for (const [name, listener] of Object.entries(listeners)) model.on(name, listener);
  const watcher = new ResizeObserver(arrange);
  watcher.observe(stage);
  el.append(root);
  folder.value = model.get("folder");
  setOpacity(opacity);
  pick(tool);
  drawObjects();
  drawSession();
  go(frame, false);
  return () => { watcher.disconnect(); stop(); for (const [name, listener] of Object.entries(listeners)) model.off(name, listener); };
}
export default { render };
