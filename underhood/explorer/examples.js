// The run's own images: confusion matrix, class means, nearest training images. And the gradient, turned round.

// Many images in a few PNGs. shape: of each, [c, h, w]
class Sprites {
  constructor(sprites, shape) {
    this.shape = shape;
    this.parts = sprites.filter((one) => one.count);
    this.length = this.parts.reduce((sum, one) => sum + one.count, 0);
  }

  async load() {
    for (const part of this.parts) {
      const image = el("img", { src: part.address });
      await image.decode();
      part.context = el("canvas", { width: image.width, height: image.height }).getContext("2d", { willReadFrequently: true });
      part.context.drawImage(image, 0, 0);
    }
    return this;
  }

  // The pixels of one image: a tensor [c, h, w], 0 to 255
  pixels(i) {
    const part = this.parts.find((one) => i < one.count || ((i -= one.count), false));
    const [channels, height, width] = this.shape, out = tensor(this.shape), area = height * width;
    const left = (i % part.columns) * width, top = Math.floor(i / part.columns) * height;
    const { data } = part.context.getImageData(left, top, width, height);
    for (let at = 0; at < area; at++) for (let c = 0; c < channels; c++) out.data[c * area + at] = data[4 * at + c];
    return out;
  }
}

// An image as a button that puts it into the page. caption: elements or texts
function thumb(pixels, side, label, onChoose, ...caption) {
  const canvas = paintImage(document.createElement("canvas"), imageOf(pixels), side * textScale());
  const button = el("button", { type: "button", className: "thumb", "aria-label": label }, canvas, ...caption);
  button.addEventListener("click", () => onChoose(pixels));
  return button;
}

// --- confusion matrix

const MAX_MATRIX = 40;  // classes; of more, the pairs that are confused most often are listed

// counts: [label, predicted, images] of each cell that has some; rows: [label, predicted, probability] of each of the
// images; onChoose gets the pixels of one
function showMatrix({ counts, rows }, images, classes, onChoose) {
  const sum = (cells) => cells.reduce((all, [, , number]) => all + number, 0), wrong = counts.filter(([label, predicted]) => label !== predicted);
  const all = sum(counts), missed = sum(wrong), cells = new Map();
  $("matrixtext").textContent = `All ${count(all)} validation images, which the network was not trained on: ${classes.length <= MAX_MATRIX ? "each row is a class, each column what was predicted" : "the pairs of classes that it confused most often"}. ${count(all - missed)} ${classes.length <= MAX_MATRIX ? "are on the diagonal, which is right" : "were right"}; ${plural(missed, "other")} ${missed === 1 ? "was" : "were"} not. Choose a cell to see its images, and an image to see it inside the network.`;
  const choose = (label, predicted, number) => {
    for (const [key, button] of cells) button.setAttribute("aria-pressed", key === `${label},${predicted}`);
    showCell(number, rows, images, label, predicted, classes, onChoose);
  };
  const cell = (label, predicted, number, share) => {
    const name = `${number} of ${classes[label]} predicted as ${classes[predicted]}`;
    const button = el("button", { type: "button", "aria-pressed": false, "aria-label": name }, number ? count(number) : "·");
    const paint = () => { button.style.background = number ? tint(share) : ""; };
    paint(); onTheme(paint);
    for (const event of ["click", "focus"]) button.addEventListener(event, () => choose(label, predicted, number));
    cells.set(`${label},${predicted}`, button);
    return el("td", {}, button);
  };
  wrong.sort((a, b) => b[2] - a[2]);
  const table = classes.length <= MAX_MATRIX ? wholeMatrix(counts, wrong, classes, cell) : confusedPairs(wrong, classes, cell);
  $("matrixtable").replaceChildren(...table);
  const [label, predicted, number] = wrong[0] || counts[0];
  if (cells.size) choose(label, predicted, number);
}

function wholeMatrix(counts, wrong, classes, cell) {
  const numbers = new Map(counts.map(([label, predicted, number]) => [`${label},${predicted}`, number]));
  const totals = classes.map((_, label) => counts.reduce((all, [of, , number]) => all + (of === label ? number : 0), 0) || 1);
  const head = el("tr", {}, el("th", { scope: "col" }, "label"), ...classes.map((name) => el("th", { scope: "col" }, name)));
  const body = classes.map((name, label) => el("tr", {}, el("th", { scope: "row" }, name), ...classes.map((_, predicted) => {
    const number = numbers.get(`${label},${predicted}`) || 0;
    return cell(label, predicted, number, label === predicted ? number / totals[label] : -Math.sqrt(number / wrong[0]?.[2]));
  })));
  return [el("thead", {}, head), el("tbody", {}, ...body)];
}

function confusedPairs(wrong, classes, cell) {
  const head = el("tr", {}, ...["label", "predicted", "images"].map((name) => el("th", { scope: "col" }, name)));
  const body = wrong.slice(0, MAX_MATRIX).map(([label, predicted, number]) => el("tr", {}, el("th", { scope: "row" }, classes[label]),
    el("th", { scope: "row" }, classes[predicted]), cell(label, predicted, number, -Math.sqrt(number / wrong[0][2]))));
  return [el("thead", {}, head), el("tbody", {}, ...body)];
}

function showCell(number, rows, images, label, predicted, classes, onChoose) {
  const found = rows.flatMap((row, i) => (row[0] === label && row[1] === predicted ? [i] : [])).slice(0, 60);
  const what = label === predicted ? `${classes[label]}, predicted correctly` : `${classes[label]}, predicted as ${classes[predicted]}`;
  $("celltext").textContent = `${what}: ${plural(number, "image")}${found.length < number ? `, of which ${count(found.length)} ${found.length === 1 ? "is" : "are"} here` : ""}.`;
  $("cellimages").replaceChildren(...found.map((i) => {
    const probability = percent(rows[i][2]);
    return thumb(images.pixels(i), 64, `Image of ${classes[label]}, predicted as ${classes[predicted]} with ${probability}`, onChoose, probability);
  }));
}

// --- class means, and the nearest training images

const MAX_MEANS = 20;  // that are shown; of more classes, the nearest

function showMeans(images, pixels, classes, onChoose) {
  const distances = classes.map((_, i) => images.pixels(i).data.reduce((sum, value, k) => sum + ((value - pixels.data[k]) / 255) ** 2, 0) / pixels.data.length);
  const nearest = distances.indexOf(Math.min(...distances));
  const order = classes.length <= MAX_MEANS ? [...classes.keys()] : [...classes.keys()].sort((a, b) => distances[a] - distances[b]).slice(0, MAX_MEANS);
  refill($("means"), ...order.map((i) => {
    const name = classes[i], button = thumb(images.pixels(i), 84, `The mean of class ${name}, distance ${say(distances[i], 4)}`, onChoose, el("b", {}, name), el("br"), say(distances[i], 4));
    button.setAttribute("aria-current", i === nearest);
    return button;
  }));
}

// What the last layer gets: the network's own description of an image
function featuresOf(layers, pixels) {
  return forward(layers.slice(0, -1), pixels).at(-1).data;
}

// The training images in order of the distance of their features from those of an image
class Neighbours {
  constructor(images, labels, layers) { Object.assign(this, { images, labels, layers, features: [] }); }

  get ready() { return this.features.length === this.images.length; }

  // The features of all images, while the page has nothing else to do. onProgress is called now and then
  start(onProgress) {
    if (this.started) return;
    this.started = true;
    const idle = window.requestIdleCallback || ((work) => setTimeout(() => work({ timeRemaining: () => 12 }), 30));
    const work = (deadline) => {
      do this.features.push(featuresOf(this.layers, this.images.pixels(this.features.length)));
      while (!this.ready && deadline.timeRemaining() > 4);
      if (!this.ready) idle(work, { timeout: 200 });
      if (this.ready || performance.now() - (this.said || 0) > 500) { this.said = performance.now(); onProgress(); }
    };
    if (!this.ready) idle(work, { timeout: 200 });
  }

  // [{ index, distance }] of the nearest
  nearest(pixels, number) {
    const own = featuresOf(this.layers, pixels);
    const found = this.features.map((features, index) => {
      let sum = 0;
      for (let i = 0; i < own.length; i++) sum += (features[i] - own[i]) ** 2;
      return { index, distance: Math.sqrt(sum) };
    });
    return found.sort((a, b) => a.distance - b.distance).slice(0, number);
  }

  show(pixels, classes, onChoose) {
    const { images, labels } = this, done = this.features.length;
    if (!this.ready) { $("nearest").replaceChildren(el("p", { className: "soft" }, `Looking at training images: ${count(done)} of ${count(images.length)} …`)); return; }
    refill($("nearest"), ...this.nearest(pixels, 10).map(({ index, distance }) => thumb(
      images.pixels(index), 84, `Training image of ${classes[labels[index]]}, distance ${say(distance)}`, onChoose, el("b", {}, classes[labels[index]]), el("br"), say(distance))));
  }
}

// --- the gradient, turned round

// The sums over an image's channels: a number for each pixel
function overChannels({ shape: [channels, height, width], data }) {
  return data.slice(0, height * width).map((_, i) => {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += data[c * height * width + i];
    return sum;
  });
}

class Round {
  // current(): { layers, mirrored, temperature, pixels, probabilities } of the page
  constructor(classes, current) {
    Object.assign(this, { classes, current, start: null, pixels: null, steps: 0 });
    $("target").replaceChildren(...classes.map((name, i) => el("option", { value: i }, name)));
    $("onestep").addEventListener("click", () => this.step(1));
    $("tensteps").addEventListener("click", () => this.step(10));
    $("resetround").addEventListener("click", () => this.reset());
    $("target").addEventListener("change", () => this.show());
  }

  // Begin with the page's image. The target is the second most probable class, if none is chosen
  reset() {
    const { pixels, probabilities } = this.current();
    this.start = pixels; this.pixels = pixels; this.steps = 0;
    const best = probabilities.indexOf(Math.max(...probabilities));
    if (Number($("target").value) === best) $("target").value = this.likeliest(probabilities, best);
    this.show();
  }

  likeliest(probabilities, except) {
    return probabilities.reduce((best, probability, i) => (i !== except && (best < 0 || probability > probabilities[best]) ? i : best), -1);
  }

  // Steps against the gradient of the target's loss: each pixel by at most ``amount`` levels
  step(times) {
    const { layers, mirrored } = this.current(), amount = Number($("amount").value), plain = $("manner").value === "plain";
    for (let i = 0; i < times; i++) {
      const gradient = lossGradient(layers, this.pixels, Number($("target").value), mirrored).data, most = largest(gradient) || 1;
      const data = this.pixels.data.map((value, k) => value - amount * (plain ? gradient[k] / most : Math.sign(gradient[k])));
      this.pixels = tensor(this.pixels.shape, data.map((value) => Math.max(0, Math.min(255, value))));
      this.steps++;
    }
    this.show();
  }

  show() {
    const { layers, mirrored, temperature } = this.current(), target = Number($("target").value);
    const [before, now] = [this.start, this.pixels].map((pixels) => softmax(logitsOf(layers, pixels, mirrored), temperature)), difference = this.pixels.data.map((value, i) => value - this.start.data[i]), added = overChannels(tensor(this.pixels.shape, difference));
    const gradient = overChannels(lossGradient(layers, this.pixels, target, mirrored)).map((value) => -value), layout = blocksOf([1, ...this.pixels.shape.slice(1)]);
    const side = Math.min(152 * textScale(), (innerWidth - 56) / 2);
    const figure = (paint, caption) => { const canvas = document.createElement("canvas"); paint(canvas); const made = el("figure", {}, canvas, el("figcaption", {}, caption)); made.style.width = side + "px"; return made; };
    $("roundimages").replaceChildren(
      figure((canvas) => paintImage(canvas, imageOf(this.start), side), "the image"),
      figure((canvas) => paintSigned(canvas, gradient, layout, side, largest(gradient) || 1), `where ${this.classes[target]} wants brighter pixels (blue) or darker ones (orange)`),
      figure((canvas) => paintSigned(canvas, added, layout, side, largest(added) || 1), `what was added: at most ${say(largest(difference), 0)} of 255 levels`),
      figure((canvas) => paintImage(canvas, imageOf(this.pixels), side), "the image now"));
    const best = now.indexOf(Math.max(...now));
    $("roundtext").textContent = this.steps
      ? `After ${plural(this.steps, "step")}: ${this.classes[best]}, ${percent(now[best])}. ${this.classes[target]}: ${percent(before[target])} before, ${percent(now[target])} now.`
      : `No step yet: ${this.classes[best]}, ${percent(now[best])}.`;
    showBars($("roundbars"), this.classes, now, target);
  }
}
