"""python -m tools.variants: see tools/variants/measure.py."""

import sys

from tools.variants.measure import main

sys.exit(main(sys.argv[1:]))
