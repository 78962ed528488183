import os
import subprocess
import sys
from contextlib import closing

import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.errors import PortTakenError
from ensemble_pipeline.sandbox.serve import bind, serve
from ensemble_pipeline_tests.sandbox.small_world import START, SmallWorld

CHILD = """
import os, sys
from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.sandbox.serve import serve
from ensemble_pipeline.sandbox.synthetic import SyntheticWorld
world = SyntheticWorld(days=2, markets_per_day=1)
serve(world, SteppedClock(world.starts_at), 0, parent_pid=int(sys.argv[1]))
"""
PARENT = "import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1], str(os.getpid())])"


def test_serve_on_a_taken_port_says_so() -> None:
    with closing(bind(0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"port {port} on 127\.0\.0\.1 is in use"):
            serve(SmallWorld({}), SteppedClock(START), port)


def test_serve_ends_when_its_parent_is_gone() -> None:
    # the server inherits the pipe, so the pipe's end is the end of the server
    done = subprocess.run(
        [sys.executable, "-c", PARENT, CHILD], capture_output=True, timeout=60, check=True, env={**os.environ}
    )
    assert done.stderr == b""
