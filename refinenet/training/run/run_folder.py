"""The run folder of a training: whole after a kill at any moment.

state.pt is written first and alone decides what is known. best.safetensors, log.csv and the last
weights in epochs/ follow from it: where a kill came between, opening the folder again writes them
from the state.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from refinenet.activation_ranges import shipped_ranges
from refinenet.checkpoints.load import load_plain, save_checkpoint
from refinenet.training.qat import is_quantization_aware, save_with_ranges
from refinenet.training.recipes.recipe import completed, resumed
from refinenet.training.run.state import EpochRecord, TrainingState
from runtime.card import Card, read_card
from runtime.errors import InputError
from runtime.files import output_folder, written_whole

Identity = Mapping[str, Any]

EPOCHS = "epochs"  # the folder of the weights of --save-every


class RunFolder:
    """Where a training writes, and what it finds there.

    identity: what makes this training the same one as a saved one: variant, data, recipe.
    card, dtype: of the best weights; the card gains the figures of their epoch.
    unasked: entries of the recipe that a saved training decides, since nobody asked for others.
    save_every: epochs after which the weights are kept whether or not they are the best; 0: never.
    """

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        card: Card,
        dtype: torch.dtype,
        unasked: Collection[str] = (),
        save_every: int = 0,
    ) -> None:
        self.unasked, self.save_every = unasked, save_every
        self.folder, self.identity, self.card, self.dtype = folder, identity, card, dtype
        self.state_file = folder / "state.pt"
        self.best_file = folder / "best.safetensors"
        self.log_file = folder / "log.csv"

    def open(self, resume: bool) -> dict[str, Any] | None:
        """What the folder holds of this training, or None if it holds nothing yet.

        Raises InputError if it holds a training and `resume` is off, or another training.
        """
        output_folder(self.folder)
        for folder in (self.folder, self.folder / EPOCHS):
            for part in folder.glob(".*.part.*"):  # of a process that was killed while it wrote
                part.unlink()
        if not self.state_file.exists():
            return None
        if not resume:
            raise InputError(
                f"{self.folder} already holds a training run; add --resume to go on with it, or "
                "choose another folder"
            )
        saved = load_plain(self.state_file)
        self._check_same_training(saved)
        self._go_on_with(saved["identity"]["recipe"])
        # What the first start said: a resumed run need not be told again where it came from.
        if origin := saved.get("origin"):
            details = {**self.card.details, **origin["details"]}
            self.card = replace(
                self.card,
                parents=origin["parents"],
                details=details,
                # None in runs of earlier versions: all were fed what their variant's row has.
                **origin.get("normalization", {}),
            )
        return dict(saved)

    def _go_on_with(self, recipe: Mapping[str, Any]) -> None:
        """Take over the recipe as it was saved.

        An entry that an earlier version did not have stays missing in the identity, where it means
        what that version did, also when the run is resumed once more; the card says it.
        """
        whole = completed(self.identity["recipe"], recipe)
        self.identity = {**self.identity, "recipe": recipe}
        # Through JSON, as the whole card goes, which has lists for tuples.
        details = {**self.card.details, "recipe": json.loads(json.dumps(whole))}
        self.card = replace(self.card, details=details)

    def save(self, state: TrainingState) -> None:
        """Write the state, then what follows from it."""
        details = {key: value for key, value in self.card.details.items() if key == "note"}
        origin = {
            "parents": dict(self.card.parents),
            "details": details,
            "normalization": self.card.normalization._asdict(),
        }
        saved = {"identity": dict(self.identity), "origin": origin, **state.to_dict()}
        with written_whole(self.state_file) as temporary:
            try:
                torch.save(saved, temporary)
            except RuntimeError as error:  # PyTorch's own writer, when the disk is full or broken
                if str(error).startswith("DataLoader worker"):
                    raise  # out of a signal handler; see Batches.plain_errors
                raise OSError(str(error).partition("\n")[0]) from error
        self.write_results(state)

    def write_results(self, state: TrainingState) -> None:
        """Write best.safetensors, if the state is that of the best epoch, the weights of every so
        many epochs, and log.csv.

        Raises InputError if the best weights, or their ranges, are of an earlier epoch and no
        longer there.
        """
        best = state.best
        if best is not None and best.epoch == state.epoch:
            self._save_weights(self.best_file, state, best)
        elif best is not None:
            self._require_best(state.kept, best.epoch)
        if self.save_every and state.epoch and state.epoch % self.save_every == 0:
            file = self.folder / EPOCHS / f"{state.epoch:04d}.safetensors"
            self._save_weights(file, state, state.records[-1])
        write_log(self.log_file, state.records)

    def _save_weights(self, file: Path, state: TrainingState, record: EpochRecord) -> None:
        result: dict[str, Any] = dict(record.scores)
        if record.class_iou is not None:
            result["class_iou"] = dict(zip(self.card.classes, record.class_iou, strict=True))
        card = replace(self.card, details={**self.card.details, "result": result})
        output_folder(file.parent)
        if is_quantization_aware(state.kept):
            images, count = str(self.card.details["dataset"]), int(self.identity["training images"])
            save_with_ranges(file, state.kept, card, self.dtype, images, count)
        else:
            save_checkpoint(file, state.kept, card, self.dtype)

    def _require_best(self, network: nn.Module, epoch: int) -> None:
        wanted = [self.best_file]
        if is_quantization_aware(network):
            wanted.append(shipped_ranges(self.best_file))
        for file in wanted:
            if not file.exists():
                raise InputError(
                    f"{file}, of epoch {epoch}, is gone; put it back, or train in another folder"
                )

    def _check_same_training(self, saved: Any) -> None:
        if not isinstance(saved, dict) or "recipe" not in saved.get("identity", {}):
            raise InputError(
                f"{self.state_file} is not the state of a training of this version; start in "
                "another folder"
            )
        before, now = self._alike(saved["identity"])
        asked = {**now, "recipe": resumed(now["recipe"], before["recipe"], self.unasked)}
        before = {**before, "recipe": completed(now["recipe"], before["recipe"])}
        if changes := differences(before, asked):
            raise InputError(
                f"{self.state_file} is of another training ({changes}); resume with the same "
                "options and data, or start in another folder"
            )

    def _alike(self, saved: Identity) -> tuple[Identity, Identity]:
        """The identity that was saved and the present one, both as the saved one tells it.

        Runs of earlier versions recorded the data set as --dataset named it, and no classes; those
        stand in the card of their best weights.
        """
        if "classes" in saved:
            return saved, self.identity
        now = {key: self.identity.get(key) for key in saved}
        now["dataset"] = _named(str(self.card.details["dataset"]))
        saved = {**saved, "dataset": _named(str(saved.get("dataset")))}
        if "quantization-aware" in self.identity:
            now["quantization-aware"] = True
        if self.best_file.exists():
            saved["classes"] = list(read_card(self.best_file).classes)
            now["classes"] = self.identity["classes"]
        return saved, now


def _named(dataset: str) -> str:
    """A file by its name alone: its path depends on the working directory."""
    return Path(dataset).name


def differences(saved: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """What is not the same, in words."""
    changes = []
    for key in given.keys() | saved.keys():
        before, now = saved.get(key), given.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            changes.append(differences(before, now))
        elif before != now:
            changes.append(f"{key} was {before}, now {now}")
    return ", ".join(sorted(filter(None, changes)))


def write_log(path: Path, records: list[EpochRecord]) -> None:
    """One row per epoch, written anew each time, so that none is twice there or torn."""
    with (
        written_whole(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        columns = [field.name for field in fields(EpochRecord) if field.name != "class_iou"]
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(asdict(record) for record in records)
