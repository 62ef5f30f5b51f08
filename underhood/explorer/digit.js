// Any image of a digit in the form of MNIST's images, step by step, as underhood/preparation/digit.py does it.
// Amounts of ink are { width, height, data }: data a Float32Array, 0 paper to 1 ink.

const MIN_WORKING = 96, MAX_WORKING = 192;  // pixels: limits of the longer side of the image in which ink is looked for
const OVERSAMPLING = 6;  // the outline is moved at this multiple of the result's resolution
const STROKE_WIDTH = [2.1, 3.8];  // pixels of 28: the range of 80 % of MNIST's digits
const SLANT = [-0.45, 0.65];  // horizontal over vertical: the range of MNIST's digits
const MIN_CONTRAST = 0.12;  // of the range from black to white: what differs less from the paper is not ink

// { pixels: Uint8Array [side · side], light ink on black, all 0 if no ink is found; steps: [{ name, text, image }] }
function prepareDigit(image, side) {
  const grey = toGrey(image).planes[0];
  if (image.width === side && image.height === side && isMnistLike(grey, side)) {
    return { pixels: grey, steps: [{ name: "unchanged", text: "It has MNIST's form already.", image: toGrey(image) }] };
  }
  const steps = [], show = (name, text, ink) => steps.push({ name, text, image: inkImage(ink) });
  const found = findInk(image);
  show("polarity", "What differs most from the paper around it is ink, dark or light.", found);
  const digit = cropped(upright(masked(found, findDigit(found))));
  show("crop", "Only the digit, cut to its edges; a steep slant is sheared back.", digit);
  const { outline, drawn } = scaledInk(digit, side);
  show("stroke", "The outline is moved until the stroke is as wide as in MNIST.", outline);
  show("antialias", `Scaled to ${digitLength(side)} pixels, with grey levels at the edges.`, drawn);
  const pixels = drawn.data.some((value) => value) ? placed(drawn, side) : new Uint8Array(side * side);
  steps.push({
    name: "centre", text: `The centre of mass in the middle of ${side} × ${side} pixels.`,
    image: { width: side, height: side, planes: [pixels] },
  });
  return { pixels, steps };
}

// Whether an image has MNIST's form: 20 of 28 pixels long, its centre of mass in the middle
function isMnistLike(pixels, side) {
  if (side < 16) return true;
  const box = boundingBox({ width: side, height: side, data: pixels }, 0);
  if (!box || pixels.reduce((most, value) => Math.max(most, value), 0) < 250) return false;
  const longest = Math.max(box.bottom - box.top, box.right - box.left);
  const off = centreOfMass({ width: side, height: side, data: pixels }).map((at) => at - side / 2);
  const length = digitLength(side);
  return (longest === length - 1 || longest === length) && Math.min(...off) > -0.05 && Math.max(...off) < 1.05;
}

// The longer side of a digit in an image of ``side`` pixels: 20 of 28
function digitLength(side) { return side >= 16 ? roundHalfEven(side * 20 / 28) : side; }

// --- polarity: the amount of ink in each pixel

function findInk(image) {
  const longest = Math.min(Math.max(image.width, image.height, MIN_WORKING), MAX_WORKING);
  const scale = longest / Math.max(image.width, image.height);
  const [width, height] = [image.width, image.height].map((side) => Math.max(1, roundHalfEven(side * scale)));
  const planes = reduceAndScale(image, width, height, "bicubic").planes.map((plane) => Float32Array.from(plane, (v) => v / 255));
  const grey = meanPlane(planes), rim = ring(width, height);
  let paper = planes.map((plane) => Math.fround(median(rim.map((i) => plane[i]))));
  const differences = rim.map((i) => Math.max(...planes.map((plane, c) => Math.abs(plane[i] - paper[c]))));
  const even = percentile(differences, 90) < 0.1;
  const meanPaper = paper.reduce((sum, value) => sum + value, 0) / paper.length;
  const around = even ? null : gaussianFilter(grey, width, height, longest / 8);
  // ink covers few pixels, and they differ much from the paper
  const skew = grey.reduce((sum, value, i) => sum + (value - (even ? meanPaper : around[i])) ** 3, 0);
  const sign = skew < 0 ? -1 : 1;
  if (even) paper = paper.map((value) => new Float32Array(width * height).fill(value));
  else paper = planes.map((plane) => gaussianFilter(withoutStrokes(plane, width, height, longest >> 2, sign), width, height, longest / 32));
  const clipped = planes.map((plane, c) => plane.map((value, i) => Math.min(1, Math.max(0, sign * (value - paper[c][i])))));
  return inkFromContrast(gaussianFilter(meanPlane(clipped), width, height, longest / MAX_WORKING), width, height);
}

function inkFromContrast(blurred, width, height) {
  const texture = median(blurred), contrast = blurred.map((value) => Math.max(value - texture, 0));
  const most = [...Float32Array.from(contrast).sort().slice(-30)].reduce((sum, value) => sum + value, 0) / 30;
  if (most < MIN_CONTRAST) return { width, height, data: new Float32Array(width * height) };
  const full = median(contrast.filter((value) => value > 0.6 * most));
  return { width, height, data: contrast.map((value) => Math.min(1, value / full)) };
}

function meanPlane(planes) {
  return planes[0].map((_, i) => planes.reduce((sum, plane) => sum + plane[i], 0) / planes.length);
}

// The indices of the outermost pixels, in a ring as wide as a thirtieth of the longer side
function ring(width, height) {
  const wide = Math.max(1, Math.floor(Math.max(width, height) / 30)), indices = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (y < wide || y >= height - wide || x < wide || x >= width - wide) indices.push(y * width + x);
    }
  }
  return indices;
}

// The number below which so many percent of the numbers are, between two of them where need be
function percentile(numbers, percent) {
  const sorted = Float64Array.from(numbers).sort(), at = (sorted.length - 1) * percent / 100, low = Math.floor(at);
  return sorted[low] + (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]) * (at - low);
}

// --- filters: each pixel from those around it, along rows and columns. Beyond the edge the image is mirrored.

function reflected(i, length) {
  const at = ((i % (2 * length)) + 2 * length) % (2 * length);
  return at < length ? at : 2 * length - 1 - at;
}

// A filter along columns, then along rows. filterLine gets a line with ``before`` and ``after`` more numbers at its
// ends, and writes its results to another.
function alongBoth(plane, width, height, before, after, filterLine) {
  for (const [length, step, lines, lineStep] of [[height, width, width, 1], [width, 1, height, width]]) {
    const out = new Float32Array(plane.length), line = new Float64Array(length + before + after), results = new Float64Array(length);
    const places = Int32Array.from(line, (_, i) => reflected(i - before, length) * step);
    for (let number = 0; number < lines; number++) {
      for (let i = 0; i < line.length; i++) line[i] = plane[number * lineStep + places[i]];
      filterLine(line, results);
      for (let i = 0; i < length; i++) out[number * lineStep + i * step] = results[i];
    }
    plane = out;
  }
  return plane;
}

// Blurred with a bell curve of this standard deviation, in pixels, which is cut off at four of them
function gaussianFilter(plane, width, height, std) {
  const radius = Math.trunc(4 * std + 0.5);
  const bell = Float64Array.from({ length: 2 * radius + 1 }, (_, i) => Math.exp(-0.5 * ((i - radius) / std) ** 2));
  const sum = bell.reduce((total, weight) => total + weight, 0), weights = bell.map((weight) => weight / sum);
  return alongBoth(plane, width, height, radius, radius, (line, results) => {
    for (let start = 0; start < results.length; start++) {
      let total = 0;
      for (let i = 0; i < weights.length; i++) total += weights[i] * line[start + i];
      results[start] = total;
    }
  });
}

// What remains when everything narrower than ``wide`` pixels is removed: light strokes (sign 1) or dark ones (−1)
function withoutStrokes(plane, width, height, wide, sign) {
  const half = wide >> 1, rest = wide - half - 1;
  const least = (x) => alongBoth(x, width, height, half, rest, (line, results) => slidingMost(line, results, wide, -1));
  const most = (x) => alongBoth(x, width, height, rest, half, (line, results) => slidingMost(line, results, wide, 1));
  return sign > 0 ? most(least(plane)) : least(most(plane));
}

// The largest (sign 1) or smallest (−1) of each ``wide`` numbers in a row. Only those that may still win are kept.
function slidingMost(line, results, wide, sign) {
  const kept = new Int32Array(line.length);
  for (let i = 0, head = 0, tail = 0; i < line.length; i++) {
    while (tail > head && sign * line[kept[tail - 1]] <= sign * line[i]) tail--;
    kept[tail++] = i;
    if (kept[head] <= i - wide) head++;
    if (i >= wide - 1 && i - wide + 1 < results.length) results[i - wide + 1] = line[kept[head]];
  }
}

// --- crop: what belongs to the digit

// Connected parts of a mask, numbered from 1, corners included: { labels: Int32Array, count }
function connectedParts(mask, width, height) {
  const labels = new Int32Array(mask.length);
  let count = 0;
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || labels[start]) continue;
    labels[start] = ++count;
    for (const open = [start]; open.length;) {
      const at = open.pop(), x = at % width, y = (at - x) / width;
      for (let ny = Math.max(0, y - 1); ny <= Math.min(height - 1, y + 1); ny++) {
        for (let nx = Math.max(0, x - 1); nx <= Math.min(width - 1, x + 1); nx++) {
          const next = ny * width + nx;
          if (mask[next] && !labels[next]) { labels[next] = count; open.push(next); }
        }
      }
    }
  }
  return { labels, count };
}

// The pixels of the digit, 0 or 1: the largest connected part of the ink and the parts near it. Lines of ruled and
// squared paper are left out, and so are specks.
function findDigit({ width, height, data }) {
  const { labels, count } = connectedParts(data.map((value) => value > 0.5), width, height);
  const sizes = new Float64Array(count + 1), boxes = partBoxes(labels, count, width);
  for (const label of labels) if (label) sizes[label]++;
  const meets = edgeMeetings(labels, count, width, height), lines = meets.filter((often) => often >= 2).length > 1;
  for (let n = 1; n <= count; n++) if (meets[n] >= 8 || (lines && meets[n] >= 2)) sizes[n] = 0;  // a grid; lines from edge to edge
  if (!sizes.some((size) => size)) return new Uint8Array(labels.length);
  let main = 1;
  const rank = (n) => sizes[n] * (meets[n] ? 0.1 : 1);
  for (let n = 2; n <= count; n++) if (rank(n) > rank(main)) main = n;
  const own = boxes[main], reach = 0.3 * Math.max(own.bottom - own.top, own.right - own.left);
  const kept = boxes.map((box, n) => {
    if (!n) return false;
    const apart = Math.max(own.top - box.bottom, box.top - own.bottom, own.left - box.right, box.left - own.right);
    return n === main || (apart < reach && sizes[n] > 0.03 * sizes[main] && (meets[n] > 0) <= (meets[main] > 0));
  });
  return grown(grown(Uint8Array.from(labels, (label) => kept[label]), width, height), width, height);
}

function partBoxes(labels, count, width) {
  const boxes = Array.from({ length: count + 1 }, () => ({ top: Infinity, left: Infinity, bottom: 0, right: 0 }));
  labels.forEach((label, i) => {
    const box = boxes[label], x = i % width, y = (i - x) / width;
    box.top = Math.min(box.top, y); box.bottom = Math.max(box.bottom, y + 1);
    box.left = Math.min(box.left, x); box.right = Math.max(box.right, x + 1);
  });
  return boxes;
}

// How often each part touches the edge of the image, once around
function edgeMeetings(labels, count, width, height) {
  const around = [], at = (y, x) => around.push(labels[y * width + x]), meets = new Int32Array(count + 1);
  for (let x = 0; x < width; x++) at(0, x);
  for (let y = 0; y < height; y++) at(y, width - 1);
  for (let x = width - 1; x >= 0; x--) at(height - 1, x);
  for (let y = height - 1; y >= 0; y--) at(y, 0);
  around.forEach((label, i) => { if (label !== around[(i || around.length) - 1]) meets[label]++; });
  meets[0] = 0;
  return meets;
}

// A mask with its neighbours above, below, left and right
function grown(mask, width, height) {
  return mask.map((value, i) => {
    const x = i % width, y = (i - x) / width;
    return value || (x && mask[i - 1]) || (x < width - 1 && mask[i + 1]) || (y && mask[i - width]) || (y < height - 1 && mask[i + width]) ? 1 : 0;
  });
}

function masked({ width, height, data }, mask) {
  return { width, height, data: data.map((value, i) => (mask[i] ? value : 0)) };
}

// Ink sheared until its slant is within the range of MNIST's digits
function upright(ink) {
  const { width, height, data } = ink, xs = [], ys = [];
  data.forEach((value, i) => { if (value > 0.5) { xs.push(i % width); ys.push(Math.floor(i / width)); } });
  if (!xs.length) return ink;
  const mean = (numbers) => numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
  const middleX = mean(xs), middleY = mean(ys);
  const slant = -mean(xs.map((x, i) => (x - middleX) * (ys[i] - middleY))) / Math.max(mean(ys.map((y) => (y - middleY) ** 2)), 1e-9);
  const excess = slant - Math.min(SLANT[1], Math.max(SLANT[0], slant));
  if (!excess) return ink;
  const room = Math.ceil(Math.abs(excess) * height), wide = width + 2 * room, out = new Float32Array(wide * height);
  const value = (x, y) => (x < room || x >= room + width ? 0 : data[y * width + x - room]);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < wide; x++) {
      const from = x + 0.5 - excess * (y + 0.5) + excess * middleY, left = Math.floor(from - 0.5), part = from - 0.5 - left;
      if (from < 0 || from >= wide) continue;
      const [a, b] = [left, left + 1].map((column) => value(Math.min(wide - 1, Math.max(0, column)), y));
      out[y * wide + x] = a + (b - a) * part;
    }
  }
  return { width: wide, height, data: out };
}

// The rows and columns that have values above ``above``; null where there are none
function boundingBox({ width, data }, above) {
  const box = { top: Infinity, left: Infinity, bottom: 0, right: 0 };
  data.forEach((value, i) => {
    if (!(value > above)) return;
    const x = i % width, y = Math.floor(i / width);
    box.top = Math.min(box.top, y); box.bottom = Math.max(box.bottom, y + 1);
    box.left = Math.min(box.left, x); box.right = Math.max(box.right, x + 1);
  });
  return box.bottom ? box : null;
}

// Ink within its bounding box
function cropped(ink) {
  const box = boundingBox(ink, 0.5);
  if (!box) return { width: 1, height: 1, data: new Float32Array(1) };
  const width = box.right - box.left, height = box.bottom - box.top, data = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    const from = (box.top + y) * ink.width + box.left;
    data.set(ink.data.subarray(from, from + width), y * width);
  }
  return { width, height, data };
}

// --- stroke and antialias

// { outline: ink at six times the result's resolution, drawn: the same at the result's resolution }
function scaledInk(ink, side) {
  const target = digitLength(side), mask = padded(ink, 1);
  if (!mask.data.some((inside) => inside)) return { outline: ink, drawn: { ...ink, data: ink.data.map(() => 0) } };
  let sum = 0, count = 0;
  distances(mask, 0).forEach((distance, i) => { if (mask.data[i]) { sum += distance; count++; } });
  const width = 4 * (sum / count), longest = Math.max(ink.width, ink.height);  // the mean distance in a line is width / 4
  const [low, high] = STROKE_WIDTH.map((of28) => of28 * side / 28);
  const wanted = Math.min(high, Math.max(low, width * target / longest));
  const scale = (target - wanted) / Math.max(longest - width, 1);  // the distance by which the outline moves is not scaled
  const fine = resized(ink, Math.max(1, roundHalfEven(longest * scale * OVERSAMPLING)), "bicubic");
  const inside = padded(fine, roundHalfEven(high * OVERSAMPLING)), toPaper = distances(inside, 0), toInk = distances(inside, 1);
  const move = (wanted - width * scale) / 2 * OVERSAMPLING + 0.5;
  const data = toPaper.map((distance, i) => Math.min(1, Math.max(0, distance - toInk[i] + move)));
  const outline = cropped({ ...inside, data: Float32Array.from(data) });
  return { outline, drawn: resized(outline, target, "box") };
}

// Where there is ink, 0 or 1, with a margin of paper
function padded({ width, height, data }, margin) {
  const wide = width + 2 * margin, high = height + 2 * margin, out = new Uint8Array(wide * high);
  data.forEach((value, i) => { if (value > 0.5) out[(Math.floor(i / width) + margin) * wide + (i % width) + margin] = 1; });
  return { width: wide, height: high, data: out };
}

function resized({ width, height, data }, longest, filter) {
  const scale = longest / Math.max(width, height);
  const [across, down] = [width, height].map((side) => Math.max(1, roundHalfEven(side * scale)));
  const scaled = scalePlane(data, width, height, across, down, filter);
  return { width: across, height: down, data: scaled.map((value) => Math.min(1, Math.max(0, value))) };
}

// The distance of each pixel to the nearest one that has ``value`` (Felzenszwalb and Huttenlocher, 2012): along columns,
// then along rows, each time the lowest of many parabolas
function distances({ width, height, data }, value) {
  const squares = Float64Array.from(data, (other) => (other === value ? 0 : 1e12));
  for (let x = 0; x < width; x++) lowestParabola(squares, x, width, height);
  for (let y = 0; y < height; y++) lowestParabola(squares, y * width, 1, width);
  return squares.map(Math.sqrt);
}

function lowestParabola(values, start, step, length) {
  const old = Float64Array.from({ length }, (_, i) => values[start + i * step]);
  const places = new Int32Array(length), from = new Float64Array(length + 1);
  let last = 0;
  from[0] = -Infinity; from[1] = Infinity;
  for (let i = 1; i < length; i++) {
    const meet = () => (old[i] + i * i - old[places[last]] - places[last] ** 2) / (2 * i - 2 * places[last]);
    while (meet() <= from[last]) last--;
    from[last + 1] = meet(); places[++last] = i; from[last + 1] = Infinity;
  }
  for (let i = 0, at = 0; i < length; i++) {
    while (from[at + 1] < i) at++;
    values[start + i * step] = (i - places[at]) ** 2 + old[places[at]];
  }
}

// --- centre

// Scaled ink in a black image, its centre of mass in the middle: Uint8Array [side · side]
function placed({ width, height, data }, side) {
  const pixels = new Uint8Array(side * side), [row, column] = centreOfMass({ width, height, data });
  const top = Math.min(Math.max(0, Math.ceil(side / 2 - row)), side - height);
  const left = Math.min(Math.max(0, Math.ceil(side / 2 - column)), side - width);
  const most = Math.max(data.reduce((largest, value) => Math.max(largest, value), 0), 1e-6);
  data.forEach((value, i) => {
    const at = (top + Math.floor(i / width)) * side + left + (i % width);
    pixels[at] = roundHalfEven(Math.fround(Math.fround(255 * value) / Math.fround(most)));
  });
  return pixels;
}

// Row and column of the centre of mass, in pixels from the upper left corner
function centreOfMass({ width, data }) {
  let total = 0, rows = 0, columns = 0;
  data.forEach((value, i) => {
    total += value; rows += value * (Math.floor(i / width) + 0.5); columns += value * ((i % width) + 0.5);
  });
  return [rows / total, columns / total];
}

function inkImage({ width, height, data }) {
  return { width, height, planes: [Uint8Array.from(data, (value) => Math.round(255 * value))] };
}
