"""The commands around models: train one, bring one along, export it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.optional_dependencies import Backend, keras_on, with_extra

if TYPE_CHECKING:
    from detector.training.config import TrainConfig

models = typer.Typer(rich_markup_mode=None)


@models.command()
def train(      # noqa: PLR0913 - a command's parameters are its options
    data: Annotated[Path, typer.Argument(help="stills.csv (and video_pairs.csv), or {train,val}/{real,fake} folders")],
    base_weights: Annotated[Path, typer.Option(help="npz of ImageNet weights, named as Keras names them")],
    run_dir: Annotated[Path, typer.Option(help="gets the result")] = Path(".cache/training/run"),
    cache_dir: Annotated[Path, typer.Option(help="keeps samples between runs")] = Path(".cache/training"),
    phase: Annotated[str, typer.Option(help="head, top or deep")] = "head",
    backend: Annotated[Backend | None, typer.Option(help="of Keras; default: KERAS_BACKEND, or tensorflow")] = None,
    pairs: Annotated[int, typer.Option(help="pairs of pseudo-fakes to train on", min=1)] = 1500,
    variants: Annotated[int, typer.Option(help="of every frame of a clip: as it came, then degraded", min=1)] = 3,
    epochs: Annotated[int, typer.Option(help="phase top: passes over the pairs", min=1)] = 2,
    pretrain_steps: Annotated[int, typer.Option(help="phase deep: on pseudo-fakes alone", min=1)] = 1200,
    tune_steps: Annotated[int, typer.Option(help="phase deep: on everything, per fold", min=1)] = 300,
    folds: Annotated[int, typer.Option(help="of the cross-validation on swapped clips", min=2)] = 5,
    exclude: Annotated[list[str] | None, typer.Option(help="group (person or clip) that must stay unseen")] = None,
    hold_out: Annotated[str, typer.Option(help="family of pseudo-fakes that is judged but not trained on")] = "",
    seed: Annotated[int, typer.Option(help="of all random choices")] = 0,
    smoke: Annotated[bool, typer.Option("--smoke", help="next to nothing of everything: do all parts work?")] = False,
    research: Annotated[bool, typer.Option(help="allow data that may not be shipped; not to be exported")] = False,
) -> None:
    """Train and evaluate one phase of the network. Needs the extra `train`; takes minutes to hours."""
    from api.cli.terminal import run, step_progress
    from detector.errors import DetectorError
    from detector.training.config import Phase, TrainConfig
    from detector.training.config import smoke as as_smoke

    def work() -> None:
        keras_on(backend)
        fit = with_extra("detector.training.train")
        config = TrainConfig(
            data_dir=data, base_weights=base_weights, run_dir=run_dir, cache_dir=cache_dir, phase=Phase(phase),
            train_pairs=pairs, clip_variants=variants, epochs=epochs, pretrain_steps=pretrain_steps,
            tune_steps=tune_steps, folds=folds, seed=seed, research=research,
            exclude_groups=frozenset(exclude or ()), held_out_family=hold_out,
        )
        with step_progress() as tell:
            finished = fit.train(as_smoke(config) if smoke else config, tell)
        if not (finished / "report.json").is_file():
            typer.echo("no data: this is a structure without training, which nobody takes for a model", err=True)
        typer.echo(str(finished))

    run(work, DetectorError, ValueError)


@models.command()
def settle(
    run_dir: Annotated[Path, typer.Argument(help="a finished training run")],
    data: Annotated[Path, typer.Argument(help="as for `train`")],
    cache_dir: Annotated[Path, typer.Option(help="keeps found faces and coded clips")] = Path(".cache/training"),
    levels: Annotated[str, typer.Option(help="of the corruptions, 1 to 5")] = "3",
    exclude: Annotated[list[str] | None, typer.Option(help="group (person or clip) that is left out")] = None,
) -> None:
    """Widen a run's alarm limit to what real people reach under corruptions and codecs, before it is exported."""
    from api.cli.terminal import run, step_progress
    from detector.errors import DetectorError
    from detector.training.evaluation import operating_point as settling

    def work() -> None:
        config, wanted = _trial_config(data, cache_dir, (2, 1), exclude), _levels(levels)
        with step_progress() as tell:
            stats = settling.settle(run_dir, config, wanted, tell)
        typer.echo(f"real people stay below {stats.mean_real:.2f} nats; {stats.detectable:.0%} of swaps lie above")

    run(work, DetectorError, ValueError)


@models.command()
def export(
    run_dir: Annotated[Path, typer.Argument(help="a finished training run")],
    out: Annotated[Path, typer.Option(help="folder that MODEL_PATH can name")],
    version: Annotated[str, typer.Option(help="version of the model")],
) -> None:
    """Make a model that can be served of a training run."""
    from api.cli.terminal import run
    from detector.errors import DetectorError

    def work() -> None:
        manifest = with_extra("detector.training.checkpoints.export").export(run_dir, out, version)
        typer.echo(f"{out}: {manifest.name} {manifest.version}, sha256 {manifest.sha256}")

    run(work, DetectorError)


@models.command("import-weights")
def import_weights(     # noqa: PLR0913 - a command's parameters are its options
    file: Annotated[Path, typer.Argument(help="state dict of a PyTorch Xception: .safetensors, or .pth of torch.save")],
    out: Annotated[Path, typer.Option(help="folder that MODEL_PATH can name")],
    name: Annotated[str, typer.Option(help="of the model")] = "imported-xception",
    version: Annotated[str, typer.Option(help="version of the model")] = "1",
    size: Annotated[int, typer.Option(help="side of its input: 299 px (FaceForensics++), 256 (DeepfakeBench)")] = 299,
    mean: Annotated[str, typer.Option(help="of the input's channels in 0..1, in their order")] = "0.5,0.5,0.5",
    std: Annotated[str, typer.Option(help="deviation of the input's channels")] = "0.5,0.5,0.5",
    colour: Annotated[str, typer.Option(help="rgb or bgr")] = "rgb",
    fake_class: Annotated[int, typer.Option(help="which of two outputs stands for fake", min=0, max=1)] = 1,
) -> None:
    """Make a model that can be served of weights trained elsewhere. Nothing in the file is executed.

    The result is not calibrated: verdicts say so until `deepguard calibrate` was run.
    """
    from api.cli.terminal import run
    from detector.errors import DetectorError
    from detector.training.checkpoints import import_checkpoint

    def work() -> None:
        source = import_checkpoint.Source(
            size, colour, import_checkpoint.three(mean), import_checkpoint.three(std), fake_class
        )
        manifest = import_checkpoint.import_weights(file, out, source, name, version)
        typer.echo(f"{out}: {manifest.name} {manifest.version}, sha256 {manifest.sha256}, not calibrated")

    run(work, DetectorError, ValueError)


@models.command()
def calibrate(
    model: Annotated[Path, typer.Argument(help="folder of a model, as `import-weights` makes it")],
    data: Annotated[Path, typer.Argument(help="as for `train`: faces that the model has not seen")],
    cache_dir: Annotated[Path, typer.Option(help="keeps found faces and coded clips")] = Path(".cache/training"),
    frames: Annotated[int, typer.Option(help="of every clip", min=2)] = 8,
    pairs: Annotated[int, typer.Option(help="pseudo-fakes", min=1)] = 200,
    exclude: Annotated[list[str] | None, typer.Option(help="group (person or clip) that is left out")] = None,
) -> None:
    """Turn a model's scores into probabilities; they are written into its manifest, with what they were made of.

    A model that `train` made is calibrated already, on folds that it had not seen, and is refused.
    """
    from api.cli.terminal import run, step_progress
    from detector.errors import DetectorError
    from detector.training.evaluation import calibrate

    def work() -> None:
        config = _trial_config(data, cache_dir, (frames, pairs), exclude)
        with step_progress() as tell:
            manifest = calibrate.recalibrate(model, config, tell)
        told = "measured" if manifest.evidence is not None else "not measured: no real footage, or no swapped clips"
        typer.echo(f"{model}: {manifest.name} {manifest.version} is calibrated; evidence in streams {told}")

    run(work, DetectorError, ValueError)


@models.command()
def evaluate(       # noqa: PLR0913 - a command's parameters are its options
    model: Annotated[Path, typer.Argument(help="a finished training run, or the folder of a model")],
    data: Annotated[Path, typer.Argument(help="as for `train`")],
    out: Annotated[Path, typer.Option(help="gets results.json, report.md and conditions.png")],
    card: Annotated[Path | None, typer.Option(help="write a model card; of a run: beside what was exported")] = None,
    cache_dir: Annotated[Path, typer.Option(help="keeps found faces and coded clips")] = Path(".cache/training"),
    frames: Annotated[int, typer.Option(help="of every clip", min=2)] = 8,
    pairs: Annotated[int, typer.Option(help="pseudo-fakes", min=1)] = 200,
    levels: Annotated[str, typer.Option(help="of the corruptions, 1 to 5; empty: as they came alone")] = "1,3,5",
    rate: Annotated[float, typer.Option(help="frames/s judged in windows of 10 s; 0: no windows", min=0, max=30)] = 2.0,
    exclude: Annotated[list[str] | None, typer.Option(help="group (person or clip) that is left out")] = None,
) -> None:
    """Measure a model: per family, per corruption and level, beside a random head and plain softness."""
    from api.cli.evaluation_rules import plan_of
    from api.cli.terminal import run, step_progress
    from detector.errors import DetectorError
    from detector.training.evaluation import evaluate, loaded_model, report
    from detector.training.evaluation.model_card import card as card_of

    def work() -> None:
        config = _trial_config(data, cache_dir, (frames, pairs), exclude)
        opened, wanted = loaded_model.open_model(model), _levels(levels)
        manifest = loaded_model.manifest_of_card(model, card, opened.sha256) if card is not None else None
        with step_progress() as tell:
            results = evaluate.evaluate(opened, config, wanted, plan_of(opened, rate), tell)
        report.write(out, results)
        if card is not None and manifest is not None:
            card.write_text(card_of(manifest, results), encoding="utf-8")
        typer.echo(str(out / report.MARKDOWN_FILE))

    run(work, DetectorError, ValueError)


def _trial_config(data: Path, cache_dir: Path, counts: tuple[int, int], exclude: list[str] | None) -> TrainConfig:
    """Settings of which only data, cache and the counts of frames and pairs matter."""
    from detector.training.config import TrainConfig

    return TrainConfig(
        data_dir=data, base_weights=data, run_dir=cache_dir, cache_dir=cache_dir, clip_frames=counts[0],
        val_pairs=counts[1], autoencoder_steps=0, exclude_groups=frozenset(exclude or ()),
    )


def _levels(text: str) -> tuple[int, ...]:
    levels = tuple(int(part) for part in text.split(",") if part.strip())
    if not set(levels) <= {1, 2, 3, 4, 5}:
        raise ValueError(f"levels: expected numbers from 1 to 5 with commas between them, got {text!r}")
    return levels
