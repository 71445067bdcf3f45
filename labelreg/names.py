"""Names as they are printed, errors for unknown names, and errors in one line."""

import difflib
from collections.abc import Iterable

# names of networks and data sets; networks for images of 224 pixels have the same printed names as the others
PRINTED = {
    "mlp": "MLP",
    "plaincnn6": "PlainCNN-6",
    "alexnet": "AlexNet",
    "vgg16": "VGG-16",
    "wrn28_10": "WRN-28-10",
    **{f"resnet{depth}": f"ResNet-{depth}" for depth in (8, 10, 18, 20, 32, 44, 50, 101, 152)},
    "preact_resnet18": "pre-activation ResNet-18",
    "preresnet110": "PreResNet-110",
    "densenet121": "DenseNet-121",
    "lstm": "LSTM",
    "fasttext": "fastText",
    "textrnn": "TextRNN",
    "charcnn": "CharCNN",
    "transformer": "Transformer",
    "toy": "toy regression",
    "digits": "digits",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "tinyimagenet": "TinyImageNet",
    "imagenet": "ImageNet",
    "cub200": "CUB-200",
    "stanford_dogs": "Stanford Dogs",
    "mit67": "MIT67",
    "ptb": "Penn Treebank",
    "ag_news": "AG News",
    "yahoo_answers": "Yahoo! Answers",
    "yelp_review_full": "Yelp Full",
    "20news": "20 Newsgroups",
    "docstrings": "Python's docstrings",
    "pydoc": "Python's help texts",
}


def printed(name: str) -> str:
    """Return the book's name of a network or data set; a name that is not in ``PRINTED`` is returned unchanged."""
    return PRINTED.get(name.removeprefix("imagenet_"), name)


def unknown(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """Return the error for an unknown name of a kind, such as ``"network"``, with the closest known names, or all."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there is {', '.join(known) or 'none'}"
    return ValueError(f"no {kind} is called {name!r}; {hint}")


def one_line(error: BaseException) -> str:
    """Return an error's type and message in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
