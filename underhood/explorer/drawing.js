// Elements, numbers as text, and images on canvases.

const $ = (id) => document.getElementById(id);

// An element with properties (those with a dash are attributes) and children
function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

// New children for an element, with the keyboard's focus on the button that has the same place as the focused one before
function refill(parent, ...children) {
  const place = [...parent.querySelectorAll("button")].indexOf(document.activeElement);
  parent.replaceChildren(...children);
  if (place >= 0) parent.querySelectorAll("button")[place]?.focus({ preventScroll: true });
}

// A number with as many digits as a reader needs, and a real minus sign
function say(value, digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2) {
  return value.toFixed(digits).replace(/^-(?=[0.]*$)/, "").replace("-", "−");
}
const signed = (value) => (say(value).startsWith("−") ? "" : "+") + say(value);
const percent = (probability) => (100 * probability).toFixed(1) + " %";

// A very small or large number, such as 2.2 · 10⁻⁵
function powerOfTen(value, digits = 1) {
  const [factor, exponent] = value.toExponential(digits).split("e");
  return `${factor} · 10${[...exponent.replace("+", "")].map((sign) => (sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign])).join("")}`;
}

const count = (number) => number.toLocaleString("en");
const plural = (number, name) => `${count(number)} ${name}${number === 1 ? "" : "s"}`;

function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

// Letters are larger on a projector; images grow with them
function textScale() { return parseFloat(getComputedStyle(document.body).fontSize) / 17; }

// --- colours of signed numbers: blue above 0, orange below, and nothing at 0

let shades = null;  // [red, green, blue] of −1 to 1 in 511 steps; null after a change between light and dark

function shade(share) {
  shades ??= makeShades();
  return shades[255 + Math.round(255 * Math.max(-1, Math.min(1, share || 0)))];
}

function makeShades() {
  const [zero, above, below] = ["--card", "--above", "--below"].map((name) => rgb(colour(name)));
  return Array.from({ length: 511 }, (_, i) => {
    const share = (Math.abs(i - 255) / 255) ** 0.8, end = i > 255 ? above : below;
    return zero.map((from, c) => Math.round(from + (end[c] - from) * share));
  });
}

function rgb(hex) {
  const digits = hex.slice(1), long = digits.length === 3 ? [...digits].map((one) => one + one).join("") : digits;
  return [0, 2, 4].map((at) => parseInt(long.slice(at, at + 2), 16));
}

// A background for text: the colour of a signed number, pale enough to read on
function tint(share) {
  const [red, green, blue] = rgb(colour(share > 0 ? "--above" : "--below"));
  return `rgba(${red}, ${green}, ${blue}, ${(0.45 * Math.min(1, Math.abs(share))).toFixed(3)})`;
}

const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

// --- canvases: sizes are in CSS pixels, and drawn at the screen's resolution

function sized(canvas, width, height) {
  const ratio = devicePixelRatio || 1, across = Math.round(width * ratio), down = Math.round(height * ratio);
  if (canvas.width !== across || canvas.height !== down) { canvas.width = across; canvas.height = down; }
  canvas.style.width = width + "px"; canvas.style.height = height + "px";
  const context = canvas.getContext("2d");
  context.setTransform(across / width, 0, 0, down / height, 0, 0);
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, width, height);
  return context;
}

const scratch = document.createElement("canvas");  // where images are put together at their own size

function onScratch(width, height, write) {
  scratch.width = width; scratch.height = height;
  const context = scratch.getContext("2d"), pixels = context.createImageData(width, height);
  write(pixels.data);
  context.putImageData(pixels, 0, 0);
  return scratch;
}

// An image on a canvas, its longer side as long as ``side``. smooth: for images larger than that
function paintImage(canvas, { width, height, planes }, side) {
  const scale = side / Math.max(width, height), context = sized(canvas, Math.max(1, width * scale), Math.max(1, height * scale));
  context.imageSmoothingEnabled = scale < 1;
  context.drawImage(onScratch(width, height, (data) => {
    for (let i = 0; i < width * height; i++) {
      for (let c = 0; c < 3; c++) data[4 * i + c] = planes[planes.length === 1 ? 0 : c][i];
      data[4 * i + 3] = 255;
    }
  }), 0, 0, Math.max(1, width * scale), Math.max(1, height * scale));
  return canvas;
}

function imageOf({ shape: [channels, height, width], data }) {
  const planes = Array.from({ length: channels }, (_, c) => data.subarray(c * width * height, (c + 1) * width * height));
  return { width, height, planes };
}

// Signed numbers as a small image on the scratch canvas. layout: see ``blocksOf``; most: the number with full colour
function signedOnScratch(values, layout, most, offset = 0) {
  return onScratch(layout.width, layout.height, (data) => {
    for (let i = 0; i < layout.places.length; i++) {
      const at = 4 * layout.places[i], [red, green, blue] = shade(values[offset + i] / most);
      data[at] = red; data[at + 1] = green; data[at + 2] = blue; data[at + 3] = 255;
    }
  });
}

function paintSigned(canvas, values, layout, side, most = largest(values)) {
  const scale = side / Math.max(layout.width, layout.height), context = sized(canvas, layout.width * scale, layout.height * scale);
  context.drawImage(signedOnScratch(values, layout, most || 1), 0, 0, layout.width * scale, layout.height * scale);
  return context;
}

// Where each number of a tensor of this shape goes in one image: maps become blocks with gaps between them, a row of
// numbers is wrapped. { width, height, places: index of a number → index of a pixel }
function blocksOf(shape) {
  const known = blocksOf.known ??= new Map(), key = shape.join();
  if (!known.has(key)) known.set(key, shape.length === 3 ? mapBlocks(shape) : wrappedRow(shape[0]));
  return known.get(key);
}

function mapBlocks([channels, height, width]) {
  const columns = channels <= 3 ? channels : Math.ceil(Math.sqrt(channels * (height + 1) / (width + 1)));
  const rows = Math.ceil(channels / columns), wide = columns * (width + 1) - 1, places = new Int32Array(channels * height * width);
  for (let c = 0, i = 0; c < channels; c++) {
    const left = (c % columns) * (width + 1), top = Math.floor(c / columns) * (height + 1);
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++, i++) places[i] = (top + y) * wide + left + x;
  }
  return { width: wide, height: rows * (height + 1) - 1, places };
}

function wrappedRow(length) {
  const whole = Array.from({ length: 16 }, (_, i) => 16 - i).find((width) => length % width === 0 && width ** 2 >= length);  // full lines
  const width = length <= 12 ? length : whole || Math.min(128, Math.ceil(Math.sqrt(6 * length)));
  return { width, height: Math.ceil(length / width), places: Int32Array.from({ length }, (_, i) => i) };
}
