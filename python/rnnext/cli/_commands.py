"""What the commands do; each imports what it needs when it is run."""

from __future__ import annotations

from argparse import Namespace


def train(options: Namespace) -> None:
    from rnnext.cli._train import train

    train(options)


def predict(options: Namespace) -> None:
    from rnnext.cli._predict import predict

    predict(options)


def evaluate(options: Namespace) -> None:
    from rnnext.cli._measure import evaluate

    evaluate(options)


def report(options: Namespace) -> None:
    from rnnext.cli._measure import report

    report(options)


def convert(options: Namespace) -> None:
    import json
    import os

    from rnnext import interop
    from rnnext.cli._outputs import beside, check_output
    from rnnext.models import load_model

    model = load_model(options.model, compile=False)
    check_output(options.file, options.model)
    said = beside(options.file)
    try:
        if options.to == "onnx":
            interop.to_onnx(model, options.file, lengths=True)
        elif options.to == "torch":
            interop.to_torch(model, options.file)
        else:
            interop.to_keras(model, options.file)
    except ImportError as error:
        raise ValueError(f"--to {options.to} needs the package {error.name}: pip install 'rnnext[interop]'") from error
    if options.json:
        print(json.dumps({"model": os.fspath(options.model), "file": os.fspath(options.file), "format": options.to}), file=said)
        return
    print(f"saved in {os.fspath(options.file)}; the vocabulary and the labels stay in {options.model}", file=said)


def info(options: Namespace) -> None:
    import json

    if options.datasets:
        from rnnext import datasets

        table = datasets.info()
        print(json.dumps([each.to_dict() for each in table]) if options.json else table)
        return
    from rnnext import _core, show_config
    from rnnext._version import __version__

    if options.json:
        print(json.dumps({"rnnext": __version__, **_core.config()}))
    else:
        show_config()
