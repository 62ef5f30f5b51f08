// The page around the panel: the stream of events, where the training is, and the controls.
"use strict";
const $ = id => document.getElementById(id);
const token = new URLSearchParams(location.search).get("token") || "";
let me = { key: "", steers: false }, facts = null, state = null, ended = false, dial = null;

const panel = createPanel($("panel"), { choose: index => control("image", index) });

async function control(action, value = null) {
  if (ended) return;
  if (!me.steers) { say("You watch: somebody else steers."); return; }
  try {
    const response = await fetch("api/control", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ action, value, key: token || me.key }) });
    if (!response.ok) { const detail = (await response.json()).detail; say(typeof detail === "string" ? detail : "The request was refused."); }
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
  if (!dial && state.lr) showDial(state.lr);
}

// The dial: a hundredth to a hundred times of the learning rate that the training started with.
function toDial(lr) { return 50 * Math.log10(lr / state.started_lr); }
function fromDial(position) { return +(state.started_lr * 10 ** (position / 50)).toPrecision(2); }
function showDial(lr) { $("lr").value = toDial(lr); $("lr").setAttribute("aria-valuetext", short(lr)); setText($("lrnow"), short(lr)); }
$("lr").addEventListener("input", () => { dial = fromDial($("lr").value); showDial(dial); });
$("lr").addEventListener("change", () => { const asked = fromDial($("lr").value); control("lr", asked); say(`From the next step on, the highest learning rate is ${short(asked)}.`); setTimeout(() => { dial = null; }, 600); });

$("pause").addEventListener("click", () => control(state.mode === "pause" ? "resume" : "pause"));
$("step").addEventListener("click", () => control("step"));
$("epoch").addEventListener("click", () => control("epoch"));
$("stop").addEventListener("click", () => { if (confirm("Stop the training here, and keep the model as it is?")) control("stop"); });
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || ["BUTTON", "INPUT", "SELECT"].includes(event.target.tagName)) return;
  const button = { " ": "pause", s: "step", e: "epoch" }[event.key];
  if (button) { event.preventDefault(); $(button).click(); }
});

const handlers = {
  waiting(event) { if (!facts) say(event.text); },
  start(event) { say(""); facts = event; document.title = event.title; setText($("title"), event.title); setText($("run"), event.run); },
  state(event) { state = event; showState(); },
  you(event) { me = event; setText($("role"), me.steers ? "You steer." : "You watch."); showState(); },
  end(event) { ended = true; state = state && { ...state, mode: "over" }; source.close(); say(event.run ? `${event.text} To see it again: underhood replay ${event.run}` : event.text); showState(); },
};
const source = new EventSource(`api/events?token=${encodeURIComponent(token)}`);
for (const kind of ["waiting", "start", "images", "epochs", "frame", "state", "curve", "you", "end"]) {
  source.addEventListener(kind, message => { const event = JSON.parse(message.data); if (handlers[kind]) handlers[kind](event); panel.handle(kind, event); });
}
source.addEventListener("error", () => { if (!ended) say("The connection is lost; the page tries again. If the training is over, what you see is its end."); });
source.addEventListener("open", () => { if (!ended) say(""); });
