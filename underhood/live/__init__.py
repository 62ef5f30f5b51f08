"""Watch a network learn: a page that shows a training from inside while it runs, or again from a run's snapshots.

frames.py   what is shown of a network at one step: probabilities, weights, feature maps, dead units
view.py     a training as events for a page: curve, epochs, frames
hub.py      what the training's thread and the server's share
app.py      the HTTP interface: the page, the stream of events, the controls
server.py   ``train --live``: the page of one training
replay.py   ``replay``: the same page on a run's snapshots
panel.py    ``LivePanel``: the same panel in a notebook
"""
