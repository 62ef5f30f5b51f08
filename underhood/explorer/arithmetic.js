// How one number of a layer comes about: the numbers that go in, what is done with them, and the sum.
//
// Each function gets a view of a layer (see layers.js), the layer, its input and output, and a unit { map, row, column };
// it returns elements.

const ARITHMETIC = {
  normalize(view, layer, x, out, unit) {
    const c = unit.map, pixel = at(x, unit);
    return [total(`(pixel ${say(pixel)} − mean ${bracketed(layer.mean[c])}) ÷ standard deviation ${say(layer.std[c])} = `, at(out, unit))];
  },

  conv2d(view, layer, x, out, unit) {
    const patches = convolutionPatches(layer, x, unit), many = patches.length > 1, bias = layer.bias ? layer.bias[unit.map] : 0;
    const strongest = patches.reduce((best, { sum }, i) => (Math.abs(sum) > Math.abs(patches[best].sum) ? i : best), 0);
    const chosen = view.channel ?? strongest, { patch, kernel, products, sum } = patches[chosen];
    const from = many ? `${mapName(x, chosen)} of the layer above` : "the layer above", [, , high, wide] = layer.weightShape;
    const terms = el("div", { className: "terms" },
      patchOnMap(x, layer, unit, chosen, from), numberTable(patch, wide, "patch", largest(x.data) || 1), sign("×"), numberTable(kernel, wide, "kernel"),
      sign("="), numberTable(products, wide, `products, together ${signed(sum)}`));
    if (!many) return [terms, total(`The sum of the ${high * wide} products${bias ? ` and the bias ${signed(bias)}` : ""} is `, at(out, unit))];
    return [terms, shareButtons(view, patches.map((one) => one.sum), x, chosen),
      total(`The sums of all ${patches.length} maps together${bias ? ` and the bias ${signed(bias)}` : ""} are `, at(out, unit))];
  },

  batchNorm(view, { mean, variance, eps, weight, bias }, x, out, unit) {
    const c = unit.map, std = Math.sqrt(variance[c] + eps), shift = bias[c] < 0 ? `− ${say(-bias[c])}` : `+ ${say(bias[c])}`;
    return [total(`(${say(at(x, unit))} − mean ${bracketed(mean[c])}) ÷ standard deviation ${say(std)} × ${bracketed(weight[c])} ${shift} = `, at(out, unit))];
  },

  relu(view, layer, x, out, unit) {
    const value = at(x, unit);
    return [total(`The larger of 0 and ${say(value)} is `, at(out, unit))];
  },

  maxPool: (view, layer, x, out, unit) => pooled(view, layer, x, out, unit, "The largest of"),
  averagePool: (view, layer, x, out, unit) => pooled(view, layer, x, out, unit, "The mean of"),

  flatten(view, layer, x, out, unit) {
    return [total(`Number ${count(unit.map + 1)} is ${placeName(x, unit.map)}: `, out.data[unit.map])];
  },

  linear(view, layer, x, out, unit) {
    const [, inputs] = layer.weightShape, weights = layer.weight.subarray(unit.map * inputs, (unit.map + 1) * inputs);
    const products = weights.map((weight, i) => weight * x.data[i]), sum = weights.reduce((all, weight, i) => all + weight * x.data[i], 0);
    const bias = layer.bias ? layer.bias[unit.map] : 0;
    const strongest = [...products.keys()].sort((a, b) => Math.abs(products[b]) - Math.abs(products[a])).slice(0, 3);
    const lines = strongest.map((i) => `${placeName(view.inputMaps, i)}: ${say(x.data[i])} × ${say(weights[i])} = ${signed(products[i])}`);
    return [
      el("div", { className: "terms" }, signedFigure(x.data, view.inputMaps, "inputs"), sign("×"),
        signedFigure(weights, view.inputMaps, "weights"), sign("="), signedFigure(products, view.inputMaps, "products")),
      el("p", { className: "soft" }, `The largest products are those of ${lines.join("; ")}.`),
      total(`The sum of all ${count(inputs)} products, ${say(sum)}, and the bias ${signed(bias)}, is `, out.data[unit.map]),
    ];
  },
};

const at = ({ shape, data }, { map, row, column }) => (shape.length === 1 ? data[map] : data[(map * shape[1] + row) * shape[2] + column]);
const bracketed = (value) => (value < 0 ? `(${say(value)})` : say(value));
const sign = (text) => el("span", { className: "sign" }, text);

function total(text, value) {
  const result = el("b", {}, say(value, Math.abs(value) >= 100 ? 1 : 3));
  result.dataset.value = value;
  return el("p", { className: "total" }, text, result);
}

// The name of one map: of three that are the image's, its colour
function mapName({ shape }, i) {
  return shape.length === 3 && shape[0] === 3 ? ["red", "green", "blue"][i] : `map ${i + 1}`;
}

// Where the i-th number of a tensor of maps is, in words
function placeName(x, i) {
  if (x.shape.length === 1) return `number ${i + 1}`;
  const [channels, height, width] = x.shape, row = Math.floor(i / width) % height + 1, column = i % width + 1;
  return `${channels > 1 ? `${mapName(x, Math.floor(i / width / height))}, ` : ""}row ${row}, column ${column}`;
}

// What a unit of a convolution sees of each input map: [{ patch, kernel, products, sum }]. Beyond the edge there are zeros.
function convolutionPatches({ weight, weightShape, stride, padding }, x, unit) {
  const [, inputs, high, wide] = weightShape, size = high * wide;
  return Array.from({ length: inputs }, (_, i) => {
    const first = (unit.map * inputs + i) * size, kernel = weight.subarray(first, first + size);
    const patch = Float32Array.from(kernel, (_, k) => {
      const row = unit.row * stride[0] - padding[0] + Math.floor(k / wide), column = unit.column * stride[1] - padding[1] + k % wide;
      const within = row >= 0 && column >= 0 && row < x.shape[1] && column < x.shape[2];
      return within ? at(x, { map: i, row, column }) : 0;
    });
    const products = Float64Array.from(kernel, (w, k) => w * patch[k]);
    return { patch, kernel, products, sum: products.reduce((all, product) => all + product, 0) };
  });
}

// Numbers as a table with coloured cells
function numberTable(values, columns, caption, most = largest(values) || 1, marked = -1) {
  const table = el("table", {}, el("caption", {}, caption));
  for (let start = 0; start < values.length; start += columns) {
    const row = table.insertRow();
    for (let i = start; i < Math.min(values.length, start + columns); i++) {
      const cell = row.insertCell();
      cell.textContent = say(values[i]);
      cell.dataset.value = values[i];
      cell.style.background = tint(values[i] / most);
      if (i === marked) cell.style.outline = "3px solid var(--ink)";
    }
  }
  return table;
}

// One input map, with a frame around what the unit sees of it
function patchOnMap(x, { weightShape, kernel, stride, padding }, unit, channel, caption) {
  const [, height, width] = x.shape, [high, wide] = kernel || weightShape.slice(2), side = 120 * textScale(), scale = side / Math.max(height, width);
  const canvas = document.createElement("canvas"), area = height * width;
  const map = x.data.subarray(channel * area, (channel + 1) * area);
  const context = paintSigned(canvas, map, blocksOf([1, height, width]), side, largest(x.data) || 1);
  const top = unit.row * stride[0] - padding[0], left = unit.column * stride[1] - padding[1];
  context.strokeStyle = colour("--ink"); context.lineWidth = 2;
  context.strokeRect(left * scale, top * scale, wide * scale, high * scale);
  return el("figure", {}, canvas, el("figcaption", {}, caption));
}

// A button for each input map, with its part of the sum; pressed, it shows that map's numbers
function shareButtons(view, sums, x, chosen) {
  return el("div", { className: "shares", role: "group", "aria-label": "The sum of each map" }, ...sums.map((sum, i) => {
    const button = el("button", { type: "button", "aria-pressed": i === chosen }, `${i + 1}: ${signed(sum)}`);
    button.dataset.value = sum;
    button.style.background = tint(sum / (largest(sums) || 1));
    button.addEventListener("click", () => { view.channel = i; view.renderSum(); });
    return button;
  }));
}

function pooled(view, layer, x, out, unit, what) {
  const indices = poolWindow(x.shape, layer, unit.map, unit.row, unit.column), values = indices.map((i) => x.data[i]);
  const best = what.includes("largest") ? values.indexOf(Math.max(...values)) : -1, width = x.shape[2];
  const columns = indices.filter((i) => Math.floor(i / width) === Math.floor(indices[0] / width)).length;
  return [
    el("div", { className: "terms" }, patchOnMap(x, layer, unit, unit.map, `${mapName(x, unit.map)} of the layer above`),
      numberTable(values, columns, `these ${values.length} numbers`, largest(values) || 1, best)),
    total(`${what} these ${values.length} numbers is `, at(out, unit)),
  ];
}

function signedFigure(values, { shape }, caption) {
  const canvas = document.createElement("canvas"), layout = blocksOf(shape);
  paintSigned(canvas, values, layout, (layout.width > 3 * layout.height ? 260 : 190) * textScale());
  return el("figure", {}, canvas, el("figcaption", {}, `${caption}, at most ±${say(largest(values))}`));
}

// Logits, divided by the temperature, powers and probabilities, the most probable first
function softmaxTable(logits, classes, temperature = 1) {
  const probabilities = softmax(logits, temperature), order = [...logits.keys()].sort((a, b) => logits[b] - logits[a]).slice(0, 12);
  const divided = Float64Array.from(logits, (logit) => logit / temperature), warm = temperature !== 1;
  const body = order.map((i) => el("tr", {}, el("th", { scope: "row" }, classes[i]),
    ...[say(logits[i]), ...(warm ? [say(divided[i])] : []), powerText(divided[i]), percent(probabilities[i])].map((text) => el("td", {}, text))));
  const sum = divided.reduce((all, logit) => all + Math.exp(logit), 0);
  const names = warm ? ["class", "logit", `÷ ${say(temperature)}`, "e to it", "probability"] : ["class", "logit", "e to the logit", "probability"];
  const head = names.map((text) => el("th", { scope: "col" }, text));
  const best = order[0], text = `${classes[best]}: ${powerText(divided[best])} ÷ ${powerText(Math.log(sum))}, the sum of all ${plural(logits.length, "power")}, = `;
  return [
    el("table", { className: "powers" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body)),
    el("p", { className: "total" }, text, el("b", {}, percent(probabilities[best]))),
  ];
}

function powerText(logit) {
  const power = Math.exp(logit);
  if (power < 0.001 || power >= 1e6) return powerOfTen(power);
  return power >= 100 ? count(Math.round(power)) : say(power, power >= 1 ? 2 : 3);
}
