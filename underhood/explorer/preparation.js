// From an image of any size to the model's pixels: what Python does with Pillow, to the last bit where it is arithmetic.
//
// An image is { width, height, planes }: one plane for grey, three for red, green and blue. A plane is an array of
// width × height numbers, row by row: Uint8Array, or Float32Array for amounts of ink.

// --- scaling, as Pillow does it: each new pixel is a weighted mean of old ones, first along rows, then along columns

const FILTERS = {  // [how far it reaches in new pixels, the weight at a distance]
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => {
    const a = -0.5, d = Math.abs(x);
    if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
  }],
};
const PRECISION = 2 ** 22;  // weights of 8-bit pixels are whole numbers of this fraction

// For each of ``length`` new pixels: the first old pixel and the weights from there on. start, end: what of the old
// ones is scaled, which may begin and end within a pixel
function scalingWeights(oldLength, start, end, length, [reach, weightAt], whole) {
  const scale = Math.fround(end - start) / length, spread = Math.max(scale, 1), support = reach * spread;
  return Array.from({ length }, (_, to) => {
    const middle = start + (to + 0.5) * scale;
    const first = Math.max(0, Math.trunc(middle - support + 0.5));
    const last = Math.min(oldLength, Math.trunc(middle + support + 0.5));
    let weights = Array.from({ length: last - first }, (_, i) => weightAt((i + first - middle + 0.5) * (1 / spread)));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    if (sum) weights = weights.map((weight) => weight / sum);
    return { first, weights: whole ? weights.map((weight) => Math.trunc((weight < 0 ? -0.5 : 0.5) + weight * PRECISION)) : weights };
  });
}

// One plane of an image, scaled. box: [left, upper, right, lower], what of it is scaled; by default all
function scalePlane(plane, width, height, newWidth, newHeight, filter, box = [0, 0, width, height]) {
  const [left, upper, right, lower] = box.map(Math.fround), whole = plane instanceof Uint8Array;
  const rows = () => {
    if (newWidth === width && !left && right === newWidth) return;
    plane = scaleRows(plane, width, scalingWeights(width, left, right, newWidth, FILTERS[filter], whole), whole);
    width = newWidth;
  };
  const columns = () => {
    if (newHeight === height && !upper && lower === newHeight) return;
    plane = scaleColumns(plane, width, scalingWeights(height, upper, lower, newHeight, FILTERS[filter], whole), whole);
    height = newHeight;
  };
  const columnsFirst = SCALING.tallFirst && newHeight < height && height - newHeight > 2 * (width - newWidth);
  for (const pass of columnsFirst ? [columns, rows] : [rows, columns]) pass();
  return plane;
}

const SCALING = { tallFirst: false };  // whether the columns of tall images are scaled first, as Pillow does from 13 on

const rounded = (sum) => Math.max(0, Math.min(255, Math.floor((sum + PRECISION / 2) / PRECISION)));

function scaleRows(plane, width, across, whole) {
  const height = plane.length / width, scaled = new plane.constructor(across.length * height);
  for (let x = 0; x < across.length; x++) {
    const { first, weights } = across[x];
    for (let y = 0; y < height; y++) {
      let sum = 0;
      for (let i = 0, from = y * width + first; i < weights.length; i++, from++) sum += weights[i] * plane[from];
      scaled[y * across.length + x] = whole ? rounded(sum) : sum;
    }
  }
  return scaled;
}

function scaleColumns(plane, width, down, whole) {
  const scaled = new plane.constructor(width * down.length);
  for (let y = 0; y < down.length; y++) {
    const { first, weights } = down[y];
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let i = 0, from = first * width + x; i < weights.length; i++, from += width) sum += weights[i] * plane[from];
      scaled[y * width + x] = whole ? rounded(sum) : sum;
    }
  }
  return scaled;
}

function scaleImage(image, width, height, filter, box) {
  if (width === image.width && height === image.height && !box) return image;
  const planes = image.planes.map((plane) => scalePlane(plane, image.width, image.height, width, height, filter, box));
  return { width, height, planes };
}

// ``scaleImage`` in two steps, as Pillow does it with ``reducing_gap``: means of whole blocks of pixels, until the image
// is three times as large as it should be, then the filter.
function reduceAndScale(image, width, height, filter) {
  const gap = 3, acrossBy = Math.trunc(image.width / width / gap) || 1, downBy = Math.trunc(image.height / height / gap) || 1;
  if (acrossBy === 1 && downBy === 1) return scaleImage(image, width, height, filter);
  const box = [0, 0, image.width / acrossBy, image.height / downBy];
  return scaleImage(blockMeans(image, acrossBy, downBy), width, height, filter, box);
}

// The means of blocks of pixels; those at the right and lower edge may be smaller.
function blockMeans({ width, height, planes }, acrossBy, downBy) {
  const columns = Math.ceil(width / acrossBy), rows = Math.ceil(height / downBy);
  const reduced = planes.map((plane) => {
    const means = new Uint8Array(columns * rows);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const bottom = Math.min(height, (row + 1) * downBy), right = Math.min(width, (column + 1) * acrossBy);
        const count = (bottom - row * downBy) * (right - column * acrossBy);
        let sum = Math.floor(count / 2);
        for (let y = row * downBy; y < bottom; y++) {
          for (let x = column * acrossBy; x < right; x++) sum += plane[y * width + x];
        }
        const multiplier = Math.trunc(Math.fround(2 ** 32 / (256 * count)));  // Pillow divides by multiplying
        means[row * columns + column] = Math.floor(sum * multiplier / 2 ** 24);
      }
    }
    return means;
  });
  return { width: columns, height: rows, planes: reduced };
}

// --- colours

// Red, green and blue to grey, as Pillow does it: the eye sees green as the brightest
function toGrey({ width, height, planes }) {
  if (planes.length === 1) return { width, height, planes };
  const [red, green, blue] = planes;
  const grey = red.map((value, i) => (value * 19595 + green[i] * 38470 + blue[i] * 7471 + 0x8000) >> 16);
  return { width, height, planes: [grey] };
}

// A canvas's pixels, [r, g, b, opacity, r, …], as an image. What is transparent becomes white, as on a page.
function imageFrom({ width, height, data }) {
  const planes = [0, 1, 2].map(() => new Uint8Array(width * height));
  let grey = true;
  for (let i = 0; i < width * height; i++) {
    const opacity = data[4 * i + 3];
    for (let c = 0; c < 3; c++) planes[c][i] = opacity === 255 ? data[4 * i + c] : onWhite(data[4 * i + c], opacity);
    grey &&= planes[0][i] === planes[1][i] && planes[0][i] === planes[2][i];
  }
  return { width, height, planes: grey ? [planes[0]] : planes };
}

function onWhite(level, opacity) {
  const mixed = level * opacity * 128 + 255 * (255 - opacity) * 128 + 128 * 128;
  return (((mixed >> 8) + mixed) >> 8) >> 7;
}

// The median of the outermost pixels of each channel: the colour that an image is padded with
function borderColour({ width, height, planes }) {
  return planes.map((plane) => {
    const border = [];
    for (let x = 0; x < width; x++) border.push(plane[x], plane[(height - 1) * width + x]);
    for (let y = 0; y < height; y++) border.push(plane[y * width], plane[y * width + width - 1]);
    return Math.trunc(median(border));
  });
}

function median(numbers) {
  const sorted = Float64Array.from(numbers).sort(), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

// A half to the even number, as Python and NumPy round
function roundHalfEven(x) {
  const low = Math.floor(x), rest = x - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

// --- the forms

const FORMS = {
  // the whole image in the model's size; what remains gets the colour of its border
  pad(image, width, height) {
    const scale = Math.min(width / image.width, height / image.height);
    const inner = [image.width, image.height].map((side) => Math.max(1, roundHalfEven(side * scale)));
    const scaled = reduceAndScale(image, ...inner, "bilinear"), colours = borderColour(image);
    const left = Math.floor((width - inner[0]) / 2), top = Math.floor((height - inner[1]) / 2);
    const planes = scaled.planes.map((plane, c) => {
      const padded = new Uint8Array(width * height).fill(colours[c]);
      for (let y = 0; y < inner[1]; y++) padded.set(plane.subarray(y * inner[0], (y + 1) * inner[0]), (top + y) * width + left);
      return padded;
    });
    return { width, height, planes };
  },
  // the largest part in the middle that has the model's shape
  crop(image, width, height) {
    const wide = image.width / image.height, ratio = width / height;
    const across = wide > ratio ? ratio * image.height : image.width, down = wide < ratio ? image.width / ratio : image.height;
    const left = (image.width - across) * 0.5, top = (image.height - down) * 0.5;
    return scaleImage(image, width, height, "bilinear", [left, top, left + across, top + down]);
  },
  // width and height are scaled by what each needs
  stretch: (image, width, height) => reduceAndScale(image, width, height, "bilinear"),
};
const SENTENCES = {
  pad: "Scaled as a whole; what remains has the colour of the border.",
  crop: "The middle, scaled.",
  stretch: "Width and height scaled, each by what it needs.",
};

// An image at the model's size. preparation: channels, height, width, fit, tallFirst (see SCALING)
// Returns { pixels: a tensor [c, h, w] of whole numbers from 0 to 255, steps: [{ name, text, image }] }.
function prepare(image, preparation) {
  const { channels, height, width, fit } = preparation;
  SCALING.tallFirst = preparation.tallFirst;
  const given = { name: "your image", text: `${image.width} × ${image.height} pixels.`, image };
  if (fit === "digit") {
    const { pixels, steps } = prepareDigit(image, width);
    return { pixels: pixelsOf({ width, height, planes: [pixels] }, 1), steps: [given, ...steps] };
  }
  const same = image.width === width && image.height === height;
  const scaled = same ? image : FORMS[fit](image, width, height);
  const steps = [given];
  if (!same) steps.push({ name: fit, text: SENTENCES[fit], image: scaled });
  if (channels === 1 && scaled.planes.length === 3) {
    steps.push({ name: "grey", text: "Red, green and blue as one brightness.", image: toGrey(scaled) });
  }
  if (steps.length === 1) given.text += " It has the model's size already, and is used as it is.";
  return { pixels: pixelsOf(scaled, channels), steps };
}

// An image as a tensor [channels, h, w]
function pixelsOf(image, channels) {
  const { width, height, planes } = channels === 1 ? toGrey(image) : image, out = tensor([channels, height, width]);
  for (let c = 0; c < channels; c++) out.data.set(planes[planes.length === 1 ? 0 : c], c * width * height);
  return out;
}
