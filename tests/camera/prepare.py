"""Makes what the tests in the box need and is missing, and says what it is doing: `python -m tests.camera.prepare`.

Exit code 0: all is there. 3: there can be no box on this machine, or, with --warm, it would have to be made first.
"""

from __future__ import annotations

import argparse
import sys

from tests.camera import roots
from tests.camera.host import BoxError, arch, lacking, teller

EXIT_DONE, EXIT_FAILED, EXIT_NO_BOX = 0, 1, 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bare", action="store_true", help="the smoke tests' part: without a camera that has the package")
    parser.add_argument("--warm", action="store_true", help="make no root file system: end with 3 where there is none")
    wanted = parser.parse_args()
    box, say = arch(), teller()
    if reason := lacking(box):
        say(f"no camera in a box: {reason}")
        return EXIT_NO_BOX
    if wanted.warm and not roots.base_of(box).is_dir():
        say(f"no camera in a box: none is kept in {roots.base_of(box).parent}; 'make test-camera' makes one")
        return EXIT_NO_BOX
    try:
        roots.base(box, say)
        deb = roots.build_package(box, say)
        if not wanted.bare:
            roots.installed(box, deb, say)
    except BoxError as exc:
        say(str(exc))
        return EXIT_FAILED
    say(f"ready: {deb.name} ({deb.stat().st_size / 2**20:.0f} MiB) in a box of {box}")
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
