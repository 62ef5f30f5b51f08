"""Faults that can be planted in data or in a training script, so that a class learns to find them.

``underhood break`` plants them, ``underhood doctor`` finds them, and the benchmark compares the two: all use FAULTS.
``data.py`` changes the images, ``script.py`` changes the script.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from underhood.core.errors import UnknownNameError

Kind = Literal["data", "script"]


@dataclass(frozen=True)
class Fault:
    """A fault.

    checks: names from ``CHECKS`` of which each would be a right diagnosis, the best one first
    what: what is wrong, in a sentence; hints: three, from vague to near; fix: what to do
    colour: needs images with three channels
    """

    name: str
    kind: Kind
    checks: tuple[str, ...]
    what: str
    hints: tuple[str, str, str]
    fix: str
    colour: bool = False


DATA = (
    Fault("labels-shuffled", "data", ("labels",), "All labels were dealt out anew at random.",
          ("Is there anything to learn here at all?",
           "How good would a model be that only guesses? Compare that with the accuracy you see.",
           "Open some images of one class. Do they belong together?"),
          "Take the labels from where the images came from, and keep each label with its image."),
    Fault("labels-noisy", "data", ("labels",), "One image in five has a wrong label.",
          ("The model learns, but less well than it could.",
           "Look at the images that the model gets wrong. Who is right, the model or the label?",
           "Run `underhood check --labels` on the folder, and look at the images that it lists."),
          "Correct the labels that `underhood check --labels` lists, or leave those images out."),
    Fault("labels-swapped-in-validation", "data", ("labels",),
          "The classes of the validation images have each other's names.",
          ("The training looks healthy. Where does the trouble begin?",
           "Look at the confusion matrix of a run: which class is predicted for which?",
           "Compare the folder of one class in `train` with the folder of the same name in `valid`."),
          "Number the classes once, in the same order for training and for validation."),
    Fault("copies-in-validation", "data", ("leak",), "One validation image in ten is a copy of a training image.",
          ("Is the accuracy too good to be true?",
           "What must never happen between training images and validation images?",
           "Are some files in `train` and in `valid` the same?"),
          "Remove the copies from the validation images; hold images out before anything else is done."),
    Fault("changed-copies-in-validation", "data", ("leak",),
          "One validation image in ten is a training image that was cropped, recompressed or brightened.",
          ("Is the accuracy too good to be true?",
           "No two files are equal. But what would a person say who looks at them?",
           "For some images in `valid`, look for the most similar image in `train`."),
          "Keep all versions of an image in the same part: split first, change images afterwards."),
    Fault("border", "data", ("shortcut",),
          "Each image has a frame, and the brightness of the frame gives the class away.",
          ("The accuracy is excellent. Would it be on new images, too?",
           "What does the model look at? The attributions in the report show it.",
           "Look at the edges of the images, class by class."),
          "Cut the frame off, or collect images in which it has nothing to do with the class."),
    Fault("brightness-by-class", "data", ("shortcut",), "How bright an image is gives its class away.",
          ("The accuracy is excellent. Would it be on new images, too?",
           "Could you tell the classes apart if the images were blurred beyond recognition?",
           "Compute the mean brightness of the images of each class."),
          "Take the images of all classes under the same light, or bring them all to the same mean brightness."),
    Fault("imbalance", "data", ("imbalance",), "Nearly all images belong to one class.",
          ("The accuracy is high. Is the model good?",
           "How good would a model be that always gives the same answer?",
           "Count the images of each class."),
          "Collect more images of the rare classes, and report the balanced accuracy."),
    Fault("pixels-divided", "data", ("input-scale",),
          "The pixels were divided by 255, and then stored as whole numbers.",
          ("Look at the data before you look at the model.",
           "Open an image. What do you see?",
           "What are the smallest and the largest number in an image? What could they be?"),
          "Store pixels from 0 to 255, and divide in the training only. What was rounded off is lost: go back to the "
          "original files."),
    Fault("inverted-in-validation", "data", ("preparation",), "In the validation images, light and dark are swapped.",
          ("The training looks healthy. Where does the trouble begin?",
           "Are training images and validation images made in the same way?",
           "Put an image from `train` and one of the same class from `valid` side by side."),
          "Prepare both parts with the same code; here: replace each validation pixel x by 255 − x."),
    Fault("blurred-and-dark-in-validation", "data", ("preparation",), "The validation images are blurred and dark.",
          ("The training looks healthy. Where does the trouble begin?",
           "Are training images and validation images made in the same way?",
           "Compare the mean brightness of the images in `train` with that in `valid`."),
          "Take validation images as they will be in use, and training images like them."),
    Fault("rotated-in-validation", "data", ("preparation",), "The validation images lie on their side.",
          ("The training looks healthy. Where does the trouble begin?",
           "Are training images and validation images made in the same way?",
           "Put an image from `train` and one of the same class from `valid` side by side. Which way is up?"),
          "Turn the validation images back; when files are converted, heed how the camera was held (EXIF)."),
    Fault("channels-swapped-in-validation", "data", ("channels", "preparation"),
          "In the validation images, red and blue are swapped.",
          ("The training looks healthy. Where does the trouble begin?",
           "Are training images and validation images made in the same way?",
           "Which colour has the sky in `train`, and which in `valid`?"),
          "Keep one order of the channels: OpenCV reads blue, green, red; nearly everything else red, green, blue.",
          colour=True),
)  # fmt: skip

SCRIPT = (
    Fault("gradients-not-zeroed", "script", ("zero-grad",), "The gradients are never set back to zero.",
          ("Something is carried along from step to step.",
           "Which lines must stand in every step, and in which order?",
           "`backward` adds to the gradients. Who sets them back?"),
          "Call `optimizer.zero_grad()` in each step, before `loss.backward()`."),
    Fault("zeroed-before-step", "script", ("zero-grad", "no-step"),
          "The gradients are set to zero before the step uses them.",
          ("All lines are there. That is not the same as being right.",
           "Read the loop line by line, and say aloud what each gradient is after the line.",
           "What does `optimizer.step()` find when it looks at the gradients?"),
          "In this order: `optimizer.zero_grad()`, `loss.backward()`, `optimizer.step()`."),
    Fault("forgotten-step", "script", ("no-step",), "The step of the optimizer is missing.",
          ("Does the model change at all?",
           "Print one weight after each epoch.",
           "Which lines must stand in every step? One of them is missing."),
          "Call `optimizer.step()` after `loss.backward()`."),
    Fault("optimizer-of-another-model", "script", ("no-step", "frozen-parameters"),
          "The optimizer has the parameters of another model than the one that is trained.",
          ("Does the model change at all?",
           "Print one weight after each epoch. Then ask who should have changed it.",
           "Which parameters does the optimizer have, and when did it get them?"),
          "Make the optimizer last, from the parameters of the model that the loop calls."),
    Fault("softmax-twice", "script", ("double-softmax",),
          "The model ends in a softmax, and the loss takes another one.",
          ("The loss falls, and then stays higher than you would expect.",
           "What does the loss function do to the outputs of the model before it compares?",
           "Look at the last layer, and read the documentation of `cross_entropy`."),
          "Remove the softmax from the model: `cross_entropy` takes scores and has a softmax inside."),
    Fault("learning-rate-too-high", "script", ("learning-rate",),
          "The learning rate is several hundred times too high.",
          ("Look at the loss from the first epoch on.",
           "Each step changes the weights. By how much?",
           "Run the script with a tenth of one number, and with a tenth of that."),
          "Use a learning rate near 0.05; `underhood lr-find` looks for one."),
    Fault("learning-rate-too-low", "script", ("learning-rate",), "The learning rate is ten thousand times too low.",
          ("Everything goes in the right direction. And?",
           "How far does a weight move in an epoch?",
           "Run the script with ten times of one number, and with ten times of that."),
          "Use a learning rate near 0.05; `underhood lr-find` looks for one."),
    Fault("not-shuffled", "script", ("data-order",), "The training images arrive class by class.",
          ("The model learns, and forgets again.",
           "Print the labels of the first batches.",
           "In which order does the model see the images?"),
          "Give the DataLoader of the training images `shuffle=True`."),
    Fault("same-batch", "script", ("data-order",), "Every step trains on the same batch.",
          ("The loss is splendid and the accuracy is not.",
           "How many different images does the model see in an epoch?",
           "Print the labels of the first batches, and compare them."),
          "Iterate over the loader: `for x, y in train_dl:`."),
    Fault("missing-eval", "script", ("train-eval",), "The accuracy is measured while the model is in training mode.",
          ("Is it the training that is wrong, or the measurement?",
           "Measure the accuracy twice without training in between.",
           "Which layers behave differently in training and in use, and who tells them?"),
          "Call `model.eval()` before measuring, and `model.train()` before training goes on."),
    Fault("detached", "script", ("no-gradient", "frozen-parameters"), "The gradient does not reach the first layers.",
          ("A part of the model does not take part.",
           "Print `parameter.grad` for each parameter after `loss.backward()`.",
           "Follow the way from the loss back to the first layer. Where is it cut?"),
          "Remove `.detach()`: call `model(x)` as it is."),
    Fault("pixels-not-scaled", "script", ("input-scale",), "The pixels go into the model as numbers up to 255.",
          ("Look at the numbers before you look at the model.",
           "Print the mean and the standard deviation of a batch.",
           "What would the line that prepares the images need for pixels from 0 to 255?"),
          "Divide the pixels by 255 before the mean is subtracted."),
    Fault("wrong-loss", "script", ("wrong-loss",), "The loss expects log-probabilities, and gets plain scores.",
          ("Can this loss be what it says?",
           "How small can a loss of this kind be? How small is it here?",
           "Read the documentation of the loss function: what does it expect?"),
          "Use `F.cross_entropy(model(x), y)`."),
    Fault("broadcast", "script", ("broadcast",), "Outputs [n, 1] and targets [n] are compared as a table [n, n].",
          ("Nothing is learned, although every line looks right.",
           "Print the shapes of everything that goes into the loss.",
           "What happens in PyTorch when [32, 1] meets [32]?"),
          "Give outputs and targets the same shape: leave the targets as [n, 1]."),
    Fault("frozen-layers", "script", ("frozen-parameters",), "Only the last layer is trained.",
          ("A part of the model does not take part.",
           "Print one weight of each layer after each epoch.",
           "Which parameters does the optimizer have?"),
          "Give the optimizer `model.parameters()`."),
    Fault("images-and-labels-apart", "script", ("labels",), "The training images were shuffled without their labels.",
          ("Is there anything to learn here at all?",
           "How good would a model be that only guesses? Compare that with the accuracy you see.",
           "Show some training images with their labels, just before the loop begins."),
          "Shuffle images and labels with the same order, or leave it to the DataLoader."),
    Fault("measured-on-training-images", "script", ("leak",), "The accuracy is measured on the training images.",
          ("Is the accuracy too good to be true?",
           "On which images is the model measured?",
           "Follow the variables of the validation images back to where they come from."),
          "Make the validation loader from `data.valid`."),
    Fault("validation-not-normalised", "script", ("preparation",),
          "The validation images are not prepared like the training images.",
          ("The training looks healthy. Where does the trouble begin?",
           "What happens to a training image on its way into the model, and what to a validation image?",
           "Print the mean and the standard deviation of a training batch and of a validation batch."),
          "Prepare both with the same function: `tensors(data.valid)`."),
    Fault("dead-units", "script", ("dead-units",),
          "The units of a layer start so low that a ReLU turns all of them to 0.",
          ("A part of the model does not take part.",
           "Print what comes out of each layer for one batch.",
           "What does a ReLU make of numbers below 0, and what is its gradient there?"),
          "Leave the biases as PyTorch sets them."),
    Fault("log-of-zero", "script", ("nan",), "The loss takes the logarithm of a softmax, which can be exactly 0.",
          ("Look at the loss. Is it a number at all?",
           "Which functions cannot take any number?",
           "What is the logarithm of 0, and how small is a softmax of scores that lie far apart?"),
          "Use `F.cross_entropy(model(x), y)`, which computes the logarithm of the softmax safely."),
)  # fmt: skip

FAULTS: tuple[Fault, ...] = DATA + SCRIPT


def fault_named(name: str) -> Fault:
    """The fault of this name. Raises UnknownNameError."""
    for fault in FAULTS:
        if fault.name == name:
            return fault
    raise UnknownNameError("fault", name, [fault.name for fault in FAULTS])


def faults_for(kind: Kind, channels: int) -> Sequence[Fault]:
    """The faults of a kind that can be planted where images have this many channels."""
    return [fault for fault in FAULTS if fault.kind == kind and (channels == 3 or not fault.colour)]
