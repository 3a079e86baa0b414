"""How often and how a frame is looked at: scales, mirror images, tiles. Arithmetic without torch.

The authors' evaluation (github.com/guosheng/refinenet, demo_predict_mscale_voc.m) is
Passes(scales=(0.4, 0.6, 0.8, 1, 1.2), shorter_edge=(450, 800)).
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.errors import InputError


@dataclass(frozen=True)
class Tiles:
    """Overlapping pieces that a large image is computed in, one at a time.

    size: (height, width), pixels; an image that is smaller is a smaller tile.
    overlap: what neighbours share at least, pixels.

    Raises InputError if the overlap leaves no step from tile to tile.
    """

    size: tuple[int, int]
    overlap: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < min(self.size):
            height, width = self.size
            raise InputError(
                f"tiles of {height}x{width} with an overlap of {self.overlap}; "
                "expected an overlap smaller than the tile's sides"
            )

    def over(self, image_size: tuple[int, int]) -> list[tuple[slice, slice]]:
        """The (rows, columns) of every tile over an image of (height, width), as few as cover it.

        The last of a row or column ends where the image does and overlaps more.
        """
        rows, columns = (
            _pieces(length, piece, self.overlap)
            for length, piece in zip(image_size, self.size, strict=True)
        )
        return [(top, left) for top in rows for left in columns]


@dataclass(frozen=True)
class Passes:
    """scales: of the image, whose class scores are averaged. flip: of its mirror image as well.
    shorter_edge: the least and the most that the image's shorter edge may have, pixels, before
    it is scaled. tiles: None computes each image whole.

    Raises InputError without a scale.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    shorter_edge: tuple[int, int] | None = None
    tiles: Tiles | None = None

    def __post_init__(self) -> None:
        if not self.scales:
            raise InputError("no scale was given; expected at least one, such as 1")

    @property
    def count(self) -> int:
        """How many score maps are averaged."""
        return len(self.scales) * (2 if self.flip else 1)

    def sizes(self, image_size: tuple[int, int]) -> list[tuple[int, int]]:
        """The (height, width) at each scale of an image of (height, width).

        The image is brought within shorter_edge first and scaled then, as the authors do it:
        with the bounds the other way round, their smaller scales would all be one.
        """
        shorter = min(image_size)
        least, most = self.shorter_edge or (shorter, shorter)
        zoom = min(max(shorter, least), most) / shorter
        height, width = image_size
        return [
            (max(1, round(height * zoom * scale)), max(1, round(width * zoom * scale)))
            for scale in self.scales
        ]


ONE_PASS = Passes()


def _pieces(length: int, piece: int, overlap: int) -> list[slice]:
    """Pieces of a line; all begin at multiples of the step but the last."""
    piece = min(piece, length)
    starts = [*range(0, length - piece, piece - overlap), length - piece] if piece < length else [0]
    return [slice(start, start + piece) for start in starts]
