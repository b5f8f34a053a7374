// Explorers in the browser. A widget in JupyterLab shows a picture and says where it was clicked (`render`); a page
// without a kernel computes patterns itself (`mountPatterns`) and shows recorded attention (`mountAttention`).
// Axes are (time, height, width) and a cell is [t, y, x] everywhere; people count from 1.

export function render({ model, el }) {
  const image = document.createElement("img");
  image.className = "sst-picker";
  image.draggable = false;
  // On a narrow screen the picture scrolls: shrunk, its words could not be read
  image.style.cssText = "display:block;max-width:max(100%,620px);cursor:crosshair;touch-action:manipulation;user-select:none";
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
  image.addEventListener("pointercancel", () => { stroke = null; });  // it scrolls
  model.on("change:picture", show);
  show();
  el.style.overflowX = "auto";
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

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Enter: [0, 0] };

// Frames side by side that wrap to the page's width; `clicked` is called with the cell under a click, or, by arrow keys
// on a frame, beside the chosen one.
function frames(size, draw, clicked, titles, chosen) {
  const [time, height, width] = size, box = element("div", { className: "sst-frames" });
  for (let t = 0; t < time; t++) {
    const scale = Math.max(6, Math.floor(280 / width));
    const canvas = element("canvas", { width: width * scale, height: height * scale });
    canvas.dataset.frame = t;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", `${titles[t]}; arrow keys move the cell`);
    canvas.toggleAttribute("data-chosen", t === chosen[0]);
    draw(canvas.getContext("2d"), t, scale);
    canvas.addEventListener("click", (event) => {
      const shown = canvas.getBoundingClientRect();
      const inside = (share, length) => Math.min(length - 1, Math.max(0, Math.floor(share * length)));
      clicked([t, inside((event.clientY - shown.top) / shown.height, height),
        inside((event.clientX - shown.left) / shown.width, width)]);
    });
    canvas.addEventListener("keydown", (event) => {
      const step = ARROWS[event.key], place = box.parentElement;
      if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      const beside = (position, by, length) => Math.min(length - 1, Math.max(0, position + by));
      clicked([t, beside(chosen[1], step[0], height), beside(chosen[2], step[1], width)]);
      if (!canvas.isConnected) place.querySelector("[data-chosen]").focus();  // what is drawn anew has lost it
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
    }, (clicked) => { cell = clicked; show(); }, Array.from({ length: size[0] }, (_, t) => `frame ${t + 1}`), cell));
  }
  el.classList.add("sst-explorer");
  el.replaceChildren(panel.row, said, place, element("p", { className: "sst-note",
    textContent: "Orange: the chosen cell; click another, or move it by arrow keys on a frame. Numbers: the hop after which its content arrives; gray: never." }));
  show();
}

function bytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

// Recorded attention of a trained network (`recorded_attention` in Python): what each layer's cells ask with and answer
// with, frame by frame, from which weights (Eq. 6), affinity (Eq. 4) and routes follow here for every pattern and head.
export class Recorded {
  constructor(record) {
    this.record = record;
    this.cells = record.cells[0] * record.cells[1];
    this.decoded = new Map();
  }

  // What all heads of all cells of a frame ask or answer with: (head, cell, number).
  stored(index) {
    if (!this.decoded.has(index)) this.decoded.set(index, new Float32Array(bytes(this.record.stored[index]).buffer));
    return this.decoded.get(index);
  }

  // Whether the key at a place of the buffer is connected to a query: by one of the pattern's products of three
  // relations, along time, rows and columns.
  connected(pattern, length, layer, [t, y, x]) {
    const products = this.record.relations[length][pattern === 0 ? `own ${layer}` : pattern], [height, width] = this.record.cells;
    const rows = products.map(([time, tall, wide]) => [time.slice(t * length), tall.slice(y * height), wide.slice(x * width)]);
    return (slot, row, column) => rows.some(([time, tall, wide]) => time[slot] === "1" && tall[row] === "1" && wide[column] === "1");
  }

  // Weights over the buffer and affinity to each object of the cell (slot, y, x); `head` -1 is the mean over all heads.
  look(query, layer, pattern, head, place) {
    const { times, layers, owners } = this.record.queries[query], { heads, scale, kind } = this.record, length = times.length;
    const part = layers[layer], [height, width] = this.record.cells, number = place[1] * width + place[2];
    const asks = this.stored(part.query[place[0] - (length - part.query.length)]), dim = asks.length / heads / this.cells;
    const weights = new Float64Array(length * this.cells), affinity = new Float64Array(this.record.objects.length);
    const chosen = head < 0 ? Array.from({ length: heads }, (_, h) => h) : [head], keys = part.key.map((index) => this.stored(index));
    const related = this.connected(pattern, length, layer, place), linked = [];
    for (let slot = 0, key = 0; slot < length; slot++) for (let y = 0; y < height; y++) for (let x = 0; x < width; x++, key++)
      if (related(slot, y, x)) linked.push(key);
    for (const h of chosen) {
      const q = asks.subarray((h * this.cells + number) * dim, (h * this.cells + number + 1) * dim);
      const scores = linked.map((key) => {
        const k = keys[Math.floor(key / this.cells)], from = (h * this.cells + (key % this.cells)) * dim;
        let dot = 0, apart = 0, own = 0, other = 0;
        for (let c = 0; c < dim; c++) {
          dot += q[c] * k[from + c];
          apart += (q[c] - k[from + c]) ** 2;
          own += q[c] ** 2;
          other += k[from + c] ** 2;
        }
        return { key, score: dot * scale, near: { distance: 2 / (1 + Math.exp(apart)), dot: dot * scale,
          cosine: dot / Math.max(Math.sqrt(own), 1e-30) / Math.max(Math.sqrt(other), 1e-30) }[kind] };
      });
      const most = Math.max(...scores.map(({ score }) => score));
      const sum = scores.reduce((total, { score }) => total + Math.exp(score - most), 0), best = affinity.map(() => 0);
      for (const { key, score, near } of scores) {
        const weight = Math.exp(score - most) / sum, slot = Math.floor(key / this.cells);
        weights[key] += weight / chosen.length;
        const owner = owners.length && slot < place[0] ? owners[key] : -1;
        if (owner >= 0) best[owner] = Math.max(best[owner], near ?? weight);
      }
      best.forEach((value, object) => { affinity[object] += value / chosen.length; });
    }
    return { weights, affinity: Array.from(affinity) };
  }

  // The strongest routes from a cell of a query's frame through all layers, the last first, to an object in the oldest
  // frame of the buffer: [weight, [[frame, y, x], ...]]. A route never grows heavier, so lighter ones are not followed.
  routes(query, cell, head, object, pattern, count) {
    const { queries, layers, causal } = this.record, [, width] = this.record.cells, current = queries[query];
    const oldest = current.times[0], strongest = [], memory = new Map();
    const owned = (y, x) => current.owners.length > 0 && current.times.length > 1 && current.owners[y * width + x] === object;
    const steps = (hop, [frame, y, x]) => {
      const key = [hop, frame, y, x].join();
      if (memory.has(key)) return memory.get(key);
      const asking = causal ? queries.findIndex((other) => other.frame === frame) : query, { times } = queries[asking];
      const { weights } = this.look(asking, layers.length - 1 - hop, pattern, head, [times.indexOf(frame), y, x]), next = [];
      weights.forEach((weight, at) => {
        const inside = at % this.cells, place = [times[Math.floor(at / this.cells)], Math.floor(inside / width), inside % width];
        const allowed = hop === layers.length - 1 ? place[0] === oldest && owned(place[1], place[2]) : place[0] >= oldest;
        if (allowed && weight > 0) next.push([weight, place]);
      });
      next.sort((a, b) => b[0] - a[0]);
      memory.set(key, next);
      return next;
    };
    const follow = (weight, stops) => {
      const hop = stops.length - 1;
      if (hop === layers.length) {
        strongest.push([weight, stops]);
        strongest.sort((a, b) => b[0] - a[0]);
        strongest.length = Math.min(strongest.length, count);
        return;
      }
      for (const [share, place] of steps(hop, stops[hop])) {
        if (strongest.length === count && weight * share <= strongest[count - 1][0]) break;
        follow(weight * share, [...stops, place]);
      }
    };
    follow(1, [[current.frame, ...cell]]);
    return strongest;
  }
}

const ROUTES = ["#d55e00", "#0072b2", "#009e73"];

export function mountAttention(el, record) {
  const recorded = new Recorded(record), [height, width] = record.cells;
  const choices = (names) => names.map((name, index) => [String(index), name]);
  const panel = controls({
    query: { value: String(record.start.query), label: "frame", options: choices(record.queries.map(({ frame }) => `frame ${frame + 1}`)) },
    layer: { value: "0", options: choices(record.layers.map((name, index) => `${index + 1}: ${name}`)) },
    head: { value: "-1", options: [["-1", "all (mean)"], ...Array.from({ length: record.heads }, (_, head) => [String(head), String(head + 1)])] },
    pattern: { value: "0", options: choices(record.patterns) },
    object: { value: String(Math.min(1, record.objects.length - 1)), label: "routes to", options: choices(record.objects) },
  }, show);
  const summary = element("p", { className: "sst-said" }), place = element("div"), beside = element("div", { className: "sst-beside" });
  summary.setAttribute("aria-live", "polite");
  const pictures = record.frames.map((source) => Object.assign(new Image(), { src: source }));
  let cell = record.start.cell;
  const spot = ([frame, y, x]) => `frame ${frame + 1}, row ${y + 1}, column ${x + 1}`;
  function show() {
    const { query, layer, head, pattern, object } = Object.fromEntries(
      Object.entries(panel.values()).map(([name, value]) => [name, Number(value)]));
    const asking = record.queries[query], { times } = asking, at = [times.length - 1, ...cell];
    const looks = record.patterns.map((_, index) => recorded.look(query, layer, index, head, at));
    const { weights, affinity } = looks[pattern], largest = Math.max(...weights);
    const routes = recorded.routes(query, cell, head, object, pattern, 3);
    summary.textContent = `Row ${cell[0] + 1}, column ${cell[1] + 1} of frame ${asking.frame + 1}, layer ${layer + 1}, `
      + `${head < 0 ? "mean of all heads" : `head ${head + 1}`}, ${record.patterns[pattern]}: largest weight ${largest.toPrecision(2)}`;
    el.dataset.state = JSON.stringify({ query, layer, head, pattern, object, cell, affinity, routes, weights: Array.from(weights),
      affinities: looks.map((look) => look.affinity) });
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
          const heat = Math.sqrt(weights[(slot * height + y) * width + x] / largest);
          if (heat === 0) continue;
          pen.fillStyle = `hsla(${55 - 55 * heat}, 95%, ${62 - 30 * heat}%, ${0.25 + 0.7 * heat})`;
          pen.fillRect(x * scale, y * scale, scale, scale);
        }
        if (times[slot] === asking.frame) outline(pen, cell, scale);
        [...routes].reverse().forEach(([, stops], index) => stops.forEach(([frame, y, x], hop) => {
          if (hop && frame === times[slot]) dot(pen, [y, x], scale, ROUTES[routes.length - 1 - index], hop);
        }));
      };
      if (picture.complete && picture.naturalWidth) paint(); else picture.addEventListener("load", paint, { once: true });
    }, ([slot, y, x]) => {
      const clicked = record.queries.findIndex((other) => other.frame === times[slot]);
      if (clicked >= 0) { cell = [y, x]; panel.set("query", String(clicked)); show(); }
    }, times.map((time) => `frame ${time + 1}${time === asking.frame ? " (asks)" : ""}`), at));
    const row = (tag, words) => element("tr", {}, words.map((word) => element(tag, { textContent: word })));
    const table = element("table", {}, [element("caption", { textContent: "Affinity (Eq. 4) under each pattern" }), row("th", ["", ...record.objects]),
      ...looks.map((look, index) => row("td", [record.patterns[index], ...look.affinity.map((value) => value.toFixed(2))]))]);
    table.rows[pattern + 1].className = "sst-chosen";
    const list = element("ol", {}, routes.map(([weight, stops], index) => {
      const entry = element("li", { textContent: `weight ${weight.toPrecision(2)}: ${stops.map(spot).join(" → ")}` });
      entry.style.setProperty("--route", ROUTES[index]);
      return entry;
    }));
    beside.replaceChildren(table, element("div", {}, [element("p", { textContent: routes.length
      ? `Strongest routes over ${record.layers.length} hops to ${record.objects[object]} in frame ${times[0] + 1}, of this pattern and head`
      : `No route leads to ${record.objects[object]} in frame ${times[0] + 1}` }), list]));
  }
  el.classList.add("sst-explorer");
  el.replaceChildren(panel.row, summary, place, beside, element("p", { className: "sst-note",
    textContent: "Orange frame: the query; click any cell to make it the query, or move it by arrow keys on a frame. Darkest: the query's largest weight. "
      + "Dots: the stops of the strongest routes, by their hop, in the colors of the list." }));
  show();
}

function outline(pen, [y, x], scale) {
  for (const [color, thickness] of [["#ffffff", 6], ["#d55e00", 3]]) {
    pen.strokeStyle = color;
    pen.lineWidth = thickness;
    pen.strokeRect(x * scale, y * scale, scale, scale);
  }
}

function dot(pen, [y, x], scale, color, hop) {
  pen.beginPath();
  pen.arc((x + 0.5) * scale, (y + 0.5) * scale, Math.max(7, 0.42 * scale), 0, 2 * Math.PI);
  pen.fillStyle = color;
  pen.fill();
  pen.strokeStyle = "#ffffff";
  pen.lineWidth = 2;
  pen.stroke();
  pen.fillStyle = "#ffffff";
  pen.font = "bold 11px sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(hop, (x + 0.5) * scale, (y + 0.5) * scale + 0.5);
}
