// The page of `replay`: any step of a training that is over, two steps side by side, and when each image was learned.
"use strict";
const $ = id => document.getElementById(id);
let facts = null, chosen = 0, playing = null, learned = null, group = "last";
const images = new Map(), frames = new Map();

const panels = {
  curves: createPanel($("curves"), { frames: false }),
  a: createPanel($("a"), { choose, curves: false, wrongFirst: false }),
  b: createPanel($("b"), { choose, curves: false, wrongFirst: false }),
};

async function get(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error((await response.json()).detail || response.statusText);
  return response.json();
}

async function image(index) {
  if (!images.has(index)) images.set(index, (await get(`api/image/${index}`)).image);
  return images.get(index);
}

async function frame(number) {
  const name = `${number} ${chosen} ${learned ? 1 : 0}`;
  if (!frames.has(name)) {
    if (frames.size > 300) frames.clear();
    frames.set(name, await get(`api/frame/${number}?chosen=${chosen}&watched=${facts.watched.join(",")}`));
  }
  return frames.get(name);
}

// Draws the latest position of a slider; what was asked for in between is left out.
const wanted = { a: null, b: null }, busy = { a: false, b: false };
async function show(side) {
  wanted[side] = Number($(`step${side}`).value);
  const step = facts.steps[wanted[side]], text = `${grouped(step)} of ${grouped(facts.steps[facts.steps.length - 1])}`;
  setText($(`now${side}`), text);
  $(`step${side}`).setAttribute("aria-valuetext", `step ${text}`);
  setText($(`head${side}`), step ? `After step ${grouped(step)}` : "Before the training");
  if (busy[side]) return;
  busy[side] = true;
  try {
    while (wanted[side] !== null) {
      const number = wanted[side]; wanted[side] = null;
      const found = await frame(number);
      panels[side].handle("frame", found);
      if (side === "a") { panels.curves.handle("frame", found); panels.curves.handle("marks", { marks: [{ step: found.step }] }); }
    }
  } catch (error) { setText($("message"), `The page's server does not answer: ${error.message}`); }
  busy[side] = false;
}

async function choose(index) {
  chosen = index;
  const one = { [index]: await image(index) };
  for (const panel of Object.values(panels)) panel.handle("images", { images: one });
  showAll();
}
function showAll() { show("a"); if ($("compare").checked) show("b"); }

function play() {
  if (playing) { clearInterval(playing); playing = null; setText($("play"), "Play"); return; }
  if (Number($("stepa").value) === facts.steps.length - 1) $("stepa").value = 0;
  setText($("play"), "Stop"); show("a");
  playing = setInterval(() => {
    if (busy.a) return;
    if (Number($("stepa").value) >= facts.steps.length - 1) { play(); return; }
    $("stepa").value = Number($("stepa").value) + 1; show("a");
  }, 350);
}

async function watchLearned() {
  const news = await get("api/learned");
  setText($("learnedtext"), `The validation images are being predicted with each snapshot: ${news.done} of ${news.total} …`);
  if (!news.groups) { setTimeout(watchLearned, 500); return; }
  learned = news; frames.clear();
  const { counts } = news;
  setText($("learnedtext"), `At the end ${grouped(counts.learned)} of ${grouped(facts.images)} validation images are right. ${grouped(counts.forgotten)} were right at some snapshot and wrong at the next one: they were forgotten, some for good.`);
  const names = { last: "Learned last", never: "Wrong at the end", forgotten: "Forgotten most often" };
  $("groups").replaceChildren(...Object.entries(names).filter(([name]) => news.groups[name].length).map(([name, text]) =>
    element("button", { type: "button", "aria-pressed": String(name === group), "data-group": name, onclick: () => showGroup(name) }, text)));
  $("table").hidden = false;
  await showGroup(news.groups.last.length ? "last" : "never");
  showAll();
}

async function showGroup(name) {
  group = name;
  for (const button of $("groups").children) button.setAttribute("aria-pressed", String(button.dataset.group === name));
  const rows = learned.groups[name].slice(0, 15);
  await Promise.all(rows.map(image));
  $("rows").replaceChildren(...rows.map(index => {
    const one = learned.rows[index], label = facts.labels[index], last = one.predicted[one.predicted.length - 1];
    const life = element("span", { class: "life", role: "img", "aria-label": `right at ${one.predicted.filter(found => found === label).length} of ${one.predicted.length} snapshots` },
      one.predicted.map((found, i) => element("i", { class: found === label ? "right" : "", title: `step ${grouped(facts.steps[i])}: ${facts.classes[found]}` })));
    const shown = element("button", { type: "button", "aria-label": `show image ${index} in the layers`, onclick: () => { choose(index); scrollTo({ top: 0 }); } }, element("img", { src: images.get(index), alt: one.name }));
    return element("tr", {}, element("td", {}, shown), element("td", {}, facts.classes[label]), element("td", {}, one.at < 0 ? "wrong at the end" : grouped(one.at)), element("td", {}, one.forgotten ? `${one.forgotten} ×` : "–"), element("td", {}, life), element("td", {}, facts.classes[last]));
  }));
}

for (const side of ["a", "b"]) $(`step${side}`).addEventListener("input", () => show(side));
$("play").addEventListener("click", play);
$("compare").addEventListener("change", () => {
  const two = $("compare").checked;
  for (const id of ["sliderb", "boxb", "heada"]) $(id).hidden = !two;
  $("panels").classList.toggle("two", two);
  showAll();
});
document.addEventListener("keydown", event => {
  if (event.key === " " && !["BUTTON", "INPUT"].includes(event.target.tagName)) { event.preventDefault(); play(); }
});

async function start() {
  facts = await get("api/replay");
  document.title = facts.title; setText($("title"), facts.title); setText($("run"), facts.run);
  const last = facts.steps.length - 1;
  for (const side of ["a", "b"]) $(`step${side}`).max = last;
  $("stepa").value = 0; $("stepb").value = last;
  chosen = facts.watched[0];
  const known = Object.fromEntries(await Promise.all(facts.watched.map(async index => [index, await image(index)])));
  for (const panel of Object.values(panels)) {
    panel.handle("start", facts);
    panel.handle("images", { images: known });
    panel.handle("epochs", facts.epochs);
    panel.handle("curve", { points: facts.points, whole: true });
  }
  showAll();
  $("play").focus({ preventScroll: true });
  watchLearned().catch(error => setText($("learnedtext"), error.message));
}
start().catch(error => setText($("message"), error.message));
