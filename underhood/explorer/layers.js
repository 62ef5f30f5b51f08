// The layers of the network as sections of the page: their maps, and below them the arithmetic of one unit.

const ABOUT_LAYER = {
  normalize: ({ mean, std }) => ["Normalise", `Each pixel minus the mean of all training pixels, divided by their standard deviation: numbers around 0 are easier to learn from.${mean ? ` Black becomes ${say(-mean[0] / std[0])}, the mean grey 0, and white ${say((255 - mean[0]) / std[0])}.` : ""}`],
  conv2d: ({ weightShape: [maps, inputs, high, wide], stride }) => [`Convolution with ${high} × ${wide} kernels`,
    `A kernel is a small table of weights that slides over the layer above. Where a patch looks like the kernel, the sum of their products is large. ${maps} maps, each with ${inputs === 1 ? "a kernel of its own" : `a kernel for each of the ${inputs} maps above`}.${stride[0] > 1 ? ` The kernel moves ${stride[0]} pixels at a time.` : ""}`],
  maxPool: ({ kernel: [high, wide] }) => [`Pooling: the largest of ${high} × ${wide}`, "Only the largest number of each window stays: what was found matters more than exactly where."],
  averagePool: ({ kernel: [high, wide] }) => [`Pooling: the mean of ${high} × ${wide}`, "The mean of each window stays."],
  batchNorm: () => ["Batch normalisation", "Each map is shifted and scaled so that over the training images its mean is 0 and its standard deviation 1; then it is multiplied by one learned number, and another is added."],
  relu: () => ["ReLU", "What is below 0 becomes 0. Without such a bend, all layers together could do no more than a single linear layer."],
  flatten: (layer, inputs) => ["All numbers in one row", inputs[0] > 3 ? "Map after map, row after row: the next layer has a weight for each of these numbers." : "Row after row: the next layer has a weight for each of these numbers."],
  linear: ({ weightShape: [outputs] }, inputs, last) => [last ? "Linear layer: a number for each class" : `Linear layer: ${outputs} hidden units`,
    `${last ? "Each class" : "Each unit"} has a weight for each input, shown as an image. Inputs times weights, added up, plus a bias, ${last ? "is the logit of the class: the higher, the more this class" : "is the unit's number"}.`],
};

// A section for each layer, and one for softmax. shapes: of the pixels, and of each layer's output
function makeLayerViews(layers, shapes, classes) {
  const views = layers.map((layer, i) => new LayerView(layers, i, shapes, i === layers.length - 1 ? classes : null));
  const links = views.map((view) => el("a", { href: "#" + view.section.id }, view.name, el("small", {}, view.size)));
  const end = el("a", { href: "#softmax" }, "Softmax", el("small", {}, plural(classes.length, "probability").replace("ys", "ies")));
  $("overview").replaceChildren(...[...links, end].flatMap((link, i) => (i ? [el("span", { "aria-hidden": true }, "→"), link] : [link])));
  const last = el("section", { className: "layer", id: "softmax", "aria-labelledby": "softmaxtitle" },
    el("h3", { id: "softmaxtitle" }, "Softmax: from logits to probabilities"),
    el("p", { className: "what" }, "e (2.718…) to the power of each logit, divided by the sum of all of them: positive numbers that add up to 1."),
    el("p", { className: "what", id: "temperaturetext" }),
    el("div", { id: "softmaxsum" }));
  $("layerlist").replaceChildren(...views.map((view) => view.section), last);
  return views;
}

const sizeText = (shape) => (shape.length === 1 ? plural(shape[0], "number") : shape[0] === 1 ? `${shape[2]} × ${shape[1]}` : `${shape[0]} maps of ${shape[2]} × ${shape[1]}`);

const SLIDE = "Watch it slide over the image";

class LayerView {
  // shapes: of the pixels, and of each layer's output; classes: their names, of the last layer
  constructor(layers, index, shapes, classes) {
    const layer = layers[index], shape = shapes[index + 1];
    const [title, text] = ABOUT_LAYER[layer.type](layer, shapes[index], !!classes);
    Object.assign(this, { index, type: layer.type, classes, title, name: title.split(":")[0], size: sizeText(shape), shape });
    // of a linear layer: how its inputs lie in the layer that they are from
    this.inputMaps = { shape: shapes[layers[index - 1]?.type === "flatten" ? index - 1 : index] };
    this.isRow = shape.length === 1 && this.type !== "linear";  // numbers without a place in an image
    this.names = this.type === "normalize" && shape[0] === 3 ? ["red", "green", "blue"] : null;  // under the maps
    this.unit = null;  // { map, row, column } once somebody has chosen one; until then the strongest
    this.channel = undefined;  // the input map whose numbers are shown; until one is chosen, the strongest
    this.canvas = el("canvas", { className: "maps", tabIndex: 0, role: "img" });
    this.legend = el("p", { className: "legend" });
    this.slider = el("button", { type: "button", className: "slide" }, SLIDE);
    this.slider.hidden = !["conv2d", "maxPool", "averagePool"].includes(this.type);
    this.sliding = null;  // the timer of a kernel that moves over the map
    this.sum = el("div", { className: "sum" });
    const id = `layer${index}`, heading = el("h3", { id: id + "title" }, `${index + 1} · ${title}`, el("span", {}, this.size));
    this.section = el("section", { className: "layer", id, "aria-labelledby": id + "title" },
      heading, el("p", { className: "what" }, text), this.canvas, el("div", { className: "under" }, this.legend, this.slider), this.sum);
    this.listen();
  }

  listen() {
    const choose = (event) => {
      const unit = this.unitAt(event.offsetX, event.offsetY);
      if (unit && JSON.stringify(unit) !== JSON.stringify(this.unit)) { this.stopSliding(); this.choose(unit); }
    };
    this.canvas.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") choose(event); });
    this.canvas.addEventListener("pointerdown", choose);
    this.canvas.addEventListener("keydown", (event) => {
      const unit = this.moved(event.key);
      if (unit) { event.preventDefault(); this.stopSliding(); this.choose(unit); }
    });
    this.slider.addEventListener("click", () => (this.sliding ? this.stopSliding() : this.slide()));
    this.canvas.addEventListener("focus", () => this.sum.setAttribute("aria-live", "polite"));
    this.canvas.addEventListener("blur", () => this.sum.removeAttribute("aria-live"));
  }

  choose(unit) { this.unit = unit; this.draw(); this.renderSum(); }

  // Move over the chosen map, row by row, and let it appear
  slide() {
    const [, height, width] = this.shape, { map } = this.current();
    let place = 0;
    this.slider.textContent = "Stop";
    const move = () => {
      if (place === height * width) { this.stopSliding(); return; }
      this.choose({ map, row: Math.floor(place / width), column: place % width });
      place++;
    };
    this.sliding = setInterval(move, Math.max(40, Math.min(200, 20000 / (height * width))));
    move();
  }

  stopSliding() {
    if (!this.sliding) return;
    clearInterval(this.sliding);
    this.sliding = null;
    this.slider.textContent = SLIDE;
    this.draw();
  }

  // While the kernel moves, what it has not reached yet is hidden
  hideUnreached(context, left, top, { row, column }) {
    const { cellX, cellY, width, height } = this.grid;
    context.fillStyle = colour("--card");
    context.fillRect(left + (column + 1) * cellX, top + row * cellY, width - (column + 1) * cellX, cellY);
    context.fillRect(left, top + (row + 1) * cellY, width, height - (row + 1) * cellY);
  }

  // The unit that a key leads to: the arrow keys within a map, Page Up and Page Down from map to map
  moved(key) {
    const by = { ArrowLeft: [0, 0, -1], ArrowRight: [0, 0, 1], ArrowUp: [0, -1, 0], ArrowDown: [0, 1, 0], PageUp: [-1, 0, 0], PageDown: [1, 0, 0] }[key];
    if (!by) return null;
    const { map, row, column } = this.current(), within = (value, length) => Math.max(0, Math.min(length - 1, value));
    if (this.shape.length === 3) return { map: within(map + by[0], this.shape[0]), row: within(row + by[1], this.shape[1]), column: within(column + by[2], this.shape[2]) };
    const line = this.isRow ? this.grid.layout.width : this.grid.columns;
    return { map: within(map + by[0] + by[1] * line + by[2], this.shape[0]) };
  }

  // The chosen unit, or the one with the largest number
  current() {
    if (this.unit) return this.unit;
    const { data } = this.out;
    let best = 0;
    for (let i = 1; i < data.length; i++) if (data[i] > data[best]) best = i;
    if (this.shape.length === 1) return { map: best };
    const [, height, width] = this.shape;
    return { map: Math.floor(best / (height * width)), row: Math.floor(best / width) % height, column: best % width };
  }

  // layer, x, out: the layer with its weights of now, its input and its output
  render(layer, x, out) {
    Object.assign(this, { layer, x, out });
    this.draw();
    this.renderSum();
  }

  // What is shown as tiles: of a linear layer the weights of each unit, else the maps
  tiles() {
    if (this.type === "linear") return { values: this.layer.weight, layout: blocksOf(this.inputMaps.shape), count: this.shape[0] };
    return { values: this.out.data, layout: blocksOf([1, ...this.shape.slice(1)]), count: this.shape[0] };
  }

  // How numbers without a place in an image are shown: side by side, on as many lines as they need
  arrangeRow(room) {
    const [length] = this.shape, cellX = Math.max(1.5, Math.min(32, Math.floor(2 * room / length) / 2)), perLine = Math.min(length, Math.floor(room / cellX));
    const layout = { width: perLine, height: Math.ceil(length / perLine), places: Int32Array.from({ length }, (_, i) => i) }, cellY = layout.height > 4 ? 16 : 36;
    return { columns: 1, gap: 0, caption: 0, layout, cellX, cellY, width: cellX * perLine, height: cellY * layout.height, stepX: cellX * perLine, stepY: cellY * layout.height };
  }

  // How tiles are arranged: columns, and sizes in CSS pixels
  arrange(layout, many, room) {
    const gap = 8, caption = this.names || this.type === "linear" ? 26 : 0, ratio = devicePixelRatio || 1;
    const wide = textScale() * (many === 1 ? 260 : many <= 3 ? 200 : many <= 16 ? 140 : many <= 32 ? 112 : 88) * Math.max(1, Math.min(2, layout.width / layout.height));
    const fit = Math.floor((room + gap) / (Math.min(wide * 0.75, (room - 3 * gap) / Math.min(4, many)) + gap));
    const columns = Math.ceil(many / Math.ceil(many / Math.max(1, fit)));  // rows of equal length, as far as they can be
    const most = Math.min(wide, (room - (columns - 1) * gap) / columns);
    const exact = most / Math.max(layout.width, layout.height), cell = exact * ratio > 1 ? Math.floor(exact * ratio) / ratio : exact;  // whole pixels of the screen
    const width = cell * layout.width, height = cell * layout.height;
    return { columns, gap, caption, layout, cellX: cell, cellY: cell, width, height, stepX: Math.max(width, caption ? Math.min(most, 80) : 0) + gap, stepY: height + caption + gap };
  }

  draw() {
    const { values, layout: tile, count } = this.isRow ? { values: this.out.data, count: 1 } : this.tiles(), room = Math.max(200, this.section.clientWidth - 2 * parseFloat(getComputedStyle(this.section).paddingLeft) - 2);
    const grid = this.grid = this.isRow ? this.arrangeRow(room) : this.arrange(tile, count, room), { layout } = grid, size = layout.places.length, most = largest(values) || 1;
    const rows = Math.ceil(count / grid.columns);
    const context = sized(this.canvas, grid.columns * grid.stepX - grid.gap + 2, rows * grid.stepY - grid.gap + 2);
    const current = this.current(), strongest = this.type === "linear" ? largest(this.out.data) || 1 : 0;
    context.imageSmoothingEnabled = grid.cellX * (devicePixelRatio || 1) < 1;
    for (let i = 0; i < count; i++) {
      const left = 1 + (i % grid.columns) * grid.stepX, top = 1 + Math.floor(i / grid.columns) * grid.stepY;
      context.drawImage(signedOnScratch(values, layout, most, i * size), left, top, grid.width, grid.height);
      if (this.isRow) continue;
      const chosen = current.map === i;
      if (chosen && this.sliding) this.hideUnreached(context, left, top, current);
      context.strokeStyle = colour(chosen ? "--bar" : "--line"); context.lineWidth = chosen ? 2 : 1;
      context.strokeRect(left - 0.5, top - 0.5, grid.width + 1, grid.height + 1);
      if (this.type === "linear") this.label(context, i, left, top + grid.height, strongest);
      else if (this.names) this.write(context, this.names[i], left, top + grid.height);
    }
    if (this.type !== "linear") this.mark(context, current);
    this.canvas.setAttribute("aria-label", `${this.title}: ${this.size}. With the arrow keys${this.shape.length === 3 ? ", Page Up and Page Down" : ""} you choose a number, whose arithmetic is below.`);
    this.renderLegend(most);
  }

  // Under a unit of a linear layer: its class, and its number as a bar
  label(context, i, left, top, strongest) {
    const value = this.out.data[i], width = this.grid.stepX - this.grid.gap;
    context.fillStyle = tint(value / strongest);
    context.fillRect(left, top + 4, Math.max(2, width * Math.abs(value) / strongest), 20);
    this.write(context, this.classes ? `${this.classes[i]}  ${say(value, 1)}` : say(value, 1), left + 3, top);
  }

  write(context, text, left, top) {
    context.fillStyle = colour("--ink"); context.font = "600 14px system-ui, sans-serif";
    context.fillText(text, left, top + 19, this.grid.stepX - this.grid.gap - 4);
  }

  // A frame around the chosen number
  mark(context, { map, row, column }) {
    const { cellX, cellY, columns, stepX, stepY, layout: { width: wide } } = this.grid;
    const left = 1 + (this.isRow ? (map % wide) * cellX : (map % columns) * stepX + column * cellX);
    const top = 1 + (this.isRow ? Math.floor(map / wide) * cellY : Math.floor(map / columns) * stepY + row * cellY);
    context.strokeStyle = colour("--ink"); context.lineWidth = 2;
    const growX = Math.max(1.5, (9 - cellX) / 2), growY = this.isRow ? 0 : Math.max(1.5, (9 - cellY) / 2);
    context.strokeRect(left - growX, top - growY, cellX + 2 * growX, cellY + 2 * growY);
  }

  unitAt(x, y) {
    const { cellX, cellY, columns, stepX, stepY, width, height, caption, layout } = this.grid;
    if (this.isRow) {
      const map = Math.floor((y - 1) / cellY) * layout.width + Math.floor((x - 1) / cellX);
      return map >= 0 && map < this.shape[0] && x >= 1 && x < 1 + width ? { map } : null;
    }
    const column = Math.floor((x - 1) / stepX), row = Math.floor((y - 1) / stepY), map = row * columns + column;
    const inX = x - 1 - column * stepX, inY = y - 1 - row * stepY;
    if (column < 0 || column >= columns || row < 0 || map >= this.shape[0]) return null;
    if (this.type === "linear") return inY < height + caption ? { map } : null;
    return inX >= 0 && inX < width && inY >= 0 && inY < height ? { map, row: Math.floor(inY / cellY), column: Math.floor(inX / cellX) } : null;
  }

  renderLegend(most) {
    const bar = el("i", { "aria-hidden": true }), ends = [-1, -0.5, 0, 0.5, 1].map((share) => `rgb(${shade(share).join()})`);
    bar.style.background = `linear-gradient(90deg, ${ends.join()})`;
    const range = this.type === "linear" ? "weights" : `least ${say(this.out.data.reduce((a, b) => Math.min(a, b)))}, most ${say(this.out.data.reduce((a, b) => Math.max(a, b)))}`;
    this.legend.replaceChildren(`−${say(most)}`, bar, `+${say(most)}`, el("span", {}, range));
  }

  renderSum() {
    const unit = this.current(), heading = el("h4", {}, this.unitName(unit));
    refill(this.sum, heading, ...ARITHMETIC[this.type](this, this.layer, this.x, this.out, unit));
  }

  unitName({ map, row, column }) {
    if (this.classes) return `The logit of ${this.classes[map]}`;
    if (this.type === "linear") return `Unit ${map + 1}`;
    if (this.isRow) return `Number ${count(map + 1)}`;
    const which = this.shape[0] === 1 ? "" : `${mapName(this.out, map)}, `, text = `${which}row ${row + 1}, column ${column + 1}`;
    return text[0].toUpperCase() + text.slice(1);
  }
}
