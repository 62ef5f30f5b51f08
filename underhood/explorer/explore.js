// The page: what it shows of the image, at a step of the training. All of it is computed from the pixels and weights.

const page = JSON.parse($("data").textContent);
const { classes, preparation, network } = page;
const shape = [preparation.channels, preparation.height, preparation.width];
const snapshots = network.snapshots.map((snapshot) => ({ ...snapshot, layers: null }));
const state = {
  moment: snapshots.length - 1,  // which snapshot
  pixels: null, steps: [],  // the prepared image, a tensor [c, h, w], and how it was prepared
  outputs: [], logits: null, probabilities: [],  // of each layer; of the network
};
let views = [], sheet = null, round = null, valid = null, means = null, neighbours = null, playing = null, waiting = null, later = null;
const themed = [];  // what is painted again when light and dark change

function onTheme(paint) { themed.push(paint); }

// The layers with the weights of a snapshot
function layersAt(moment) {
  return snapshots[moment].layers ??= layersOf(network, numbersOf(snapshots[moment]));
}
const layersNow = () => layersAt(state.moment);
const stepName = (moment) => (snapshots[moment].step === null ? "trained" : `step ${count(snapshots[moment].step)}`);

// --- the image

// The sheet has changed: prepare what is on it, at the latest in the next frame
function schedule() { waiting ??= requestAnimationFrame(() => { waiting = null; takeFromSheet(); }); }

function takeFromSheet() {
  const pixels = sheet.photo?.example ? null : sheet.pixels();
  if (sheet.photo?.example) Object.assign(state, { pixels: sheet.photo.example, steps: [] });
  else if (pixels) {
    const prepared = prepare(imageFrom(pixels), preparation);
    Object.assign(state, { pixels: prepared.pixels, steps: prepared.steps });
  } else if (page.draws || !state.pixels) Object.assign(state, { pixels: tensor(shape), steps: [] });
  update();
}

// Show one of the run's images, which are prepared already. pixels: a tensor [c, h, w]
function showExample(pixels) {
  const { width, height, planes } = imageOf(pixels), canvas = el("canvas", { width, height }), context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = planes[planes.length === 1 ? 0 : c][i];
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  canvas.example = pixels;
  sheet.put(canvas);
}

// --- what the network makes of it

function update() {
  const layers = layersNow();
  state.outputs = forward(layers, state.pixels);
  state.logits = page.mirrored ? logitsOf(layers, state.pixels, true) : state.outputs.at(-1).data;
  state.probabilities = softmax(state.logits);
  showAnswer();
  showPreparation();
  for (const view of views) view.dirty = true;
  renderVisible();
  clearTimeout(later);
  later = setTimeout(showLater, 200);
}

// What takes longer, or is farther down: once the image has stayed the same for a moment
function showLater() {
  showMoments();
  round.reset();
  if (means) showMeans(means, state.pixels, classes, showExample);
  if (neighbours) neighbours.show(state.pixels, classes, showExample);
}

function isBlank() { return state.pixels.data.every((value) => value === state.pixels.data[0]); }

function showAnswer() {
  const best = state.probabilities.indexOf(Math.max(...state.probabilities)), probability = state.probabilities[best];
  const unsure = isBlank() || probability < page.threshold, name = classes[best];
  const text = isBlank() ? (page.draws ? "Draw a digit" : "No image yet") : unsure ? `Not sure: perhaps ${name}` : name;
  $("answer").textContent = text;
  $("answer").classList.toggle("unsure", unsure); $("answer").classList.toggle("long", text.length > 12);
  showBars($("bars"), classes, state.probabilities);
  paintImage($("seen"), imageOf(state.pixels), Math.max(120, Math.min(240, $("seenbox").clientWidth)));
  paintImage($("timeseen"), imageOf(state.pixels), 44);
  $("timeanswer").replaceChildren(...(isBlank() ? [] : [name, el("span", {}, `  ${percent(probability)}`)]));
  $("softmaxsum").replaceChildren(...softmaxTable(state.logits, classes));
}

// A bar for each class, of many classes for the ten most probable ones
function showBars(list, names, probabilities, target = -1) {
  let order = [...names.keys()];
  if (names.length > 10) order = order.sort((a, b) => probabilities[b] - probabilities[a]).slice(0, 10);
  list.replaceChildren(...order.map((i) => {
    const bar = el("i"), track = el("span", { className: "track", "aria-hidden": true }, bar);
    bar.style.width = 100 * probabilities[i] + "%";
    return el("li", { className: i === target ? "target" : "" }, el("span", {}, names[i]), track, el("b", {}, percent(probabilities[i])));
  }));
}

function showPreparation() {
  const blank = !state.steps.length && !sheet.photo;
  $("preparationtext").textContent = state.steps.length
    ? "The training images were prepared in the same way, so that the network gets what it was trained on."
    : blank ? "The sheet is blank." : "This is one of the run's own images, which is prepared already. " + (page.draws ? "Draw, or choose" : "Choose") + " an image of yours to see each step.";
  $("preparationsteps").replaceChildren(...state.steps.map(({ name, text, image }, i) => {
    const canvas = paintImage(document.createElement("canvas"), image, 168 * textScale());
    return el("figure", { className: "step" }, canvas, el("figcaption", {}, el("b", {}, `${i ? `${i} · ` : ""}${name}`), text));
  }));
}

// Only the layers that can be seen are drawn; the others once they are.
function renderVisible() {
  for (const view of views) {
    if (!view.dirty || !view.visible) continue;
    view.dirty = false;
    view.render(layersNow()[view.index], view.index ? state.outputs[view.index - 1] : state.pixels, state.outputs[view.index]);
  }
}

// --- the training's steps

// What the network said of this image at each of the steps. A large network takes a while: the page stays usable
async function showMoments() {
  if (snapshots.length < 2) return;
  const { pixels } = state, said = [];
  for (let moment = 0; moment < snapshots.length; moment++) {
    said.push(softmax(logitsOf(layersAt(moment), pixels, page.mirrored)));
    await new Promise((resolve) => setTimeout(resolve));
    if (pixels !== state.pixels) return;  // there is another image by now, and another call for it
  }
  refill($("moments"), ...said.map((probabilities, moment) => {
    const best = probabilities.indexOf(Math.max(...probabilities));
    const bar = el("i"), button = el("button", { type: "button", className: classes[best].length > 5 ? "moment long" : "moment", "aria-current": moment === state.moment },
      stepName(moment), el("b", {}, classes[best]), percent(probabilities[best]), el("span", { className: "track", "aria-hidden": true }, bar));
    bar.style.width = 100 * probabilities[best] + "%";
    button.addEventListener("click", () => { stop(); goTo(moment); });
    return button;
  }));
}

function goTo(moment) {
  state.moment = moment;
  $("step").value = moment;
  $("step").setAttribute("aria-valuetext", stepName(moment));
  $("steptext").replaceChildren(stepName(moment), ...(moment < snapshots.length - 1 ? [el("span", {}, ` of ${count(snapshots.at(-1).step)}`)] : []));
  [...$("moments").children].forEach((button, i) => button.setAttribute("aria-current", i === moment));
  if (state.pixels) update();
}

function play() {
  if (playing) { stop(); return; }
  if (state.moment === snapshots.length - 1) goTo(0);
  $("play").textContent = "Pause";
  playing = setInterval(() => {
    if (state.moment === snapshots.length - 1) stop();
    else goTo(state.moment + 1);
  }, 900);
}

function stop() { clearInterval(playing); playing = null; $("play").textContent = "Play"; }

function prepareTime() {
  $("step").max = snapshots.length - 1;
  $("step").addEventListener("input", () => { stop(); goTo(Number($("step").value)); });
  $("play").addEventListener("click", play);
  if (snapshots.length < 2) {
    for (const id of ["play", "step", "steptext"]) $(id).hidden = true;
    $("historytext").textContent = "This run kept no snapshots of its weights, so that the page has only the trained network. Train without --no-snapshots to see how it learned.";
  }
  goTo(state.moment);
}

// --- the start

function describe() {
  document.title = `Inside ${page.run}`;
  $("title").textContent = `Inside ${page.run}`;
  const accuracy = page.accuracy === null ? "" : ` ${percent(page.accuracy)} accuracy on images it was not trained on.`;
  const [channels, height, width] = shape, weights = layersAt(snapshots.length - 1).reduce((sum, { weight, bias }) => sum + (weight?.length || 0) + (bias?.length || 0), 0);
  $("about").textContent = `A network of the kind “${page.model}” with ${count(weights)} weights, for ${plural(classes.length, "class").replace("classs", "classes")} of ${width} × ${height} pixels in ${channels === 1 ? "grey" : "colour"}, trained on ${page.data}.${accuracy}`;
  const { certified, browser, images, max_difference: difference } = page.certificate;
  $("certificate").classList.toggle("none", !certified);
  $("certificate").textContent = certified
    ? `Checked in ${browser}: the same label as PyTorch for all ${count(images)} validation images, probabilities within ${difference ? powerOfTen(difference, 0) : 0}.`
    : "Not checked: no Chromium was there to compare this page with PyTorch.";
  $("footer").textContent = `Written by underhood. Everything on this page is computed in it, from the pixels and the weights${page.mirrored ? "; probabilities are the mean over the image and its mirror image, and the layers show the image itself" : ""}.`;
}

async function start() {
  describe();
  sheet = new Sheet(page.draws, schedule);
  round = new Round(classes, () => ({ layers: layersNow(), mirrored: page.mirrored, pixels: state.pixels, probabilities: state.probabilities }));
  const first = forward(layersNow(), tensor(shape));
  views = makeLayerViews(layersNow(), [shape, ...first.map((output) => output.shape)], classes);
  prepareTime();
  watchSections();
  valid = await new Sprites(page.valid.sprites, shape).load();
  prepareExamples();
  if (valid.length) showMatrix(page.valid, valid, classes, showExample);
  $("meansbox").hidden = !page.means;
  if (page.means) means = await new Sprites(page.means.sprites, shape).load();
  await prepareNeighbours();
  document.documentElement.dataset.ready = "true";
}

// An example to begin with, and a button for the next one
function prepareExamples() {
  const examples = page.valid.rows.flatMap((row, i) => (row[0] === row[1] ? [i] : []));
  let next = 0;
  const show = () => { if (examples.length) showExample(valid.pixels(examples[next++ % examples.length])); else takeFromSheet(); };
  $("example").hidden = !examples.length;
  $("example").addEventListener("click", show);
  show();
}

async function prepareNeighbours() {
  const { sprites, labels, of } = page.train, images = await new Sprites(sprites, shape).load();
  $("neighbourstext").textContent = `Of ${images.length === of ? "all" : `${count(images.length)} of the`} ${count(of)} training images, those that look most alike to the trained network: the last layer gets nearly the same numbers for them. Below each image its label and the distance.`;
  neighbours = new Neighbours(images, labels, layersAt(snapshots.length - 1));
  const section = $("neighbours");
  new IntersectionObserver(([entry], observer) => {
    if (!entry.isIntersecting) return;
    observer.disconnect();
    neighbours.start(() => neighbours.show(state.pixels, classes, showExample));
  }, { rootMargin: "1500px" }).observe(section);
  if (state.pixels) neighbours.show(state.pixels, classes, showExample);
}

function watchSections() {
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) views.find((view) => view.section === entry.target).visible = entry.isIntersecting;
    if (state.outputs.length) renderVisible();
  }, { rootMargin: "300px" });
  for (const view of views) observer.observe(view.section);
  const again = () => { shades = null; for (const paint of themed) paint(); sheet.show(); if (state.pixels) update(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let resized = null;
  addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(again, 150); });
}

start();
