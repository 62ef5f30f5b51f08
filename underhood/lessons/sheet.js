// A sheet to draw on with a mouse, a finger, a pen or the keyboard. After each stroke its image goes to Python, as PNG.
const SIDE = 280, WIDTH = 18, STEP = 8;
const HELP = "A sheet to draw on. With the keyboard: the arrow keys move the pen, space lowers or lifts it, C clears.";

function render({ model, el }) {
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
  canvas.width = canvas.height = SIDE;
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", HELP);
  canvas.style.cssText = `display: block; width: ${SIDE}px; max-width: 100%; aspect-ratio: 1; background: white;
    border: 1px solid gray; border-radius: 8px; touch-action: none; cursor: crosshair`;
  const button = document.createElement("button");
  button.textContent = "Clear";
  button.style.cssText = `font: inherit; color: inherit; background: transparent; margin-top: 8px; padding: 6px 14px;
    min-height: 44px; border: 1px solid gray; border-radius: 8px; cursor: pointer`;
  el.append(canvas, button);

  let last = null, cursor = { x: SIDE / 2, y: SIDE / 4 }, lowered = false;
  const send = image => { model.set("png", image); model.save_changes(); };
  const paper = () => { pen.fillStyle = "white"; pen.fillRect(0, 0, SIDE, SIDE); };
  const clear = () => { paper(); lowered = false; send(""); };
  const place = event => {
    const box = canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left) * SIDE / box.width, y: (event.clientY - box.top) * SIDE / box.height };
  };
  function line(from, to) {
    pen.lineWidth = WIDTH; pen.lineCap = "round"; pen.strokeStyle = "black";
    pen.beginPath(); pen.moveTo(from.x, from.y); pen.lineTo(to.x + .01, to.y); pen.stroke();
  }
  const finish = () => { if (last) { last = null; send(canvas.toDataURL("image/png")); } };

  canvas.addEventListener("pointerdown", event => {
    event.preventDefault(); canvas.setPointerCapture(event.pointerId);
    last = place(event); line(last, last);
  });
  canvas.addEventListener("pointermove", event => {
    if (last) { const next = place(event); line(last, next); last = next; }
  });
  canvas.addEventListener("pointerup", finish);
  canvas.addEventListener("pointercancel", finish);
  canvas.addEventListener("keydown", event => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (by) {
      const to = { x: cursor.x + STEP * by[0], y: cursor.y + STEP * by[1] };
      if (lowered) line(cursor, to);
      cursor = { x: Math.min(SIDE, Math.max(0, to.x)), y: Math.min(SIDE, Math.max(0, to.y)) };
    } else if (event.key === " ") {
      lowered = !lowered;
      if (lowered) line(cursor, cursor); else send(canvas.toDataURL("image/png"));
    } else if (event.key.toLowerCase() === "c") clear();
    else return;
    event.preventDefault(); event.stopPropagation();
  });
  button.addEventListener("click", clear);

  paper();
  if (model.get("png")) {  // shown again, with what was drawn before
    const image = new Image();
    image.onload = () => pen.drawImage(image, 0, 0);
    image.src = model.get("png");
  }
}
export default { render };
