"""Owns the command line of the training side: `python3 -m cropshield COMMAND …` inside `training/`."""

import argparse
import os


def main():
    parser = argparse.ArgumentParser(prog="python3 -m cropshield", description="From leaf photos to a model file.")
    commands = parser.add_subparsers(dest="command", required=True)

    add = commands.add_parser("prepare", help="decode the photos of a data folder into a cache")
    add.add_argument("data")
    add.add_argument("cache")
    add.add_argument("--workers", type=int)

    add = commands.add_parser("train", help="train the networks of a configuration")
    add.add_argument("config")
    add.add_argument("cache")
    add.add_argument("out")
    add.add_argument("--device", default="auto")
    add.add_argument("--seconds", type=float, help="stop after this much training, with the schedule fitted to it")
    add.add_argument("--teacher", nargs="+", default=[], help="weights files of the networks to learn from")
    add.add_argument("--start", nargs="+", default=[], help="weights or native files, one a network, whose weights to go on from")
    add.add_argument("--resume", action="store_true", help="go on where an interrupted run stopped")

    add = commands.add_parser("average", help="mean of the weights of runs that went on from one start")
    add.add_argument("out", help="weights file to write")
    add.add_argument("weights", nargs="+")
    add.add_argument("--cache", help="print what the validation photos say of each and of the mean")

    add = commands.add_parser("refit", help="fit the class outputs anew on scenes whose light and camera were exchanged")
    add.add_argument("weights")
    add.add_argument("cache")
    add.add_argument("out", help="weights file to write")
    add.add_argument("--count", type=int, default=4096, help="images to draw")

    add = commands.add_parser("health", help="part the healthy and sick class outputs by what all crops share")
    add.add_argument("weights")
    add.add_argument("cache")
    add.add_argument("out", help="weights file to write")
    add.add_argument("--count", type=int, default=3072, help="images to draw")

    add = commands.add_parser("reuse", help="take over part of the class outputs of a teacher whose features were learnt")
    add.add_argument("weights")
    add.add_argument("teacher", help="weights file or native file")
    add.add_argument("cache")
    add.add_argument("out", help="weights file to write")

    add = commands.add_parser("diverge", help="print how far networks are from their teacher on changed validation photos")
    add.add_argument("weights", nargs="+", help="weights or native files")
    add.add_argument("teacher", help="weights file or native file")
    add.add_argument("cache")

    add = commands.add_parser("calibrate", help="fit temperature, 'not a leaf' gate and photo coach of a weights file")
    add.add_argument("weights")
    add.add_argument("cache")
    add.add_argument("out")
    add.add_argument("--each", type=int, default=60, help="training photos a class for the feature space")
    add.add_argument("--scenes", type=int, default=384, help="drawn scenes that count as leaves")

    add = commands.add_parser("export", help="write .safetensors, .pth, .onnx and test vectors")
    add.add_argument("weights")
    add.add_argument("calibration", help="the folder that calibrate wrote")
    add.add_argument("out")
    add.add_argument("--results", help="JSON of evaluate, kept in the metadata as `metrics`")

    add = commands.add_parser("evaluate", help="print every figure of a model file and draw its pictures")
    add.add_argument("model")
    add.add_argument("cache")
    add.add_argument("out")

    add = commands.add_parser("attention", help="check that Grad-CAM looks at the leaf")
    add.add_argument("model")
    add.add_argument("cache")
    add.add_argument("--split", default="test")
    add.add_argument("--limit", type=int)

    add = commands.add_parser("card", help="write the measured tables of the model card")
    add.add_argument("card", help="models/README.md")
    add.add_argument("results", nargs="+", help="JSON files of evaluate; the first one gives the details")

    add = commands.add_parser("curves", help="draw the learning curves of a run record")
    add.add_argument("record")
    add.add_argument("out")

    arguments = parser.parse_args()
    if arguments.command == "prepare":
        from . import prepare
        prepare.run(arguments.data, arguments.cache, workers=arguments.workers)
        return
    if arguments.command == "card":
        from . import card
        card.run(arguments.card, arguments.results)
        return
    import torch
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.backends.cudnn.allow_tf32 = False  # what is measured is float32; `train` turns it on for itself
    if arguments.command == "train":
        from . import train
        train.run(train.load_config(arguments.config), arguments.cache, arguments.out, arguments.device,
                  arguments.seconds, arguments.teacher, arguments.start, arguments.resume)
    elif arguments.command == "average":
        from . import average
        average.run(arguments.out, arguments.weights, arguments.cache)
    elif arguments.command == "refit":
        from . import refit
        refit.run(arguments.weights, arguments.cache, arguments.out, arguments.count)
    elif arguments.command == "health":
        from . import health
        health.run(arguments.weights, arguments.cache, arguments.out, arguments.count)
    elif arguments.command == "reuse":
        from . import reuse
        reuse.run(arguments.weights, arguments.teacher, arguments.cache, arguments.out)
    elif arguments.command == "diverge":
        from . import reuse
        reuse.diverge(arguments.weights, arguments.teacher, arguments.cache)
    elif arguments.command == "calibrate":
        from . import calibrate
        calibrate.run(arguments.weights, arguments.cache, arguments.out, arguments.each, arguments.scenes)
    elif arguments.command == "export":
        from . import export
        export.run(arguments.weights, arguments.calibration, arguments.out, arguments.results)
    elif arguments.command == "evaluate":
        from . import evaluate
        evaluate.run(arguments.model, arguments.cache, arguments.out)
    elif arguments.command == "attention":
        from . import attention
        attention.run(arguments.model, arguments.cache, arguments.split, arguments.limit)
    elif arguments.command == "curves":
        import json
        from . import pictures
        with open(arguments.record) as file:
            pictures.curves(json.load(file), arguments.out)


if __name__ == "__main__":
    main()
