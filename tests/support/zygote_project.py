"""Projects for tests of the zygote: small tool modules written into a folder, some of which cannot be preloaded.

It never imports them.
"""

from pathlib import Path

TOOLS = {
    # Loaded before the calls are forked; what a call does to it is the call's own.
    "calm": """
import os, random, time, uuid
LOADED_AT = time.monotonic()
SEEN = []

def loaded_at() -> float:
    return LOADED_AT

def remember(word: str) -> list[str]:
    SEEN.append(word)
    os.environ["REMEMBERED"] = word
    os.chdir("/tmp")
    return SEEN

def chance() -> list[str]:
    return [str(random.random()), str(uuid.uuid4()), os.urandom(4).hex()]

def wait(seconds: float) -> str:
    time.sleep(seconds)
    return "waited"
""",
    "threaded": """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()

def answer() -> str:
    return f"with {threading.active_count()} threads"
""",
    "holding": """
STREAM = open(__file__)

def answer() -> str:
    return STREAM.readline() + STREAM.readline()
""",
    "littering": """
import pathlib
NOTE = pathlib.Path("/tmp/note")
NOTE.write_text("from the import")

def answer() -> str:
    return NOTE.read_text()
""",
    "needy": """
import os
TOKEN = os.environ["TOKEN"]

def answer() -> str:
    return str(len(TOKEN))
""",
    "deadly": """
import os
if os.getuid() == 0:
    os._exit(3)

def answer() -> str:
    return "alive"
""",
}


def write_tools(folder: Path, *names: str) -> Path:
    """Write the modules into the folder, readable to everybody; returns the folder."""
    folder.chmod(0o755)
    for name in names:
        (folder / f"{name}.py").write_text(TOOLS[name])
    return folder
