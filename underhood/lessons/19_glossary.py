import marimo

app = marimo.App(width="medium", app_title="19 · Glossary", layout_file="layouts/19_glossary.slides.json")

with app.setup:
    from itertools import groupby

    import marimo as mo


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 19 · Glossary

    Every term of the course and of the commands, in alphabetical order: what it means, which lesson introduces it, and
    what PyTorch and fastai call it where they use another word. Type a few letters to see only the terms and meanings
    that contain them.
    """)
    return


@app.cell(hide_code=True)
def _():
    wanted = mo.ui.text(label="search", placeholder="for instance: gradient", debounce=False)
    wanted
    return (wanted,)


@app.cell(hide_code=True)
def _():
    # Made from docs/glossary.md by docs/hooks/glossary.py: change it there.
    entries = """
    **accuracy**: The fraction of the images whose most probable class is the label. [Lesson
    3](?file=03_similarity.py).

    **activation**: A number that a layer computes from its inputs. [Lesson 12](?file=12_nonlinearity.py). *PyTorch:
    output, activation.*

    **AdamW**: An optimizer that gives each parameter a step length of its own, from the gradients that it had so
    far. [Lesson 11](?file=11_learner.py). *PyTorch: `torch.optim.AdamW`; fastai: `Adam`.*

    **adversarial**: Of an image: changed by so little that people hardly see it, so that a model predicts another
    class. [Lesson 16](?file=16_adversarial.py).

    **adversarial training**: Training on adversarial images as well, so that they mislead the model less. [Lesson
    16](?file=16_adversarial.py).

    **argmax**: The index of the largest number. [Lesson 13](?file=13_deeper.py).

    **array**: A table of numbers of one type, with any number of axes. [Lesson 1](?file=01_pixels.py). *PyTorch:
    `ndarray` of NumPy.*

    **attributions**: How much each pixel adds to the logit of a class, by integrated gradients; HTTP key
    `contributions`. *PyTorch: `IntegratedGradients` of Captum.*

    **autograd**: The part of PyTorch that records each calculation and computes derivatives from the record.
    [Lesson 5](?file=05_gradients.py). *PyTorch and fastai: `torch.autograd`.*

    **axis**: One of the directions in which a tensor extends, such as its rows. [Lesson 2](?file=02_tensors.py).
    *PyTorch: `dim`; fastai: dimension, axis.*

    **backbone**: A pretrained network without its last layer, which turns an image into features for a new task.
    [Lesson 17](?file=17_ten_digits.py). *PyTorch: feature extractor; fastai: body.*

    **backpropagation**: Computing the gradient layer by layer, from the loss back to the first layer, by the chain
    rule. [Lesson 15](?file=15_backpropagation.py). *PyTorch and fastai: `loss.backward()`.*

    **backward pass**: The calculation of all gradients, from the loss back to the parameters. [Lesson
    5](?file=05_gradients.py). *PyTorch and fastai: `loss.backward()`.*

    **balanced accuracy**: The mean of the accuracies of the single classes, so that rare classes count as much as
    common ones. *fastai: `BalancedAccuracy`.*

    **baseline**: A simple model that a better one has to beat. [Lesson 3](?file=03_similarity.py).

    **batch**: The images and labels that one step trains on, also called mini-batch. [Lesson
    8](?file=08_training_loop.py). *fastai: batch, `xb, yb`.*

    **batch normalisation**: A layer that normalises activations, with the mean and std of the batch while training.
    [Lesson 13](?file=13_deeper.py). *PyTorch: `nn.BatchNorm2d`; fastai: `BatchNorm`.*

    **batch size**: The number of images in a batch. [Lesson 8](?file=08_training_loop.py). *PyTorch: `batch_size`;
    fastai: `bs`.*

    **bias**: A parameter that is added, not multiplied. [Lesson 7](?file=07_loss.py).

    **broadcasting**: The rule by which tensors of different shapes are combined: an axis that is missing or has
    length 1 is repeated, without a copy. [Lesson 2](?file=02_tensors.py).

    **calibration**: How well probabilities agree with accuracy: of the predictions with 90 % probability, 90 %
    should be right.

    **chain rule**: The derivative of a function of a function is the product of their derivatives. [Lesson
    15](?file=15_backpropagation.py).

    **channel**: One of the tables of numbers that an image consists of: one for grey, three for red, green and
    blue. [Lesson 1](?file=01_pixels.py). *PyTorch: channel, `C` in `NCHW`.*

    **checkpoint, state**: Everything that is needed to resume a training: parameters, optimizer, step,
    measurements. *PyTorch: `state_dict`; fastai: `learn.save(with_opt=True)`.*

    **class**: One of the categories between which a model decides. [Lesson 3](?file=03_similarity.py). *fastai:
    category; `dls.vocab` has all.*

    **class mean**: The mean of the training images of one class; stored in `ideals.npy`. [Lesson
    3](?file=03_similarity.py).

    **confidence interval**: A range around a measured accuracy; of 100 ranges measured on as many images each,
    about 95 contain the true accuracy (Wilson's interval). [Lesson 13](?file=13_deeper.py).

    **conflict**: The same image with two different labels.

    **confusion matrix**: How many images of each class are predicted as each class. [Lesson
    17](?file=17_ten_digits.py). *fastai: `plot_confusion_matrix`.*

    **control**: A run that is known to be healthy, beside the one that is examined, so that one can see what chance
    alone does. [Lesson 10](?file=10_doctor.py).

    **convolution**: A layer that applies the same small grid of weights at every position of an image. [Lesson
    13](?file=13_deeper.py). *PyTorch: `nn.Conv2d`; fastai: `ConvLayer`.*

    **cross-entropy**: The loss for several classes: minus the logarithm of the probability of the right class,
    averaged over the images. [Lesson 15](?file=15_backpropagation.py). *PyTorch: `cross_entropy`,
    `CrossEntropyLoss`; fastai: `CrossEntropyLossFlat`.*

    **data augmentation**: Random small changes of the training images, such as shifts and rotations, that keep
    their label. [Lesson 14](?file=14_overfitting.py). *PyTorch: random transforms; fastai: `aug_transforms`,
    `batch_tfms`.*

    **DataLoader**: Makes batches of a data set, in a new order in each epoch. [Lesson
    8](?file=08_training_loop.py). *fastai: `DataLoader`, `TfmdDL`.*

    **DataLoaders**: The DataLoader of the training set and that of the validation set. *fastai: `DataLoaders`,
    `dls`.*

    **data set**: Labelled images, in a training part, a validation part and sometimes a test part. *PyTorch:
    `Dataset`; fastai: `Datasets`.*

    **Dataset**: Anything with a length whose items are pairs of input and target. [Lesson
    8](?file=08_training_loop.py). *fastai: `Datasets`.*

    **data type**: The type of the numbers in a tensor, such as float32 or uint8. [Lesson 2](?file=02_tensors.py).
    *PyTorch and fastai: `dtype`.*

    **dead unit**: A feature of a layer that is 0 for every image, so that it contributes nothing. [Lesson
    15](?file=15_backpropagation.py). *PyTorch: dead ReLU; fastai: near-zero activations of `ActivationStats`.*

    **derivative**: How fast a function's value changes where its input is: the slope of the function there. [Lesson
    5](?file=05_gradients.py). *PyTorch: `.grad`.*

    **duplicate**: The same image twice with the same label.

    **early stopping**: Ending a training when the validation loss no longer falls. [Lesson
    14](?file=14_overfitting.py). *fastai: `EarlyStoppingCallback`.*

    **epoch**: One pass over the training set. [Lesson 8](?file=08_training_loop.py).

    **false alarm**: What a test calls wrong although it is not; the more tests, the more of them. [Lesson
    10](?file=10_doctor.py).

    **fast gradient sign method**: An adversarial image in one step: each pixel moves by ε in the direction that
    makes the loss larger. [Lesson 16](?file=16_adversarial.py).

    **feature map**: What one kernel makes of an image: a table of activations, one for each position. [Lesson
    13](?file=13_deeper.py). *PyTorch: output channel.*

    **features**: The activations that the last layer of a network gets. [Lesson 17](?file=17_ten_digits.py).

    **finding**: What the doctor says about one suspicion: a verdict, a number that was measured, and a fix. [Lesson
    10](?file=10_doctor.py).

    **finite differences**: The derivative measured: move the input by a little and divide the change of the value
    by the change of the input. [Lesson 5](?file=05_gradients.py). *PyTorch: `gradcheck`.*

    **fit**: The part of a preparation that brings an image into its shape: `pad`, `crop`, `stretch` or `digit`.
    *fastai: `ResizeMethod`.*

    **forward pass**: The calculation of predictions, and of the loss, from the inputs. [Lesson
    5](?file=05_gradients.py). *PyTorch and fastai: forward.*

    **frozen**: Of parameters: left as they are during training. [Lesson 17](?file=17_ten_digits.py). *PyTorch:
    `requires_grad = False`; fastai: `learn.freeze()`.*

    **GPU**: A processor made for graphics, which does the same calculation for thousands of numbers at once.
    [Lesson 2](?file=02_tensors.py). *PyTorch: device `cuda`; fastai: `default_device()`.*

    **gradient**: The derivatives of the loss with respect to all parameters: how much it changes if one of them
    changes a little. [Lesson 5](?file=05_gradients.py). *PyTorch: `.grad`.*

    **gradient descent**: Making a loss smaller by small steps of the parameters against the gradient. [Lesson
    6](?file=06_roller_coaster.py).

    **head**: The last layer of a network, which turns features into scores; the rest is the backbone. [Lesson
    17](?file=17_ten_digits.py).

    **hidden layer**: A layer whose activations are neither the input nor the output. [Lesson
    12](?file=12_nonlinearity.py).

    **hook**: A function that PyTorch calls at each step, layer or `backward`, and that may look at what passes
    through. [Lesson 10](?file=10_doctor.py). *PyTorch: `register_forward_hook`; fastai: `Hook`, callback.*

    **image**: One sample of the data: a table of pixels if it is grey, three tables if it has colour. [Lesson
    1](?file=01_pixels.py). *PyTorch: input, sample; fastai: item, `x`, `PILImage`.*

    **initialise**: To give the parameters their first values, small random numbers. [Lesson
    4](?file=04_learning.py). *PyTorch: `nn.init`; fastai: `init`.*

    **in place**: Changing a tensor's own numbers instead of making a new tensor; the name of the method ends in an
    underscore. [Lesson 5](?file=05_gradients.py). *PyTorch and fastai: `zero_`.*

    **kernel**: The small grid of weights of a convolution, also called filter. [Lesson 13](?file=13_deeper.py).
    *PyTorch: `kernel_size`; fastai: `ks`.*

    **L1**: The mean absolute difference. [Lesson 3](?file=03_similarity.py). *PyTorch: `l1_loss`; fastai:
    `L1LossFlat`.*

    **L2**: The root of the mean squared difference (RMSE). [Lesson 3](?file=03_similarity.py). *fastai: `rmse`.*

    **label**: The class that an image belongs to, as given in the data. [Lesson 1](?file=01_pixels.py). *PyTorch:
    target; fastai: target, category, `y`.*

    **label issue**: An image whose label is probably wrong, because models that were not trained on it find another
    class more probable. *fastai: `ImageClassifierCleaner` shows the highest losses.*

    **layer**: One step of a model, such as a linear function, a convolution or a ReLU. [Lesson
    12](?file=12_nonlinearity.py). *PyTorch: `nn.Module`.*

    **layer statistics**: Mean and std of a layer's outputs, and sizes of its gradients and updates, measured during
    training. *PyTorch: forward hooks; fastai: `ActivationStats`.*

    **leak**: The same image in the training set and in the validation or test set, which makes accuracy too high.
    *fastai: data leakage.*

    **Learner**: A model, its data and how it is trained, with the training loop. [Lesson 11](?file=11_learner.py).

    **learning curve**: The accuracy against the number of training images, which shows what more images would gain.
    [Lesson 14](?file=14_overfitting.py).

    **learning rate (lr)**: How far a step goes along the gradient. [Lesson 5](?file=05_gradients.py). *PyTorch and
    fastai: `lr`.*

    **least squares**: Finding the parameters for which the sum of the squared differences is smallest. [Lesson
    6](?file=06_roller_coaster.py). *PyTorch: `torch.linalg.lstsq`.*

    **linear**: Of a function or layer: inputs times weights, added up, plus a bias. [Lesson 7](?file=07_loss.py).
    *PyTorch and fastai: `nn.Linear`.*

    **list comprehension**: A list, written as the loop that makes it: `[2 * x for x in numbers if x > 0]`. [Lesson
    3](?file=03_similarity.py).

    **logit**: The number that a model computes for a class before the softmax. [Lesson
    15](?file=15_backpropagation.py). *PyTorch: logit, raw output; fastai: activation of the last layer.*

    **loss**: The number that training makes smaller: how wrong the predictions for a batch are. [Lesson
    4](?file=04_learning.py). *PyTorch: loss, criterion; fastai: `loss_func`.*

    **loss curve**: The loss, drawn over the steps. [Lesson 9](?file=09_broken.py). *fastai: `recorder.plot_loss`.*

    **matrix**: Numbers in rows and columns: a tensor of rank 2. [Lesson 2](?file=02_tensors.py). *PyTorch: 2-d
    tensor.*

    **matrix multiplication**: The product `a @ b`: each entry is a row of `a` times a column of `b`, entry by
    entry, added up. [Lesson 7](?file=07_loss.py). *PyTorch: `@`, `matmul`; fastai: `@`.*

    **McNemar's test**: Whether two models are equally accurate, from the images that only one of them predicts
    right.

    **mean squared error**: The mean of the squared differences between predictions and targets. [Lesson
    6](?file=06_roller_coaster.py). *PyTorch: `mse_loss`, `MSELoss`; fastai: `mse`, `MSELossFlat`.*

    **mean, standard deviation (std)**: The average of the training set's pixels, and how far they typically are
    from it, per channel. *PyTorch: mean, std; fastai: `mean`, `std`.*

    **metric**: A number for people that says how good predictions are. [Lesson 3](?file=03_similarity.py).

    **mini-batch**: The few images and labels that one step trains on; another word for batch. [Lesson
    8](?file=08_training_loop.py). *PyTorch: batch; fastai: batch, `xb, yb`.*

    **MNIST**: 70,000 handwritten digits, grey, 28 × 28 pixels: 60,000 to train and 10,000 to validate. [Lesson
    1](?file=01_pixels.py). *PyTorch: `MNIST` of torchvision; fastai: `URLs.MNIST`.*

    **model**: A function from images to predictions, with parameters that are learned. [Lesson
    4](?file=04_learning.py). *PyTorch: `nn.Module`; fastai: `learn.model`.*

    **module**: A part of a model as an object that has its parameters and can be called like a function. [Lesson
    11](?file=11_learner.py). *PyTorch: `nn.Module`; fastai: `Module`.*

    **momentum**: The fraction of the previous step's direction that an optimizer keeps. [Lesson
    11](?file=11_learner.py). *PyTorch: `momentum`, `betas[0]`; fastai: `mom`, `moms`.*

    **NaN**: Not a number: what a calculation such as 0 / 0 or ∞ − ∞ gives. A loss of NaN has diverged. [Lesson
    9](?file=09_broken.py). *PyTorch and fastai: `nan`.*

    **neural network**: A model made of layers, linear ones and nonlinearities in turn. [Lesson
    12](?file=12_nonlinearity.py). *PyTorch: `nn.Sequential`, `nn.Module`; fastai: model.*

    **nonlinearity**: A function between two linear layers that keeps them from being one, such as ReLU or sigmoid.
    [Lesson 12](?file=12_nonlinearity.py). *PyTorch: activation function; fastai: activation function, `act_cls`.*

    **norm**: The length of a vector: a number for how large all its entries are together. [Lesson
    3](?file=03_similarity.py). *PyTorch: `linalg.norm`.*

    **normalisation**: Subtracting a mean from each channel and dividing by a standard deviation. *PyTorch:
    `Normalize` of torchvision; fastai: `Normalize`.*

    **one cycle**: The schedule in which the learning rate rises, then falls to almost 0, while momentum does the
    reverse. [Lesson 11](?file=11_learner.py). *PyTorch: `OneCycleLR`; fastai: `fit_one_cycle`.*

    **one-hot**: A way to write a class as numbers: 1 in the place of the class, 0 in all others. [Lesson
    15](?file=15_backpropagation.py). *PyTorch: `F.one_hot`; fastai: `one_hot`.*

    **optimizer**: The rule by which a gradient changes the parameters, such as SGD or AdamW. [Lesson
    11](?file=11_learner.py). *PyTorch: `torch.optim`; fastai: `opt_func`.*

    **out-of-distribution image**: An image that shows none of the classes, such as a letter for a model of digits.
    [Lesson 17](?file=17_ten_digits.py).

    **overfitting**: Learning details of the training set that do not hold for other images. [Lesson
    14](?file=14_overfitting.py).

    **padding**: A border of zeros around an image, so that a window can also stand on its edge. [Lesson
    13](?file=13_deeper.py).

    **parameter**: A number in a model that training changes. [Lesson 4](?file=04_learning.py). *PyTorch:
    `nn.Parameter`.*

    **pixel**: One point of an image: in each channel a whole number from 0 (black) to 255 (white). Of a digit, the
    lessons read it as the amount of ink. [Lesson 1](?file=01_pixels.py). *PyTorch and fastai: element.*

    **pixel similarity**: The baseline: the class whose mean image is nearest to an image. [Lesson
    3](?file=03_similarity.py).

    **pooling**: Replacing neighbouring activations by one, their maximum or their mean, which makes an image
    smaller. [Lesson 13](?file=13_deeper.py). *PyTorch: `nn.MaxPool2d`, `nn.AvgPool2d`; fastai: `MaxPool`.*

    **precision**: The fraction of the images predicted as a class that really are of it. [Lesson
    17](?file=17_ten_digits.py). *fastai: `Precision`.*

    **prediction set**: The labels that an image may have: all that are probable enough, so that the set holds the
    right one as often as stated (the coverage). [Lesson 17](?file=17_ten_digits.py).

    **preparation**: How an image file of any size and colour becomes an array of pixels of one shape. [Lesson
    17](?file=17_ten_digits.py). *PyTorch: transform; fastai: item transform (`Resize`).*

    **pretrained**: Of a network: trained before, on other data, so that its weights need not start at random.
    [Lesson 17](?file=17_ten_digits.py). *PyTorch: `weights=` of torchvision; fastai: `pretrained=True`.*

    **probability**: How likely a class is according to the model, from 0 to 1. [Lesson
    15](?file=15_backpropagation.py). *PyTorch: softmax output; fastai: prediction, `probs`.*

    **rank**: The number of a tensor's axes, which is the length of its shape. [Lesson 2](?file=02_tensors.py).
    *PyTorch: `ndim`, `dim()`; fastai: `ndim`.*

    **recall**: The fraction of the images of a class that are predicted as it. [Lesson 17](?file=17_ten_digits.py).
    *fastai: `Recall`.*

    **recorder**: The losses, learning rates and metrics that a Learner has measured. *fastai: `learn.recorder`.*

    **rejected**: Not predicted as any class, because the image is unlike the training images, blank, or has no
    probable class; shown to learners as "none of these". [Lesson 17](?file=17_ten_digits.py).

    **ReLU**: The layer that replaces negative numbers by 0. [Lesson 12](?file=12_nonlinearity.py). *PyTorch and
    fastai: `nn.ReLU`.*

    **residual**: What a block of layers adds to its own input, which a shortcut carries past it. [Lesson
    13](?file=13_deeper.py). *PyTorch: residual in ResNet; fastai: `ResBlock`.*

    **residual block**: Two convolutions and a shortcut that adds their input to their output. [Lesson
    13](?file=13_deeper.py). *PyTorch: `BasicBlock` of torchvision; fastai: `ResBlock`.*

    **resume**: Continue an interrupted run from its last saved state, with the same result as without the
    interruption. *PyTorch: load a checkpoint; fastai: `learn.load`, `start_epoch`.*

    **run**: One training and the folder with everything that it leaves: record, weights, measurements, report.

    **scalar**: A single number: a tensor of rank 0. [Lesson 2](?file=02_tensors.py). *PyTorch: 0-d tensor.*

    **schedule**: How the learning rate changes from step to step. [Lesson 11](?file=11_learner.py). *PyTorch:
    `lr_scheduler`; fastai: `ParamScheduler`.*

    **score**: What a model computes for an image, or for a class, before it is turned into a probability. [Lesson
    4](?file=04_learning.py). *PyTorch: output, logit; fastai: activation.*

    **seed**: The number from which all random numbers of a run follow, so that the run can be repeated. [Lesson
    6](?file=06_roller_coaster.py). *PyTorch: `manual_seed`; fastai: `set_seed`.*

    **shape**: The lengths of a tensor along all its axes, such as `[6131, 28, 28]`. [Lesson
    2](?file=02_tensors.py). *PyTorch: `shape`, `size()`.*

    **shortcut**: A way around some layers on which their input is passed on unchanged; others say skip connection.
    [Lesson 13](?file=13_deeper.py). *fastai: `ResBlock`.*

    **shuffling**: Putting the images into a new random order before each epoch. [Lesson
    8](?file=08_training_loop.py). *PyTorch and fastai: `shuffle=True`.*

    **sigmoid**: The function 1 / (1 + e⁻ˣ), which turns any number into one between 0 and 1 and keeps the order.
    [Lesson 7](?file=07_loss.py). *PyTorch: `sigmoid`, `nn.Sigmoid`.*

    **slice**: A part of a tensor, from one index to before another, that shares its numbers with the whole. [Lesson
    1](?file=01_pixels.py). *PyTorch: view, slice.*

    **softmax**: The function that turns the logits of an image into probabilities that sum to 1. [Lesson
    15](?file=15_backpropagation.py). *fastai: applied by `get_preds`.*

    **stack**: To lay tensors of one shape on one another, along a new axis. [Lesson 2](?file=02_tensors.py).

    **standardise**: To subtract the mean and divide by the standard deviation; others say normalise. [Lesson
    6](?file=06_roller_coaster.py). *fastai: `Normalize`.*

    **step**: One change of all parameters, from one batch. *PyTorch: iteration, `optimizer.step()`; fastai: batch.*

    **stochastic**: Random: in stochastic gradient descent (SGD) the gradient of a step is that of a randomly drawn
    batch. [Lesson 8](?file=08_training_loop.py). *PyTorch: `torch.optim.SGD`; fastai: `SGD`.*

    **stride**: How many numbers it is from one index to the next along an axis; 0 where broadcasting repeats them.
    Of a convolution: how many pixels the window moves. [Lesson 2](?file=02_tensors.py).

    **symmetry**: Units with equal weights get equal gradients and stay equal; random first weights break it.
    [Lesson 15](?file=15_backpropagation.py).

    **symptom**: What many faults have in common, such as a loss that does not fall; a cause is what one line of
    code or a thing in the data does. [Lesson 10](?file=10_doctor.py).

    **target**: What a model should predict for an input: a label as a number that a loss can use. [Lesson
    7](?file=07_loss.py). *fastai: `y`, `yb`.*

    **tensor**: PyTorch's array, which can also lie on a GPU and take part in autograd. [Lesson
    1](?file=01_pixels.py). *PyTorch: `Tensor`; fastai: `Tensor`, `TensorImage`.*

    **test set**: The images on which the final model is measured, once. [Lesson 14](?file=14_overfitting.py).

    **threshold**: The probability below which predictions are rejected. [Lesson 17](?file=17_ten_digits.py).
    *fastai: `thresh`, for several labels.*

    **training set**: The images from which the parameters are learned. [Lesson 1](?file=01_pixels.py). *fastai:
    `dls.train_ds`.*

    **transfer learning**: Using what a network has learned from other data: train a new last layer on its features,
    or go on training all of its layers. [Lesson 17](?file=17_ten_digits.py). *PyTorch: transfer learning,
    fine-tuning; fastai: `vision_learner`, `fine_tune`.*

    **transpose**: To exchange two axes of a tensor: rows become columns. [Lesson 2](?file=02_tensors.py). *PyTorch:
    `.T`, `transpose`; fastai: `.T`.*

    **underfitting**: A model that is not even good on its training images. [Lesson 14](?file=14_overfitting.py).

    **unit**: One of the activations of a layer, with the weights that compute it; others say neuron or node.
    [Lesson 12](?file=12_nonlinearity.py).

    **universal approximation**: The theorem that two linear layers with a nonlinearity between them come as near to
    any continuous function as one likes, if there are enough units. [Lesson 12](?file=12_nonlinearity.py).

    **validation set**: The images on which a model is measured while choices are still made. [Lesson
    1](?file=01_pixels.py). *fastai: `dls.valid_ds`.*

    **vanishing gradient**: A gradient that becomes smaller from layer to layer until the first ones hardly learn.
    [Lesson 13](?file=13_deeper.py).

    **vector**: Numbers in a row: a tensor of rank 1. [Lesson 2](?file=02_tensors.py). *PyTorch: 1-d tensor.*

    **weight**: A parameter that multiplies an input. [Lesson 4](?file=04_learning.py).

    **weight decay**: Making all weights a little smaller in each step, against overfitting. [Lesson
    14](?file=14_overfitting.py). *PyTorch: `weight_decay`; fastai: `wd`.*
    """
    return (entries,)


@app.cell(hide_code=True)
def _(entries, wanted):
    found = [
        " ".join(entry.split())
        for entry in entries.split("\n\n")
        if wanted.value.strip().lower() in " ".join(entry.split()).lower()
    ]
    _letters = groupby(found, key=lambda entry: entry[2].upper())  # behind the two stars of bold type
    mo.md(
        "\n\n".join("\n\n".join([f"### {letter}", *some]) for letter, some in _letters)
        or "No term and no meaning contains this."
    )
    return (found,)


if __name__ == "__main__":
    app.run()
