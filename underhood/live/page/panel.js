// The panel: draws what the events of a training say. The live page, `replay` and the notebook widget share it.
// Events: start, curve, epochs, images, frame, as view.py emits them; marks, steps in the curves; zoom, to the last ones.
"use strict";

function element(name, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "circle"].includes(name);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter(child => child !== null && child !== undefined));
  return made;
}

function setText(node, text) { if (node.textContent !== text) node.textContent = text; }
function percent(value, digits = 1) { return `${(100 * value).toFixed(digits)} %`; }
function short(value) { return value === 0 ? "0" : Math.abs(value) >= 1e5 || Math.abs(value) < 1e-6 ? value.toExponential(1) : (+value.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 }); }
function grouped(value) { return Math.round(value).toLocaleString("en"); }

// ---- numbers as images -------------------------------------------------------------------------------------------

function unpack(packed) {  // bytes from −127 to 127, the shape, and the largest absolute value
  const text = atob(packed.data), bytes = new Int8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return { bytes, shape: packed.shape, max: packed.max };
}

// Blue is above 0, orange below, the paper's colour is 0; a brighter colour is a larger number.
function colourOf(value, dark) {
  const strength = Math.min(1, Math.abs(value) / 127), paper = dark ? [27, 33, 41] : [255, 255, 255];
  const ink = value >= 0 ? (dark ? [120, 190, 255] : [20, 84, 160]) : (dark ? [255, 178, 84] : [196, 92, 0]);
  return paper.map((base, i) => Math.round(base + (ink[i] - base) * Math.sqrt(strength)));
}

function drawMap(canvas, bytes, start, channels, height, width, dark) {
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const context = canvas.getContext("2d"), image = context.createImageData(width, height), size = height * width;
  for (let i = 0; i < size; i++) {
    const colour = channels === 3
      ? [0, 1, 2].map(c => 128 + bytes[start + c * size + i]) : colourOf(bytes[start + i], dark);
    image.data.set([...colour, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

function drawMaps(box, packed, side) {  // packed: [maps, h, w] or [maps, c, h, w]; side: of a map on the page, in pixels
  const { bytes, shape } = unpack(packed), [count, ...rest] = shape;
  const [channels, height, width] = rest.length === 3 ? rest : [1, ...rest], dark = isDark(box);
  while (box.children.length > count) box.lastChild.remove();
  while (box.children.length < count) box.append(element("canvas", { "aria-hidden": "true", "data-unit": box.children.length, title: `unit ${box.children.length + 1}` }));
  [...box.children].forEach((canvas, i) => {
    drawMap(canvas, bytes, i * channels * height * width, channels, height, width, dark);
    canvas.style.width = `${Math.round(side * Math.min(1, width / height))}px`;
    canvas.style.height = `${Math.round(side * Math.min(1, height / width))}px`;
  });
}

function isDark(node) {
  const colour = getComputedStyle(node).color.match(/\d+/g) || [0, 0, 0];
  return Number(colour[0]) + Number(colour[1]) + Number(colour[2]) > 382;  // light ink
}

// ---- curves ------------------------------------------------------------------------------------------------------

const HEIGHT = 190, LEFT = 58, BOTTOM = 22, TOP = 8, ZOOM = 60;

function chart(box, label, lines, axes) {  // lines: [{ points: [[x, y]], kind }]; axes: { x: [0, max], y: [min, max], xText }
  const [x0, x1] = axes.x, [y0, y1] = axes.y, WIDTH = Math.max(220, box.clientWidth || 560);  // text keeps its size
  const x = value => LEFT + (WIDTH - LEFT - 6) * (value - x0) / (x1 - x0 || 1);
  const y = value => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - y0) / (y1 - y0 || 1));
  const drawing = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  for (const value of [y0, (y0 + y1) / 2, y1]) {
    drawing.append(element("line", { class: "axis", x1: LEFT, x2: WIDTH - 6, y1: y(value), y2: y(value) }));
    drawing.append(element("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, axes.format(+value.toPrecision(2))));
  }
  for (const value of [Math.ceil(x0), x1]) drawing.append(element("text", { x: x(value), y: HEIGHT - 5, "text-anchor": value === x1 ? "end" : "start" }, `${axes.xText} ${grouped(value)}`));
  for (const { step, text } of axes.marks || []) {  // dashed lines: a step that is shown, or a change by hand
    if (step < x0 || step > x1) continue;
    drawing.append(element("line", { class: "mark", x1: x(step), x2: x(step), y1: TOP, y2: HEIGHT - BOTTOM }));
    if (text) drawing.append(element("text", { x: x(step) + 4, y: TOP + 10, class: "marked" }, text));
  }
  for (const { points, kind, dots } of lines) {
    let pen = "M";  // NaN and infinity, null in the events, leave a gap
    const path = points.map(([px, py]) => {
      if (py === null) { pen = "M"; return ""; }
      const part = `${pen}${x(px).toFixed(1)} ${y(Math.min(y1, py)).toFixed(1)}`;
      pen = "L";
      return part;
    }).join("");
    drawing.append(element("path", { class: kind, d: path }));
    if (dots) for (const [px, py] of points.slice(-60)) if (py !== null) drawing.append(element("circle", { class: "dot", cx: x(px), cy: y(Math.min(y1, py)), r: 3 }));
  }
  box.replaceChildren(drawing);
}

function quantile(values, q) { const sorted = [...values].sort((a, b) => a - b); return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]; }

// ---- the panel ---------------------------------------------------------------------------------------------------

// root: where to draw; choose: called with the index of an image that somebody clicks, or null where none can be chosen;
// wrongFirst: the order of the images; curves, frames: which of the two parts to draw, the whole training or the network at a step
function createPanel(root, { choose = null, curves = true, frames = true, wrongFirst = true } = {}) {
  const facts = { classes: [], total: 1, epochSteps: 1, labels: [], images: 0 };
  let marks = [], zoomed = false, asked = null;  // asked: what somebody has chosen with the button
  const points = [], epochs = { columns: [], rows: [], first: 0 };
  let images = {}, latest = null, drawn = false, scheduled = {};
  const box = name => element("div", { class: name });
  const lossBox = box("chart"), lrBox = box("chart"), accuracyBox = box("chart"), imagesBox = element("ul", { class: "images" });
  const confusionBox = element("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Counts" }), weightsBox = box("maps"), layersBox = box("layers"), chosenBox = box("facts");
  const accuracyNow = element("div", { class: "number" }), accuracyText = element("p"), confusionText = element("p"), weightsText = element("p");
  const zoomButton = element("button", { type: "button", class: "zoom", "aria-pressed": "false", onclick: () => { asked = !(asked ?? zoomed); drawCurves(); } }, `the last ${ZOOM} steps`);
  const section = (kind, title, ...inside) => element("section", { class: kind, "aria-label": title }, element("h2", {}, title), ...inside);
  const weightsSection = section("third", "Weights of the first layer", weightsText, weightsBox);
  const confusionSection = section("third", "Confusion matrix", confusionText, confusionBox);
  root.classList.add("panel");
  const curveSections = [
    section("third", "Loss", element("div", { class: "legend" }, element("span", {}, element("i"), "each step, on its batch"), element("span", {}, element("i", { class: "warm" }), "each epoch, on the validation images"), zoomButton), lossBox),
    section("third", "Learning rate: how far a step moves the weights", lrBox),
    section("third", "Accuracy", accuracyNow, accuracyText, accuracyBox),
  ];
  const frameSections = [
    section("twothirds", "Validation images: what the network says of them now", element("p", {}, `${wrongFirst ? "The wrong ones come first, with" : "The wrong ones have"} an orange border. A bar is a probability: blue for the right class, orange for another one. Choose an image to see it in the layers below.`), imagesBox),
    confusionSection, weightsSection,
    section("twothirds", "The layers, on one image", chosenBox, layersBox),
  ];
  root.replaceChildren(...(curves ? curveSections : []), ...(frames ? frameSections : []));

  root.addEventListener("pointerover", event => {  // the same unit in the weights and in every layer
    const unit = event.target.dataset?.unit;
    for (const canvas of root.querySelectorAll("canvas[data-unit]")) canvas.classList.toggle("same", unit !== undefined && canvas.dataset.unit === unit);
  });

  function soon(name, draw) {  // at most once a frame of the screen
    if (scheduled[name]) return;
    scheduled[name] = true;
    requestAnimationFrame(() => { scheduled[name] = false; draw(); });
  }

  function drawCurves() {
    if (!points.length) return;
    const close = asked ?? zoomed, last = points[points.length - 1][0], from = close ? Math.max(0, last - ZOOM) : 0;
    zoomButton.setAttribute("aria-pressed", String(close));
    const seen = points.filter(point => point[0] >= from);
    const valid = epochs.rows.map((row, i) => [(epochs.first + i + 1) * facts.epochSteps, row[1]]).filter(([step]) => step <= facts.total);
    const losses = seen.map(point => point[1]).filter(Number.isFinite), usual = quantile(losses, close ? 1 : .98) || 0;
    const top = 1.05 * Math.max(usual, Math.min(3 * usual, ...[Math.max(...valid.map(pair => pair[1]))])) || 1;
    const steps = { x: [from, close ? Math.max(last, from + 1) : facts.total], xText: "step", format: short, marks };
    chart(lossBox, `Loss by step: now ${losses.length ? short(losses[losses.length - 1]) : "not a number"}`, [{ points: seen.map(p => [p[0], p[1]]), kind: "one" }, { points: valid.filter(([step]) => step >= from && step <= steps.x[1]), kind: "two", dots: true }], { ...steps, y: [0, top] });
    const rates = seen.map(point => point[2]), highest = rates.reduce((a, b) => Math.max(a, b), 0) || 1;
    chart(lrBox, `Learning rate by step: now ${short(rates[rates.length - 1])}`, [{ points: seen.map(p => [p[0], p[2]]), kind: "one" }], { ...steps, y: [0, highest * 1.05] });
  }

  function drawAccuracy() {
    const column = epochs.columns.findIndex(name => name.includes("accuracy"));
    const rows = epochs.rows.map((row, i) => [epochs.first + i + 1, column < 0 ? null : row[column]]).filter(row => row[1] !== null);
    setText(accuracyNow, latest && latest.known ? percent(latest.right / latest.known) : "");
    if (latest && latest.known) {
      setText(accuracyText, latest.known < facts.images ? `of ${grouped(latest.known)} validation images ${latest.fresh ? "at this step" : "in the last steps"}` : `of all ${grouped(latest.known)} validation images`);
    }
    if (!rows.length) return;
    const all = Math.max(rows[rows.length - 1][0], Math.round(facts.total / facts.epochSteps));
    const low = Math.min(...rows.map(row => row[1])), bottom = low > .9 ? .9 : low > .5 ? .5 : 0;
    chart(accuracyBox, `Accuracy by epoch: ${percent(rows[rows.length - 1][1], 2)} after epoch ${rows[rows.length - 1][0]}`, [{ points: rows, kind: "one", dots: true }], { x: [0, all], xText: "epoch", y: [bottom, 1], format: value => percent(value, 0) });
  }

  function bar(name, probability, right) {
    const fill = element("i");
    fill.style.width = `${100 * probability}%`;
    return element("span", { class: right ? "" : "other" }, element("b", {}, name), element("span", { class: "track" }, fill));
  }

  function drawImages() {
    const items = latest.images.map((index, i) => {
      const found = latest.probabilities[i].map(value => value ?? 0), best = found.indexOf(Math.max(...found)), label = facts.labels[index];
      return { index, found, best, label, wrong: label !== undefined && best !== label };
    });
    if (wrongFirst) items.sort((a, b) => b.wrong - a.wrong);
    const names = facts.classes, focused = root.contains(document.activeElement) ? document.activeElement.dataset.index : undefined;
    imagesBox.replaceChildren(...items.map(({ index, found, best, label, wrong }) => {
      const shown = [label, ...found.map((_, i) => i).sort((a, b) => found[b] - found[a])].filter((one, i, all) => one !== undefined && all.indexOf(one) === i).slice(0, 3);
      const text = `Image ${index}, a ${names[label]}: predicted ${names[best]}, ${percent(found[best], 0)}`;
      const button = element("button", { type: "button", class: wrong ? "wrong" : "", "aria-pressed": String(index === latest.chosen), "aria-label": text, title: text, "data-index": index, disabled: !choose, onclick: () => choose(index) },
        element("img", { src: images[index] || "data:,", alt: "" }), element("span", { class: "bars" }, shown.map(one => bar(names[one], found[one], one === label))));
      return element("li", {}, button);
    }));
    if (focused !== undefined) imagesBox.querySelector(`[data-index="${focused}"]`)?.focus();
  }

  function drawConfusion() {
    confusionSection.hidden = !latest.confusion;
    if (!latest.confusion) return;
    setText(confusionText, `Row: the label. Column: the prediction. ${grouped(latest.right)} of ${grouped(latest.known)} images are right.`);
    const rows = latest.confusion, dark = isDark(confusionBox), most = Math.max(1, ...rows.flat()), names = facts.classes;
    if (confusionBox.dataset.size !== String(rows.length)) {
      confusionBox.dataset.size = rows.length;
      confusionBox.replaceChildren(element("table", {},
        element("thead", {}, element("tr", {}, element("td", {}), names.map(name => element("th", { scope: "col", title: name }, name)))),
        element("tbody", {}, rows.map((row, i) => element("tr", {}, element("th", { scope: "row", title: names[i] }, names[i]), row.map(() => element("td")))))));
    }
    const cells = confusionBox.querySelectorAll("tbody td");
    rows.flat().forEach((count, i) => {
      const right = i % rows.length === Math.floor(i / rows.length), strength = Math.round(100 * Math.sqrt(count / (right ? most : Math.max(1, most / 8))));
      setText(cells[i], count ? String(count) : "");
      const colour = colourOf((right ? 1 : -1) * Math.min(70, strength) * .9, dark);
      cells[i].style.backgroundColor = count ? `rgb(${colour.join(",")})` : "";
      cells[i].style.color = count ? contrast(colour) : "";
    });
  }

  function drawWeights() {
    weightsSection.hidden = !latest.weights;
    if (!latest.weights) return;
    const { shape, max } = latest.weights, small = shape[shape.length - 1] < 12;
    const units = `${shape[0]} unit${shape[0] > 1 ? "s" : ""}.`;
    setText(weightsText, shape[1] === 3 ? `Grey is 0. ${units}` : `Blue is above 0, orange below, up to ${short(max)} in size. ${units}`);
    drawMaps(weightsBox, latest.weights, shape[0] < 3 ? 168 : small ? 64 : 84);
  }

  function layerFacts(layer) {
    const stats = layer.stats || {}, of = (name, text, show = short) => stats[name] === undefined ? null : element("span", {}, `${text} `, element("b", {}, show(stats[name])));
    return [of("mean", "mean"), of("deviation", "spread"), of("zeros", "zeros", value => percent(value, 0)),
      layer.dead === undefined ? null : element("span", { class: layer.dead ? "bad" : "" }, "dead units ", element("b", {}, String(layer.dead))),
      of("gradient", "size of the gradient"), of("update", "last change of the weights", value => percent(value, 2))];
  }

  function drawLayers() {
    const names = facts.classes, found = latest.chosen_probabilities.map(value => value ?? 0), best = found.indexOf(Math.max(...found));
    chosenBox.replaceChildren(element("img", { src: images[latest.chosen] || "data:,", alt: `image ${latest.chosen}`, width: 56, height: 56 }),
      element("span", {}, "label ", element("b", {}, names[facts.labels[latest.chosen]] ?? "?")), element("span", {}, "predicted ", element("b", {}, `${names[best]}, ${percent(found[best], 0)}`)));
    chosenBox.firstChild.style.imageRendering = "pixelated";
    while (layersBox.children.length > latest.layers.length) layersBox.lastChild.remove();
    latest.layers.forEach((layer, i) => {
      if (!layersBox.children[i]) layersBox.append(element("div", { class: "layer" }, element("h3"), element("div", { class: "facts" }), element("div", { class: "maps" })));
      const [title, text, maps] = layersBox.children[i].children, size = layer.maps.shape[2];
      title.replaceChildren(`${layer.kind}: ${layer.text} `, element("small", {}, layer.shape.length === 3 ? `${layer.shape[0]} maps of ${layer.shape[1]} × ${layer.shape[2]}` : `${layer.shape[0]} numbers`));
      text.replaceChildren(...layerFacts(layer).filter(Boolean));
      drawMaps(maps, layer.maps, layer.shape.length === 3 ? Math.max(40, Math.min(64, 3.2 * size)) : 20);
    });
  }

  function drawFrame() {
    drawn = true;
    root.dataset.step = latest.step;
    if (frames) for (const draw of [drawImages, drawConfusion, drawWeights, drawLayers]) draw();
    if (curves) drawAccuracy();
  }

  const panel = {
    start(event) { Object.assign(facts, { classes: event.classes, total: event.total, epochSteps: event.epoch_steps, labels: event.labels, images: event.images }); },
    curve(event) { if (event.whole) points.length = 0; for (const point of event.points) points.push(point); soon("curves", drawCurves); },
    epochs(event) { Object.assign(epochs, event); soon("accuracy", drawAccuracy); soon("curves", drawCurves); },
    images(event) { images = event.all ? event.images : { ...images, ...event.images }; if (drawn) soon("frame", drawFrame); },
    marks(event) { marks = event.marks; soon("curves", drawCurves); },
    zoom(event) { if (event.close !== zoomed) { zoomed = event.close; soon("curves", drawCurves); } },
    frame(event) { latest = event; soon("frame", drawFrame); },
  };
  new ResizeObserver(() => { soon("curves", drawCurves); soon("accuracy", drawAccuracy); }).observe(root);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (latest) soon("frame", drawFrame); });
  return { handle(kind, event) { if (panel[kind]) panel[kind](event); } };
}

// Black or white text, whichever is easier to read on a colour: WCAG's relative luminance.
function contrast(colour) {
  const [red, green, blue] = colour.map(value => { const part = value / 255; return part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4; });
  return .2126 * red + .7152 * green + .0722 * blue > .179 ? "#000" : "#fff";
}
