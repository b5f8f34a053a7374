// Explorers in the browser. A widget in JupyterLab shows a picture and says where it was clicked (`render`); a page
// without a kernel computes patterns itself (`mountPatterns`) and shows recorded attention (`mountAttention`).
// Axes are (time, height, width) and a cell is [t, y, x] everywhere; people count from 1.

export function render({ model, el }) {
  const image = document.createElement("img");
  image.className = "sst-picker";
  image.draggable = false;
  image.style.cssText = "max-width:100%;cursor:crosshair;touch-action:none;user-select:none";
  let address = null;
  function show() {
    if (address) URL.revokeObjectURL(address);
    address = URL.createObjectURL(new Blob([model.get("picture")], { type: "image/png" }));
    image.src = address;
  }
  function place(event) {
    const box = image.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }
  let stroke = null;
  image.addEventListener("pointerdown", (event) => {
    image.setPointerCapture(event.pointerId);
    stroke = [place(event)];
  });
  image.addEventListener("pointermove", (event) => { if (stroke) stroke.push(place(event)); });
  image.addEventListener("pointerup", () => {
    if (!stroke) return;
    model.set("stroke", stroke);
    model.save_changes();
    stroke = null;
  });
  model.on("change:picture", show);
  show();
  el.appendChild(image);
  return () => { model.off("change:picture", show); if (address) URL.revokeObjectURL(address); };
}
export default { render };

// Who may attend to whom (section 3.2): whether key k is connected to query q.
export const PATTERNS = {
  Grid: () => (q, k) => (q[0] !== k[0]) + (q[1] !== k[1]) + (q[2] !== k[2]) <= 1,
  Local: ({ radius }) => (q, k) => Math.abs(q[1] - k[1]) <= radius && Math.abs(q[2] - k[2]) <= radius,
  Strided: ({ stride }) => (q, k) => (q[1] - k[1]) % stride === 0 && (q[2] - k[2]) % stride === 0,
  Dense: () => () => true,
};
export const STACKS = {
  "Grid": ["Grid"], "Local": ["Local"], "Strided": ["Strided"], "Local, then strided": ["Local", "Strided"],
  "Dense": ["Dense"],
};

export function connectedBy(name, options) {
  const related = PATTERNS[name](options);
  return options.causal ? (q, k) => k[0] <= q[0] && related(q, k) : related;
}

export function cellsOf([time, height, width]) {
  const cells = [];
  for (let t = 0; t < time; t++) for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) cells.push([t, y, x]);
  return cells;
}

// The layer after which a cell's content has arrived at each cell, in raster order: 0 at the cell itself, -1 never.
export function arrival(names, options, cell, size) {
  const cells = cellsOf(size);
  const reached = cells.map((other) => other.every((place, axis) => place === cell[axis]) ? 0 : -1);
  names.forEach((name, layer) => {
    const connected = connectedBy(name, options);
    const holders = cells.filter((_, i) => reached[i] >= 0);
    cells.forEach((query, i) => {
      if (reached[i] < 0 && holders.some((key) => connected(query, key))) reached[i] = layer + 1;
    });
  });
  return reached;
}

// How many (query, key) pairs a buffer has.
export function pairs(name, options, size) {
  const connected = connectedBy(name, options), cells = cellsOf(size);
  let count = 0;
  for (const query of cells) for (const key of cells) count += connected(query, key);
  return count;
}

function element(tag, properties = {}, children = []) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// A row of controls; `changed` is called with their values by name.
function controls(specification, changed) {
  const inputs = {}, row = element("div", { className: "sst-controls" });
  for (const [name, spec] of Object.entries(specification)) {
    const shown = element("output");
    const input = spec.options
      ? element("select", {}, spec.options.map(([value, text]) => element("option", { value, textContent: text })))
      : element("input", spec.most === undefined ? { type: "checkbox", checked: spec.value }
        : { type: "range", min: spec.least, max: spec.most, step: 1 });
    if (input.type !== "checkbox") input.value = spec.value;
    input.name = name;
    const told = () => { shown.textContent = input.type === "range" ? input.value : ""; };
    input.addEventListener("input", () => { told(); changed(); });
    told();
    inputs[name] = { input, told };
    row.append(element("label", {}, [element("span", { textContent: spec.label ?? name }), input, shown]));
  }
  const values = () => Object.fromEntries(Object.entries(inputs).map(([name, { input }]) =>
    [name, input.type === "checkbox" ? input.checked : input.type === "range" ? Number(input.value) : input.value]));
  const set = (name, value, most) => {
    if (most !== undefined) inputs[name].input.max = most;
    inputs[name].input.value = value;
    inputs[name].told();
  };
  return { row, values, set };
}

// A canvas of frames side by side that wrap to the page's width; `clicked` is called with the cell under a click.
function frames(size, draw, clicked, titles) {
  const [time, height, width] = size, box = element("div", { className: "sst-frames" });
  for (let t = 0; t < time; t++) {
    const scale = Math.max(6, Math.floor(280 / width));
    const canvas = element("canvas", { width: width * scale, height: height * scale });
    canvas.dataset.frame = t;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", titles[t]);
    draw(canvas.getContext("2d"), t, scale);
    canvas.addEventListener("click", (event) => {
      const shown = canvas.getBoundingClientRect();
      const inside = (share, length) => Math.min(length - 1, Math.max(0, Math.floor(share * length)));
      clicked([t, inside((event.clientY - shown.top) / shown.height, height),
        inside((event.clientX - shown.left) / shown.width, width)]);
    });
    box.append(element("figure", {}, [element("figcaption", { textContent: titles[t] }), canvas]));
  }
  return box;
}

const HOPS = ["#d55e00", "#08488e", "#3f8fd0", "#a8d1f0", "#dcecf8"];

// Pick a pattern, its radius, stride and causality, the size of the buffer, a number of hops and (click) a cell.
export function mountPatterns(el, start = {}) {
  const first = { stack: "Grid", hops: 2, radius: 2, stride: 3, causal: false, frames: 4, height: 7, width: 9, ...start };
  const range = (value, least, most, label) => ({ value, least, most, label });
  const panel = controls({
    stack: { value: first.stack, label: "pattern", options: Object.keys(STACKS).map((name) => [name, name]) },
    hops: range(first.hops, 1, 4), radius: range(first.radius, 0, 8), stride: range(first.stride, 1, 8),
    causal: { value: first.causal }, frames: range(first.frames, 1, 8), height: range(first.height, 1, 12),
    width: range(first.width, 1, 16),
  }, show);
  const said = element("p", { className: "sst-said" }), place = element("div");
  said.setAttribute("aria-live", "polite");
  let cell = first.cell ?? [1, 2, 3];
  function show() {
    const chosen = panel.values(), size = [chosen.frames, chosen.height, chosen.width];
    cell = cell.map((position, axis) => Math.min(position, size[axis] - 1));
    const stack = STACKS[chosen.stack], layers = Array.from({ length: chosen.hops }, (_, hop) => stack[hop % stack.length]);
    const reached = arrival(layers, chosen, cell, size);
    const cost = layers.reduce((sum, name) => sum + pairs(name, chosen, size), 0);
    said.textContent = `${chosen.stack}: from frame ${cell[0] + 1}, row ${cell[1] + 1}, column ${cell[2] + 1}, `
      + `${reached.filter((hop) => hop >= 0).length} of ${reached.length} cells in ${chosen.hops} `
      + `${chosen.hops > 1 ? "hops" : "hop"}, at ${cost.toLocaleString("en-US")} pairs`;
    el.dataset.state = JSON.stringify({ ...chosen, cell, reached, cost });
    place.replaceChildren(frames(size, (pen, t, scale) => {
      for (let y = 0; y < size[1]; y++) for (let x = 0; x < size[2]; x++) {
        const hop = reached[(t * size[1] + y) * size[2] + x];
        pen.fillStyle = hop < 0 ? "#e8eaee" : HOPS[hop];
        pen.fillRect(x * scale + 0.5, y * scale + 0.5, scale - 1, scale - 1);
        if (hop >= 0 && scale > 11) {
          pen.fillStyle = hop > 2 ? "#1f2933" : "#ffffff";
          pen.font = `${Math.min(13, scale * 0.5)}px sans-serif`;
          pen.fillText(hop, x * scale + scale / 2 - 3, y * scale + scale / 2 + 4);
        }
      }
    }, (clicked) => { cell = clicked; show(); }, Array.from({ length: size[0] }, (_, t) => `frame ${t + 1}`)));
  }
  el.classList.add("sst-explorer");
  el.replaceChildren(panel.row, said, place, element("p", { className: "sst-note",
    textContent: "Orange: the cell that you clicked. Numbers: the hop after which its content arrives; gray: never." }));
  show();
}

function bytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

// Recorded attention of a trained network (`recorded_attention` in Python): per query frame, layer, head and pattern the
// weights of every query of a coarse grid over its buffer, quantized to 8 bits by the square root of their share of the
// largest.
export function mountAttention(el, record) {
  const names = record.queries.map((query, index) => [String(index), `frame ${query.frame + 1}`]);
  const panel = controls({
    query: { value: String(record.start.query), label: "frame", options: names },
    layer: { value: "0", options: record.layers.map((name, index) => [String(index), `${index + 1}: ${name}`]) },
    pattern: { value: "0", options: record.patterns.map((name, index) => [String(index), name]) },
  }, show);
  const said = element("p", { className: "sst-said" }), place = element("div");
  said.setAttribute("aria-live", "polite");
  const [height, width] = record.cells, decoded = new Map();
  const pictures = record.frames.map((source) => Object.assign(new Image(), { src: source }));
  let cell = record.start.cell;
  function data(query, layer, pattern) {
    const key = [query, layer, pattern].join();
    if (!decoded.has(key)) {
      const part = record.queries[query].layers[layer][pattern];
      decoded.set(key, { weights: bytes(part.weights), largest: part.largest, affinity: part.affinity });
    }
    return decoded.get(key);
  }
  function show() {
    const { query, layer, pattern } = Object.fromEntries(
      Object.entries(panel.values()).map(([name, value]) => [name, Number(value)]));
    const asked = record.queries[query], part = data(query, layer, pattern), times = asked.times;
    const number = cell[0] * width + cell[1], keys = times.length * height * width;
    const share = part.weights.subarray(number * keys, (number + 1) * keys);
    const largest = part.largest[number], affinity = part.affinity[number];
    const weight = (key) => largest * (share[key] / 255) ** 2;
    said.textContent = `Row ${cell[0] + 1}, column ${cell[1] + 1} of frame ${asked.frame + 1}, layer ${layer + 1}, `
      + `${record.patterns[pattern]}: largest weight ${largest.toPrecision(2)}. Affinity (Eq. 4): `
      + record.objects.map((name, index) => `${name} ${affinity[index].toFixed(2)}`).join(", ");
    el.dataset.state = JSON.stringify({ query, layer, pattern, cell, largest, affinity,
      weights: Array.from(share, (_, key) => weight(key)) });
    place.replaceChildren(frames([times.length, height, width], (pen, slot, scale) => {
      const picture = pictures[times[slot]];
      const paint = () => {
        pen.globalAlpha = 1;
        pen.filter = "grayscale(1)";
        pen.drawImage(picture, 0, 0, width * scale, height * scale);
        pen.filter = "none";
        pen.fillStyle = "rgba(255,255,255,0.45)";
        pen.fillRect(0, 0, width * scale, height * scale);
        for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
          const heat = share[(slot * height + y) * width + x] / 255;
          if (heat === 0) continue;
          pen.fillStyle = `hsla(${55 - 55 * heat}, 95%, ${62 - 30 * heat}%, ${0.25 + 0.7 * heat})`;
          pen.fillRect(x * scale, y * scale, scale, scale);
        }
        if (times[slot] === asked.frame) {
          for (const [color, thickness] of [["#ffffff", 6], ["#d55e00", 3]]) {
            pen.strokeStyle = color;
            pen.lineWidth = thickness;
            pen.strokeRect(cell[1] * scale, cell[0] * scale, scale, scale);
          }
        }
      };
      if (picture.complete && picture.naturalWidth) paint(); else picture.addEventListener("load", paint, { once: true });
    }, ([slot, y, x]) => {
      const clicked = record.queries.findIndex((other) => other.frame === times[slot]);
      if (clicked >= 0) { cell = [y, x]; panel.set("query", String(clicked)); show(); }
    }, times.map((time) => `frame ${time + 1}${time === asked.frame ? " (asks)" : ""}`)));
  }
  el.classList.add("sst-explorer");
  el.replaceChildren(panel.row, said, place, element("p", { className: "sst-note",
    textContent: "Orange frame: the query; click any cell of a frame that asks. Darkest: the query's largest weight." }));
  show();
}
