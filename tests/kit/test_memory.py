"""What a process does with its memory once it has started."""

import subprocess
import sys

TOLD = """
import gc
from newsletter.kit import memory
class Node: pass
memory.settle_in()
memory.settle_in()
print(gc.get_freeze_count() > 1000, gc.get_threshold()[0] == memory.YOUNG_OBJECTS, gc.isenabled())
for _ in range(3 * memory.YOUNG_OBJECTS):
    node = Node()
    node.itself = node
print(len(gc.get_objects()) < 2 * memory.YOUNG_OBJECTS)
"""


def test_what_was_imported_is_never_searched_and_new_cycles_still_end() -> None:
    """In a process of its own: it changes how all of a process is collected."""
    said = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["True"] * 4
