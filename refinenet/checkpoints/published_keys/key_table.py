"""How the keys of one source read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from refinenet.renaming import Rename, Weights, renamed
from runtime.normalization import Normalization


@dataclass(frozen=True)
class KeyTable:
    """rename: rows of (published key, ours).
    left_out: a pattern of published keys that only the source's own training needs.
    added: a published bias that has no place here, and the published bias to which it adds up.
    normalization: what these weights are fed, where that is not what their variant's row says.
    """

    rename: Rename = ()
    left_out: str = ""
    added: tuple[str, str] | None = None
    normalization: Normalization | None = None

    def read(self, weights: Weights) -> Weights:
        """The weights under this project's keys; a key that the table does not know stays."""
        kept = {
            key: value for key, value in weights.items() if not re.fullmatch(self.left_out, key)
        }
        if self.added is not None and kept.keys() >= set(self.added):
            extra, bias = self.added
            # Another shape stays as it is, and does not fit the network.
            if kept[extra].shape == kept[bias].shape:
                kept[bias] = kept[bias] + kept.pop(extra)
        return renamed(kept, self.rename)


OURS = KeyTable()  # keys that are this project's already
