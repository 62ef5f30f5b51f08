
// The panel as a notebook's widget: it draws what the widget's state has of each kind of event.
function render({ model, el }) {
  const panel = createPanel(el);
  for (const kind of ["start", "images", "epochs", "curve", "frame"]) {
    const draw = () => { const event = model.get(kind); if (Object.keys(event).length) panel.handle(kind, event); };
    model.on(`change:${kind}`, draw);
    draw();
  }
}
export default { render };
