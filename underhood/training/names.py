"""What can be chosen by name. No torch here: the command line checks names before it is imported."""

MODELS = ("linear", "net", "conv", "vgg", "resnet18")
SCHEDULES = ("onecycle", "flat")
OPTIMIZERS = ("adamw", "adam", "sgd")
EFFORTS = ("fast", "normal", "best")
BALANCES = ("none", "weights", "sampler")
PRECISIONS = ("float32", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")
TRACKERS = ("tensorboard",)  # each needs the library of its name
