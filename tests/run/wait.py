"""What a test on any accelerator holds the wait for the device against."""

from dataclasses import replace

from siliconbench.analysis.verdict import synchronized
from siliconbench.run import selftest
from siliconbench.run.passes import Bench


def check_that_the_wait_is_seen(right: Bench) -> None:
    """Fails unless the run is called synchronized, and is not once nobody waits."""
    found = selftest.synchronization(right)
    assert synchronized(found) is True, found
    wrong = selftest.synchronization(replace(right, synchronize=lambda: None))
    assert synchronized(wrong) is False, wrong
