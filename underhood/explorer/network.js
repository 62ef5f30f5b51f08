// The network: the same numbers as torch's, from the same weights, in a few small functions.
//
// A tensor is { shape, data }: shape [c, h, w] for maps, or [n]; data a Float32Array. Element (c, y, x) of maps is
// data[(c · h + y) · w + x]. Sums are made in double precision and stored in single precision.

function tensor(shape, data) {
  return { shape, data: data || new Float32Array(shape.reduce((product, side) => product * side, 1)) };
}

// --- forward: what each layer computes

// Pixels from 0 to 255 to mean 0 and standard deviation 1.
function normalize(x, { mean, std }) {
  const out = tensor(x.shape), area = x.data.length / mean.length;
  for (let i = 0; i < x.data.length; i++) {
    const c = Math.floor(i / area);
    out.data[i] = (x.data[i] - mean[c]) / std[c];
  }
  return out;
}

// A patch of all input maps times a kernel, plus a bias, at each position and for each output map.
// weight: [outputs, inputs, kernel height, kernel width]
function conv2d(x, layer) {
  const { weight, weightShape: [outputs, inputs, high, wide], bias } = layer, size = inputs * high * wide;
  const [rows, columns] = convolvedSize(x, layer), out = tensor([outputs, rows, columns]), patch = new Float64Array(size);
  for (let row = 0, position = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, position++) {
      readPatch(patch, x, layer, row, column);
      for (let o = 0; o < outputs; o++) {
        out.data[o * rows * columns + position] = sumOfProducts(weight, o * size, patch) + (bias ? bias[o] : 0);
      }
    }
  }
  return out;
}

// Rows and columns of the maps that a convolution makes
function convolvedSize({ shape: [, height, width] }, { weightShape: [, , high, wide], stride, padding }) {
  return [
    Math.floor((height + 2 * padding[0] - high) / stride[0]) + 1,
    Math.floor((width + 2 * padding[1] - wide) / stride[1]) + 1,
  ];
}

// What a kernel sees of all input maps at one position: [inputs · kernel height · kernel width], 0 beyond the edges
function readPatch(patch, { shape: [inputs, height, width], data }, { weightShape: [, , high, wide], stride, padding }, row, column) {
  const top = row * stride[0] - padding[0], left = column * stride[1] - padding[1];
  for (let i = 0, to = 0; i < inputs; i++) {
    for (let y = top; y < top + high; y++) {
      for (let x = left; x < left + wide; x++, to++) {
        patch[to] = y >= 0 && y < height && x >= 0 && x < width ? data[(i * height + y) * width + x] : 0;
      }
    }
  }
}

// weights[first] · inputs[0] + weights[first + 1] · inputs[1] + …: four sums at a time, which is faster than one
function sumOfProducts(weights, first, inputs) {
  let a = 0, b = 0, c = 0, d = 0, i = 0;
  for (; i + 3 < inputs.length; i += 4) {
    a += weights[first + i] * inputs[i];
    b += weights[first + i + 1] * inputs[i + 1];
    c += weights[first + i + 2] * inputs[i + 2];
    d += weights[first + i + 3] * inputs[i + 3];
  }
  for (; i < inputs.length; i++) a += weights[first + i] * inputs[i];
  return a + b + c + d;
}

// The largest number of each window.
function maxPool(x, layer) {
  return pool(x, layer, (indices) => indices.reduce((most, i) => Math.max(most, x.data[i]), -Infinity));
}

// The mean of each window; at the edge, of the part of it that is inside.
function averagePool(x, layer) {
  return pool(x, layer, (indices) => indices.reduce((sum, i) => sum + x.data[i], 0) / indices.length);
}

function pool(x, layer, summary) {
  const [channels, height, width] = x.shape;
  const rows = pooledLength(height, layer, 0), columns = pooledLength(width, layer, 1);
  const out = tensor([channels, rows, columns]);
  for (let c = 0, to = 0; c < channels; c++) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, to++) {
        out.data[to] = summary(poolWindow(x.shape, layer, c, row, column));
      }
    }
  }
  return out;
}

function pooledLength(length, { kernel, stride, padding, ceil }, axis) {
  const steps = (length + 2 * padding[axis] - kernel[axis]) / stride[axis];
  const count = (ceil ? Math.ceil(steps) : Math.floor(steps)) + 1;
  const starts = (count - 1) * stride[axis] < length + padding[axis];  // the last window must start inside
  return ceil && !starts ? count - 1 : count;
}

// The indices of the elements that a position of a pooled map sees.
function poolWindow([, height, width], { kernel, stride, padding }, c, row, column) {
  const top = row * stride[0] - padding[0], left = column * stride[1] - padding[1], indices = [];
  for (let y = Math.max(0, top); y < Math.min(height, top + kernel[0]); y++) {
    for (let x = Math.max(0, left); x < Math.min(width, left + kernel[1]); x++) indices.push((c * height + y) * width + x);
  }
  return indices;
}

// Each map to the mean and spread that the training has found best for it.
function batchNorm(x, { mean, variance, eps, weight, bias }) {
  const out = tensor(x.shape), area = x.shape[1] * x.shape[2];
  for (let c = 0; c < x.shape[0]; c++) {
    const scale = weight[c] / Math.sqrt(variance[c] + eps);
    for (let i = c * area; i < (c + 1) * area; i++) out.data[i] = (x.data[i] - mean[c]) * scale + bias[c];
  }
  return out;
}

function relu(x) {
  return tensor(x.shape, x.data.map((value) => Math.max(0, value)));
}

// All maps as one row of numbers: map by map, and row by row.
function flatten(x) {
  return tensor([x.data.length], x.data);
}

// Each output is the sum of inputs × weights, plus a bias. weight: [outputs, inputs]
function linear(x, { weight, weightShape: [outputs, inputs], bias }) {
  const out = tensor([outputs]);
  for (let o = 0; o < outputs; o++) out.data[o] = sumOfProducts(weight, o * inputs, x.data) + (bias ? bias[o] : 0);
  return out;
}

// Logits, divided by the temperature, to probabilities, which are positive and add up to 1.
function softmax(logits, temperature = 1) {
  const most = Math.max(...logits);  // subtracted so that the largest power is 1: the result is the same
  const powers = Array.from(logits, (logit) => Math.exp((logit - most) / temperature));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

const FORWARD = { normalize, conv2d, maxPool, averagePool, batchNorm, relu, flatten, linear };

// What each layer makes of an image. pixels: a tensor [c, h, w], 0 to 255. Returns the outputs of all layers, in order.
function forward(layers, pixels) {
  let x = pixels;
  return layers.map((layer) => x = FORWARD[layer.type](x, layer));
}

// { outputs: of all layers; features: the input of the last layer; logits }, the first two of the image as it is.
// mirrored: the logits are the mean of those of the image and of its mirror image
function logitsAndFeatures(layers, pixels, mirrored = false) {
  const outputs = forward(layers, pixels), own = outputs.at(-1).data, features = outputs.at(-2).data;
  if (!mirrored) return { outputs, features, logits: own };
  const other = forward(layers, mirror(pixels)).at(-1).data;
  return { outputs, features, logits: own.map((logit, i) => (logit + other[i]) / 2) };
}

function logitsOf(layers, pixels, mirrored = false) { return logitsAndFeatures(layers, pixels, mirrored).logits; }

function mirror(x) {
  const width = x.shape[2], out = tensor(x.shape);
  for (let i = 0; i < x.data.length; i++) out.data[i] = x.data[i - i % width + width - 1 - i % width];
  return out;
}

// --- backward: how much the result changes with each input

// Each of these takes the layer's input and output, and the gradient with respect to its output; it returns the
// gradient with respect to its input.
const BACKWARD = {
  normalize: (layer, x, out, gradient) => {
    const area = x.data.length / layer.std.length;
    return tensor(x.shape, gradient.data.map((value, i) => value / layer.std[Math.floor(i / area)]));
  },
  conv2d: convBackward,
  maxPool: (layer, x, out, gradient) => poolBackward(layer, x, gradient, (indices, share, sums) => {
    sums[indices.reduce((best, i) => (x.data[i] > x.data[best] ? i : best))] += share;  // the largest gets all of it
  }),
  averagePool: (layer, x, out, gradient) => poolBackward(layer, x, gradient, (indices, share, sums) => {
    for (const i of indices) sums[i] += share / indices.length;
  }),
  batchNorm: ({ variance, eps, weight }, x, out, gradient) => {
    const area = x.shape[1] * x.shape[2], scale = variance.map((value, c) => weight[c] / Math.sqrt(value + eps));
    return tensor(x.shape, gradient.data.map((value, i) => value * scale[Math.floor(i / area)]));
  },
  relu: (layer, x, out, gradient) => tensor(x.shape, gradient.data.map((value, i) => (out.data[i] > 0 ? value : 0))),
  flatten: (layer, x, out, gradient) => tensor(x.shape, gradient.data),
  linear: ({ weight, weightShape: [outputs, inputs] }, x, out, gradient) => {
    const sums = new Float64Array(inputs);
    for (let o = 0; o < outputs; o++) {
      for (let i = 0; i < inputs; i++) sums[i] += weight[o * inputs + i] * gradient.data[o];
    }
    return tensor(x.shape, Float32Array.from(sums));
  },
};

// Each output sends its gradient back to the patch that it was made of, in proportion to the kernel's weights.
function convBackward(layer, x, out, gradient) {
  const { weight, weightShape: [outputs, inputs, high, wide] } = layer, size = inputs * high * wide;
  const [, rows, columns] = out.shape, sums = new Float64Array(x.data.length), patch = new Float64Array(size);
  for (let row = 0, position = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, position++) {
      patch.fill(0);
      for (let o = 0; o < outputs; o++) {
        const share = gradient.data[o * rows * columns + position];
        for (let i = 0, k = o * size; i < size; i++, k++) patch[i] += share * weight[k];
      }
      addPatch(sums, patch, x.shape, layer, row, column);
    }
  }
  return tensor(x.shape, Float32Array.from(sums));
}

// ``readPatch``, backwards: add the numbers of a patch to the places that they are from
function addPatch(sums, patch, [inputs, height, width], { weightShape: [, , high, wide], stride, padding }, row, column) {
  const top = row * stride[0] - padding[0], left = column * stride[1] - padding[1];
  for (let i = 0, from = 0; i < inputs; i++) {
    for (let y = top; y < top + high; y++) {
      for (let x = left; x < left + wide; x++, from++) {
        if (y >= 0 && y < height && x >= 0 && x < width) sums[(i * height + y) * width + x] += patch[from];
      }
    }
  }
}

function poolBackward(layer, x, gradient, send) {
  const sums = new Float64Array(x.data.length), [channels, rows, columns] = gradient.shape;
  for (let c = 0, from = 0; c < channels; c++) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, from++) {
        send(poolWindow(x.shape, layer, c, row, column), gradient.data[from], sums);
      }
    }
  }
  return tensor(x.shape, Float32Array.from(sums));
}

// The gradient with respect to the pixels, a tensor [c, h, w]. gradient: with respect to the logits, [classes]
function backward(layers, pixels, outputs, gradient) {
  let given = tensor([gradient.length], Float32Array.from(gradient));
  for (let i = layers.length - 1; i >= 0; i--) {
    given = BACKWARD[layers[i].type](layers[i], i ? outputs[i - 1] : pixels, outputs[i], given);
  }
  return given;
}

// The gradient of −log(probability of a class), the loss, with respect to the pixels: a tensor [c, h, w].
function lossGradient(layers, pixels, label, mirrored = false) {
  const ofLogits = softmax(logitsOf(layers, pixels, mirrored)).map((probability, i) => probability - (i === label));
  const own = backward(layers, pixels, forward(layers, pixels), ofLogits);
  if (!mirrored) return own;
  const image = mirror(pixels), other = mirror(backward(layers, image, forward(layers, image), ofLogits));
  return tensor(own.shape, own.data.map((value, i) => (value + other.data[i]) / 2));
}

// --- reading the weights, which the page has as text

// base64 to an array of bytes
function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

// Numbers of 32 or 16 bits, as text: Float32Array
function numbersOf({ dtype, base64 }) {
  const bytes = bytesOf(base64), view = new DataView(bytes.buffer);
  if (dtype === "float32") return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => halfFloat(view.getUint16(2 * i, true)));
}

// A number of 16 bits: a sign, 5 bits of exponent, 10 of fraction
function halfFloat(bits) {
  const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}

// The layers with their weights. model.layers: type, parameters, and under ``tensors`` name → { shape, offset }
function layersOf(model, numbers) {
  return model.layers.map(({ tensors, ...layer }) => {
    for (const [name, { shape, offset }] of Object.entries(tensors)) {
      layer[name] = numbers.subarray(offset, offset + shape.reduce((product, side) => product * side, 1));
      layer[name + "Shape"] = shape;
    }
    return layer;
  });
}
