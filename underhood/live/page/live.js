// The page around the panel: the stream of events, where the training is, and the controls.
"use strict";
const $ = id => document.getElementById(id);
const token = new URLSearchParams(location.search).get("token") || "";
let me = { key: "", steers: false }, facts = null, state = null, ended = false, dial = null;

const panel = createPanel($("panel"), { choose: index => control("image", index) });

async function control(action, value = null, done = "") {  // done: what to say when the server has accepted it
  if (ended) return;
  if (!me.steers) { say("You watch: somebody else steers."); return; }
  try {
    const response = await fetch("api/control", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ action, value, key: me.key }) });
    if (response.ok) { say(done); return; }
    const detail = (await response.json()).detail;
    say(typeof detail === "string" ? detail : "The request was refused.");
  } catch { say("The training does not answer."); }
}

function say(text) { setText($("message"), text); }
function duration(seconds) { return seconds < 90 ? `${Math.ceil(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`; }

function showState() {
  if (!facts || !state) return;
  const paused = state.mode === "pause", epoch = Math.min(Math.ceil(facts.total / facts.epoch_steps), Math.floor(state.step / facts.epoch_steps) + 1);
  const words = [`step ${grouped(state.step)} of ${grouped(facts.total)}`, `epoch ${epoch} of ${Math.ceil(facts.total / facts.epoch_steps)}`];
  if (state.images_per_second) words.push(`${grouped(state.images_per_second)} images a second`);
  if (!ended && state.seconds_left !== null) words.push(`${duration(state.seconds_left)} left`);
  setText($("where"), words.join(" · "));
  $("where").dataset.step = state.step;
  setText($("mode"), ended ? "over" : paused ? "paused" : state.mode === "step" ? "one step" : state.mode === "epoch" ? "to the end of the epoch" : "training");
  $("mode").className = ended || paused ? "badge" : "badge on";
  setText($("pause"), paused ? "Resume" : "Pause");
  for (const id of ["pause", "step", "epoch", "stop", "lr"]) $(id).disabled = ended || !me.steers;
  if (!dial && state.lr) { $("lr").value = Math.round(50 * Math.log10(state.lr / state.started_lr)); showDial(state.lr); }
  panel.handle("marks", { marks: (state.changes || []).map(([step, lr]) => ({ step: step - 1, text: `lr ${short(lr)}` })) });
  panel.handle("zoom", { close: !ended && ["pause", "step"].includes(state.mode) });
}

// The dial: a hundredth to a hundred times of the learning rate that the training started with.
function fromDial() { return +(state.started_lr * 10 ** ($("lr").value / 50)).toPrecision(2); }
function showDial(lr) {
  const times = lr / state.started_lr, factor = times >= 1 ? `× ${short(+times.toPrecision(2))}` : `÷ ${short(+(1 / times).toPrecision(2))}`;
  const text = Math.abs(times - 1) < .01 ? short(lr) : `${short(state.started_lr)} ${factor} = ${short(lr)}`;
  $("lr").setAttribute("aria-valuetext", text); setText($("lrnow"), text);
}
$("lr").addEventListener("input", () => { if (state) { dial = fromDial(); showDial(dial); } });
$("lr").addEventListener("change", () => {
  const asked = fromDial();
  if (Math.abs(asked / state.lr - 1) > .001) control("lr", asked, `From the next step on, the highest learning rate is ${short(asked)}.`);
  setTimeout(() => { dial = null; }, 600);
});

$("pause").addEventListener("click", () => {
  if (state) control(state.mode === "pause" ? "resume" : "pause"); else control("pause", null, "The training is paused before its first step.");
});
$("step").addEventListener("click", () => control("step"));
$("epoch").addEventListener("click", () => control("epoch"));
$("stop").addEventListener("click", () => { if (confirm("Stop the training here, and keep the model as it is?")) control("stop"); });
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || (event.key === " " && event.target.tagName === "BUTTON")) return;
  const button = { " ": "pause", s: "step", e: "epoch" }[event.key];
  if (button) { event.preventDefault(); $(button).click(); }
});

document.addEventListener("click", event => { if (event.detail) event.target.closest("button")?.blur(); });  // by pointer: space pauses again

const handlers = {
  waiting(event) { if (!facts) say(event.text); },
  start(event) { say(""); facts = event; document.title = event.title; setText($("title"), event.title); setText($("run"), event.run); },
  state(event) { if (state && event.step !== state.step) say(""); state = event; showState(); },
  you(event) {
    me = event;
    setText($("role"), me.steers ? "You steer." : "You watch.");
    $("controls").classList.toggle("watching", !me.steers);
    for (const id of ["pause", "stop"]) $(id).disabled = !me.steers;
    showState();
  },
  end(event) { ended = true; state = state && { ...state, mode: "over" }; source.close(); say(event.run ? `${event.text} To see it again: underhood replay ${event.run}` : event.text); showState(); },
};
const source = new EventSource(`api/events?token=${encodeURIComponent(token)}`);
for (const kind of ["waiting", "start", "images", "epochs", "frame", "state", "curve", "you", "end"]) {
  source.addEventListener(kind, message => { const event = JSON.parse(message.data); if (handlers[kind]) handlers[kind](event); panel.handle(kind, event); });
}
source.addEventListener("error", () => { if (!ended) say("The connection is lost; the page tries again. If the training is over, what you see is its end."); });
source.addEventListener("open", () => { if (!ended) say(""); });
