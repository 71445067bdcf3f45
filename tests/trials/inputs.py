"""Command lines with something wrong in them."""

import shlex

NO_NUMBERS = ("abc", "nan", "inf", "-inf", "None", "1e", "0x", "''", "1,2", "[1]", "{}", "()", "9" * 400, "-" * 5000)
SMALL = "epochs=1 subset=50"
# a setting, and what it cannot be beside no number
NUMBERS = {
    "epochs": ("0", "-1", "1.5"),
    "batch_size": ("0", "-1", "2.5"),
    "learning_rate": ("0", "-0.1", "1e39", "1e308", "1e30", "1e20"),
    "momentum": ("1", "-0.1", "1e308"),
    "weight_decay": ("-1", "1e308", "1e39"),
    "decay": ("0", "-1"),
    "sequence_length": ("0", "-3"),
    "clip_norm": ("-1",),
    "holdout": ("1", "-0.1", "0.999"),
    "label_noise": ("1", "-0.1"),
    "seed": ("-1", "2147483648", "1.5"),
    "network_options.hidden": ("0", "-1", "64,-1", "1000000000", "1000000000,1000000000", "9" * 20),
}
WORDS = {
    "dataset": ("digit", "../../n", "*", "toy", "imagenet", "tinyimagenet"),
    "network": ("mpl", "../../n", "resnet", "vgg16", "lstm", "imagenet_resnet50"),
    "method": ("x", "knowledge", "born_again", "knowledge_distillation"),
    "optimizer": ("adamw", "1"),
    "schedule": ("linear", "plateau"),
    "precision": ("float16",),
    "augmentation": ("flip",),
    "observe": ("x", "residual_labels", "vote", "embedding,embedding"),
    "nesterov": ("maybe", "1"),
    "milestones": ("2,1", "1,1", "0", "-1", "a"),
    "subset": ("0", "-1", "5000", "9" * 20),
    "options.x": ("1",),
    "network_options.x": ("1",),
    "auxiliary_options.x": ("1",),
    "teacher.epochs": ("1", "-1"),
}
LINES = f"""
run epochs
run =3
run {SMALL} epochs=2
run epoch=3
run options=1
run teacher=mlp
run --seeds=0
run --seeds=1000000000
run --seeds=3000000000
run --seeds=x
run --jobs=-1
run --device=meta
run --device=gpu
run --device=cuda:63
run --device=
run --profile=qick
run --nothing
run {SMALL} --output=/dev/null
run {SMALL} --output=/proc/nowhere
run {SMALL} --profile=paper --output=/dev/null
run {SMALL} decay=1e300 milestones=1 schedule=multi_step epochs=2
run {SMALL} method=label_smoothing options.epsilon=2
run {SMALL} method=label_smoothing options.smoothing=0.1
run {SMALL} method=stochastic_batch_augmentation options.virtual=100000000
run {SMALL} method=batch_augmentation options.copies=100000000
run {SMALL} method=mixup options.method=mixup options.method.method=born_again
run {SMALL} method=knowledge_distillation teacher.dataset=cifar10
run {SMALL} method=knowledge_distillation teacher.method=born_again
run {SMALL} method=knowledge_distillation teacher.epochs=1 teacher.epochs=2
run --profile=paper dataset=pydoc epochs=1
run --profile=paper dataset=pydoc network=lstm method=mixup network_options.hidden=8 network_options.layers=1 epochs=1
run --profile=paper dataset=pydoc network=lstm network_options.hidden=-1
run --profile=paper dataset=pydoc network=lstm network_options.init_range=-1
run --profile=paper dataset=pydoc network=lstm holdout=0.1 epochs=1
reproduce --papers=kx
reproduce --papers=kr,kx
reproduce --dataset=x
reproduce --network=x
reproduce --methods=x
reproduce --profile=x
reproduce --seeds=-1
reproduce --seeds=1000000000
reproduce --minutes=-1
reproduce --minutes=nan
reproduce --jobs=0
reproduce --device=meta
data x
data ../../n
data digits --nothing
data imagenet --root=/nowhere
nothing
status x
networks x
"""

BAD_INPUTS = [
    *(shlex.split(line) for line in LINES.strip().splitlines()),
    *(["run", *_small.split(), f"{name}={value}"] for name, values in NUMBERS.items()
      for value in (*values, *NO_NUMBERS)
      for _small in [SMALL.replace("epochs=1", "") if name == "epochs" else SMALL]
      if not (name == "network_options.hidden" and value in ("1,2", "()"))),
    *(["run", *_small.split(), f"{name}={value}"] for name, values in WORDS.items() for value in values
      for _small in [SMALL.replace("subset=50", "") if name == "subset" else SMALL]),
    ["run", "teacher." * 500 + "epochs=1"],
    ["run", "teacher." * 5000 + "epochs=1"],
    ["run", "epochs=" + "(" * 5000],
    ["run", "options." + "x" * 5000 + "=1"],
]  # fmt: skip
