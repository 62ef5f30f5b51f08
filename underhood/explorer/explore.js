// The page: what it shows of the image, at a step of the training. All of it is computed from the pixels and weights.

const page = JSON.parse($("data").textContent);
const { classes, preparation, network } = page;
const shape = [preparation.channels, preparation.height, preparation.width];
const calibration = { ...calibrationOf(page.calibration), threshold: page.threshold }, { temperature } = calibration;
const snapshots = network.snapshots.map((snapshot) => ({ ...snapshot, layers: null }));
const state = {
  moment: snapshots.length - 1,  // which snapshot
  pixels: null, steps: [],  // the prepared image, a tensor [c, h, w], and how it was prepared
  outputs: [], logits: null, probabilities: [],  // of each layer; of the network
  said: null,  // what is said of the image: see ``answerOf``
};
let views = [], sheet = null, round = null, valid = null, means = null, neighbours = null, playing = null, waiting = null, later = null;
const themed = [];  // what is painted again when light and dark change

function onTheme(paint) { themed.push(paint); }

// The layers with the weights of a snapshot
function layersAt(moment) {
  return snapshots[moment].layers ??= layersOf(network, numbersOf(snapshots[moment]));
}
const layersNow = () => layersAt(state.moment);
const isTrained = () => state.moment === snapshots.length - 1;  // sets and distances are those of the last weights
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
  const { outputs, logits, features } = logitsAndFeatures(layers, state.pixels, page.mirrored);
  const said = answerOf(isTrained() ? calibration : withoutSets(calibration), state.pixels, logits, features);
  Object.assign(state, { outputs, logits, said, probabilities: said.probabilities });
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

function showAnswer() {
  const { best, probabilities, set, reason } = state.said, text = answerText(), blank = reason === "blank", sets = set && !reason ? { set, limits: calibration.limits } : null;
  $("answer").textContent = text;
  $("answer").classList.toggle("unsure", reason !== ""); $("answer").classList.toggle("long", text.length > 12);
  $("meaning").textContent = meaningText();
  showBars($("bars"), classes, probabilities, -1, sets);
  $("marks").hidden = !sets;
  showDistance();
  paintImage($("seen"), imageOf(state.pixels), Math.max(120, Math.min(240, $("seenbox").clientWidth)));
  paintImage($("timeseen"), imageOf(state.pixels), 44);
  const short = reason ? "none" : set?.length > 1 ? namesOf(set, " or ", 2) : classes[best];
  $("timeanswer").replaceChildren(...(blank ? [] : [short, ...(reason || set?.length > 1 ? [] : [el("span", {}, `  ${percent(probabilities[best])}`)])]));
  $("softmaxsum").replaceChildren(...softmaxTable(state.logits, classes, temperature));
}

// One label, one of several, or none of them
function answerText() {
  const { best, set, reason } = state.said;
  if (reason === "blank") return sheet.photo ? "None of these: the image is blank" : page.draws ? "Draw a digit" : "No image yet";
  if (reason === "distance") return "None of these: unlike anything it was trained on";
  if (reason === "confidence") return "None of these: no label is probable enough";
  return set?.length > 1 ? `One of ${namesOf(set, ", ", 6)}` : classes[best];
}

// The names of labels, or how many there are
function namesOf(set, between, most) {
  const text = set.map((label) => classes[label]).join(between);
  return set.length <= most && text.length <= 60 ? text : `${count(set.length)} labels`;
}

// What the answer means, in a sentence or two
function meaningText() {
  const { best, probabilities, set, reason } = state.said, guess = `The most probable label would be ${classes[best]}, with ${percent(probabilities[best])}`;
  if (reason === "blank") return "";
  if (reason === "distance") return `${guess}, but probabilities only compare the labels with each other: “none of these” is not among them. The distance below says so.`;
  if (reason === "confidence") return `${guess}; a label is given from ${percent(page.threshold)} on.`;
  if (!isTrained()) return calibration.limits.length || calibration.prototypes ? "Sets of labels and the distance belong to the weights at the end of the training: go there to see them." : "";
  if (!set) return "";
  const often = `the right class for ${share(calibration.coverage)} of new images`;
  if (set.length === classes.length) return `It cannot rule out a single label. Such sets hold ${often}.`;
  return set.length > 1 ? `It cannot decide between these ${count(set.length)}. Such sets, of one label or more, hold ${often}.` : `One label is enough here. Such sets, of one label or more, hold ${often}.`;
}

const share = (fraction) => Number((100 * fraction).toFixed(2)) + " %";

// The distance to the training images as a bar, with a mark at the limit. The bar ends at twice the limit, or where needed
function showDistance() {
  const { distance, reason } = state.said, limit = calibration.distance_limit, shown = distance !== null && limit !== null && reason !== "blank";
  $("distance").hidden = !shown;
  if (!shown) return;
  const end = Math.max(2 * limit, distance, 1e-6), [bar, mark] = $("distancetrack").children;
  bar.style.width = 100 * Math.max(0, distance) / end + "%";
  mark.style.left = 100 * limit / end + "%";
  $("distance").classList.toggle("far", distance > limit);
  const where = `the limit of ${say(limit, 3)} at the mark`;
  $("distancetext").textContent = `${say(Math.max(0, distance), 3)}, ` + (distance > limit ? `beyond ${where}: none of these.` : `within ${where}: like images that it was trained on.`);
}

// A bar for each class, of many classes for the ten most probable ones. sets: { set, limits }, to mark what is in the set
function showBars(list, names, probabilities, target = -1, sets = null) {
  let order = [...names.keys()];
  if (names.length > 10) order = order.sort((a, b) => probabilities[b] - probabilities[a]).slice(0, 10);
  list.replaceChildren(...order.map((i) => {
    const bar = el("i"), track = el("span", { className: "track", "aria-hidden": true }, bar);
    bar.style.width = 100 * probabilities[i] + "%";
    if (sets) {
      const limit = el("u");
      limit.style.left = 100 * sets.limits[i] + "%";
      track.append(limit);
    }
    return el("li", { className: i === target || sets?.set.includes(i) ? "target" : "" }, el("span", {}, names[i]), track, el("b", {}, percent(probabilities[i])));
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
    said.push(softmax(logitsOf(layersAt(moment), pixels, page.mirrored), temperature));
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
  const { certified, browser, images, sets_agree: sets, max_difference: difference } = page.certificate;
  $("certificate").classList.toggle("none", !certified);
  $("certificate").textContent = certified
    ? `Checked in ${browser}: the same label as PyTorch for all ${count(images)} validation images, ${sets === null ? "" : "the same set of labels, "}the same answer to whether it is none of these, and probabilities within ${difference ? powerOfTen(difference, 0) : 0}.`
    : "Not checked: no Chromium was there to compare this page with PyTorch.";
  $("footer").textContent = `Written by underhood. Everything on this page is computed in it, from the pixels and the weights${page.mirrored ? "; the logits are the mean over the image and its mirror image, and the layers and the distance are those of the image itself" : ""}.`;
}

// What stays the same for all images
function describeCalibration() {
  const { prototypes, rank, neighbours = 1 } = calibration;
  $("temperaturetext").hidden = temperature === 1;
  $("temperaturetext").textContent = `Before that, each logit is divided by ${say(temperature)}, the temperature: a network's probabilities are often too high, or too low, and with this one they fit images that it was not trained on. It was found after the training.`;
  if (prototypes) $("distancewhat").textContent = `The last layer gets a row of numbers for each image, its features. Here their direction is compared with ${count(prototypes.length / rank)} directions that stand for the training images: 0 is the same as the ${neighbours === 1 ? "nearest one" : `${neighbours} nearest ones`}, and 1 has nothing in common with any.`;
}

async function start() {
  describe();
  sheet = new Sheet(page.draws, schedule);
  round = new Round(classes, () => ({ layers: layersNow(), mirrored: page.mirrored, temperature, pixels: state.pixels, probabilities: state.probabilities }));
  const first = forward(layersNow(), tensor(shape));
  views = makeLayerViews(layersNow(), [shape, ...first.map((output) => output.shape)], classes);
  describeCalibration();
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
