"""`python -m mufnet_lightning` is `mufnet`."""

import sys

from mufnet_lightning.cli import main

sys.exit(main())
