"""`deepguard train`: trains one phase of the network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.cli.optional_dependencies import Backend, keras_on, with_extra
from api.cli.terminal import run
from api.cli.training_options import DEFAULT_CACHE_DIR, DecoderDir, OffsetWeight, RankWeight, TunedShare


def train(
    data: Annotated[
        Path, typer.Argument(help="Data set: stills.csv (and video_pairs.csv), or {train,val}/{real,fake} folders.")
    ],
    *,
    base_weights: Annotated[Path, typer.Option(help="ImageNet weights: an .npz file with Keras' names.")],
    run_dir: Annotated[Path, typer.Option(help="Folder that the result is written to.")] = DEFAULT_CACHE_DIR / "run",
    cache_dir: Annotated[Path, typer.Option(help="Folder that keeps samples between runs.")] = DEFAULT_CACHE_DIR,
    phase: Annotated[str, typer.Option(help="Training phase: head, top or deep.")] = "head",
    backend: Annotated[
        Backend | None, typer.Option(help="Backend of Keras; default: KERAS_BACKEND, or tensorflow.")
    ] = None,
    pairs: Annotated[int, typer.Option(help="Number of pairs of a real face and a pseudo-fake.", min=1)] = 1500,
    variants: Annotated[
        int, typer.Option(help="Variants of every frame of a clip: the original, then degraded copies.", min=1)
    ] = 3,
    epochs: Annotated[int, typer.Option(help="Phase top: passes over the pairs.", min=1)] = 2,
    pretrain_steps: Annotated[int, typer.Option(help="Phase deep: steps on pseudo-fakes alone.", min=1)] = 1200,
    tune_steps: Annotated[int, typer.Option(help="Phase deep: steps on all data, per fold.", min=1)] = 300,
    folds: Annotated[int, typer.Option(help="Folds of the cross-validation on face-swapped clips.", min=2)] = 5,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Group (person or clip) to keep out of training; may be given several times."),
    ] = None,
    hold_out: Annotated[str, typer.Option(help="Family of pseudo-fakes to evaluate but not to train on.")] = "",
    decoder_dir: DecoderDir = None,
    rank_weight: RankWeight = 0.5,
    offset_weight: OffsetWeight = 0.0,
    tuned_share: TunedShare = 0.5,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 0,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Run every step on a minimum of data, to see whether it works.")
    ] = False,
    research: Annotated[
        bool, typer.Option(help="Allow data licensed for research only; the result cannot be exported.")
    ] = False,
) -> None:
    """Trains and evaluates one phase of the network. Needs the extra `train`; takes minutes to hours."""
    from api.cli.progress import step_progress
    from detector.errors import DetectorError
    from detector.training.config import Phase, TrainConfig, smoke_config

    def work() -> None:
        keras_on(backend)
        training = with_extra("detector.training.train")
        config = TrainConfig(
            data_dir=data, base_weights=base_weights, run_dir=run_dir, cache_dir=cache_dir, phase=Phase(phase),
            train_pairs=pairs, clip_variants=variants, epochs=epochs, pretrain_steps=pretrain_steps,
            tune_steps=tune_steps, folds=folds, seed=seed, research=research,
            exclude_groups=frozenset(exclude or ()), held_out_family=hold_out, decoder_dir=decoder_dir,
            rank_weight=rank_weight, offset_weight=offset_weight, tuned_share=tuned_share,
        )
        with step_progress() as tell:
            finished = training.train(smoke_config(config) if smoke else config, tell)
        if not (finished / "report.json").is_file():
            typer.echo("no training data: the result is an untrained structure and must not be used", err=True)
        typer.echo(str(finished))

    run(work, DetectorError, ValueError)
