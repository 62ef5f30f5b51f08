// The sheet: draw with mouse, finger or keyboard; choose, paste or drop an image; the camera.

const PEN_WIDTH = 22;  // of 336 pixels

class Sheet {
  // draws: whether the model is for drawings; onChange gets what is on the sheet, as the pixels of a canvas, or null
  constructor(draws, onChange) {
    Object.assign(this, { draws, onChange, canvas: $("canvas"), strokes: [], open: null, photo: null, down: false, stream: null });
    this.side = this.canvas.width;
    this.cursor = { x: this.side / 2, y: this.side / 4 };
    this.pen = this.canvas.getContext("2d");
    $("sheet").classList.toggle("upload", !draws);
    if (!draws) {
      this.canvas.setAttribute("aria-label", "Your image");
      this.canvas.removeAttribute("tabindex");
      $("hint").textContent = "Choose an image, paste one, or drop one here.";
    }
    this.listenToPen();
    this.listenToFiles();
    $("camera").addEventListener("click", () => (this.stream ? this.stopCamera() : this.startCamera()));
    $("undo").addEventListener("click", () => this.undo());
    $("clear").addEventListener("click", () => this.clear());
  }

  // --- what is on it

  // On the sheet's context: the photo, and the strokes with this ink on this paper
  paint(context, ink, paper) {
    const { side, photo } = this;
    context.fillStyle = paper; context.fillRect(0, 0, side, side);
    if (photo) {
      const scale = Math.min(side / photo.width, side / photo.height), wide = photo.width * scale, high = photo.height * scale;
      context.imageSmoothingEnabled = scale < 1;
      context.drawImage(photo, (side - wide) / 2, (side - high) / 2, wide, high);
    }
    context.lineCap = context.lineJoin = "round"; context.lineWidth = PEN_WIDTH; context.strokeStyle = ink;
    for (const stroke of this.strokes) {
      context.beginPath(); context.moveTo(stroke[0].x, stroke[0].y);
      if (stroke.length === 1) context.lineTo(stroke[0].x + 0.01, stroke[0].y);
      for (let i = 1; i < stroke.length - 1; i++) {  // through the midpoints, so that corners are round
        const a = stroke[i], b = stroke[i + 1];
        context.quadraticCurveTo(a.x, a.y, (a.x + b.x) / 2, (a.y + b.y) / 2);
      }
      const last = stroke.at(-1); context.lineTo(last.x, last.y); context.stroke();
    }
  }

  show() {
    this.paint(this.pen, colour("--pen"), colour("--sheet"));
    if (this.draws && document.activeElement === this.canvas && this.canvas.matches(":focus-visible")) {
      this.pen.lineWidth = 2; this.pen.strokeStyle = colour("--bar");
      this.pen.beginPath(); this.pen.arc(this.cursor.x, this.cursor.y, this.down ? 7 : 12, 0, 7); this.pen.stroke();
    }
  }

  changed() { this.show(); this.onChange(this); }

  // The pixels: of a photo as they are, of a drawing as dark ink on white paper. null: a blank sheet
  pixels() {
    if (this.photo && !this.strokes.length) return pixelsOnCanvas(this.photo.width, this.photo.height, (context) => context.drawImage(this.photo, 0, 0));
    if (!this.strokes.length) return null;
    return pixelsOnCanvas(this.side, this.side, (context) => this.paint(context, "#000", "#fff"));
  }

  clear() { this.strokes = []; this.photo = null; this.down = false; this.stopCamera(); this.changed(); }
  undo() { if (this.strokes.length) this.strokes.pop(); else this.photo = null; this.down = false; this.changed(); }

  // --- the pen

  listenToPen() {
    const { canvas } = this, place = (event) => {
      const box = canvas.getBoundingClientRect();
      return { x: (event.clientX - box.left) * this.side / box.width, y: (event.clientY - box.top) * this.side / box.height };
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button || !this.draws) return;
      event.preventDefault(); canvas.setPointerCapture(event.pointerId);
      this.begin(place(event)); this.open = this.strokes.at(-1); this.changed();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.open) return;
      for (const one of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) this.open.push(place(one));
      this.changed();
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { this.open = null; });
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.draws) return;
      if (this.key(event.key)) { event.preventDefault(); this.changed(); }
    });
    for (const change of ["focus", "blur"]) canvas.addEventListener(change, () => this.show());
    document.addEventListener("keydown", (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") { event.preventDefault(); this.undo(); }
    });
  }

  // A stroke begins. An example makes place for it; on a photo one draws
  begin(point) {
    if (this.photo?.example) this.photo = null;
    this.strokes.push([point]);
  }

  // Whether a key draws
  key(key) {
    const by = { ArrowLeft: [-8, 0], ArrowRight: [8, 0], ArrowUp: [0, -8], ArrowDown: [0, 8] }[key];
    if (by) {
      const within = (value) => Math.min(this.side, Math.max(0, value));
      this.cursor = { x: within(this.cursor.x + by[0]), y: within(this.cursor.y + by[1]) };
      if (this.down) this.strokes.at(-1).push({ ...this.cursor });
    } else if (key === " ") {
      this.down = !this.down;
      if (this.down) this.begin({ ...this.cursor });
    } else if (key.toLowerCase() === "u") this.undo();
    else if (key.toLowerCase() === "c") this.clear();
    else return false;
    return true;
  }

  // --- files

  listenToFiles() {
    const main = $("main"), over = (is) => (event) => { event.preventDefault(); main.classList.toggle("over", is); };
    $("file").addEventListener("change", (event) => { this.load(event.target.files[0]); event.target.value = ""; });
    document.addEventListener("paste", (event) => this.load([...event.clipboardData.files].find((file) => file.type.startsWith("image/"))));
    document.addEventListener("dragover", over(true));
    document.addEventListener("dragleave", over(false));
    document.addEventListener("drop", (event) => { over(false)(event); this.load(event.dataTransfer.files[0]); });
  }

  async load(file) {
    if (!file) return;
    try {  // its pixels as they are in the file, upright
      this.put(withinLimit(await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" })));
    } catch {
      $("hint").textContent = "This image cannot be read.";
    }
  }

  put(photo) { this.stopCamera(); this.strokes = []; this.photo = photo; this.changed(); }

  // --- the camera

  async startCamera() {
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 640 } } });
    } catch (error) {
      const why = navigator.mediaDevices ? error.name === "NotAllowedError" ? "it was not allowed" : "there is none" : "this browser gives none to a page from a file";
      $("hint").textContent = `No camera: ${why}. Take a photo and choose it as an image.`;
      return;
    }
    const video = $("video");
    video.srcObject = this.stream;
    await video.play();
    this.strokes = [];
    this.showCamera(true);
    const look = () => {
      if (!this.stream) return;
      this.photo = snapshot(video); this.changed();
      setTimeout(look, 120);
    };
    look();
  }

  stopCamera() {
    if (!this.stream) return;
    for (const track of this.stream.getTracks()) track.stop();
    this.stream = null;
    this.showCamera(false);
  }

  showCamera(on) {
    $("video").hidden = !on; this.canvas.hidden = on;
    $("camera").textContent = on ? "Hold this image" : "Camera";
    $("camera").setAttribute("aria-pressed", on);
  }
}

const MAX_PIXELS = 16_000_000;  // of a canvas on phones

// A photo, made smaller where it is too large for a canvas
function withinLimit(photo) {
  const scale = Math.sqrt(MAX_PIXELS / (photo.width * photo.height));
  if (scale >= 1) return photo;
  const canvas = el("canvas", { width: Math.floor(photo.width * scale), height: Math.floor(photo.height * scale) });
  canvas.getContext("2d").drawImage(photo, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function snapshot(video) {
  const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  return canvas;
}

function pixelsOnCanvas(width, height, paint) {
  const context = el("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
  paint(context);
  return context.getImageData(0, 0, width, height);
}
