"""What every test gets: a home folder of its own, no network, and tiny models built on the spot."""

import contextlib
import ipaddress
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

pytest_plugins = "tests.postgresql"

# huggingface_hub reads these when it is first imported, so a fixture would be too late.
_HF_HOME = tempfile.mkdtemp(prefix="saewidgets-hf-")
os.environ.update(HF_HOME=_HF_HOME, HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false")
_OURS = tuple(f"SAEWIDGETS_{name}" for name in ("DEVICE", "HOST", "CATALOG", "RUNNER", "EXECUTOR"))
for _name in ("HF_TOKEN", "HF_HUB_CACHE", "TRANSFORMERS_CACHE", *_OURS):
    os.environ.pop(_name, None)


if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: their threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Kernels are interpreted where no driver of a GPU is. Triton reads this when it is first imported, by torch or by us.
if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")):
    os.environ["TRITON_INTERPRET"] = "1"


settings.register_profile("short", max_examples=25, deadline=None)
settings.register_profile("long", max_examples=300, deadline=None)
settings.load_profile("short")  # --hypothesis-profile names another


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=1, help="how many times the fault tests kill a run (default 1)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if needing:
        import torch  # only when there is something to decide

        if not torch.cuda.is_available():
            for item in needing:
                item.add_marker(pytest.mark.skip(reason="there is no CUDA device here"))


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """How many times a fault test kills its run."""
    return int(request.config.getoption("--kills"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default workspace of this test: nothing in the user's own is read or written."""
    folder = tmp_path / "saewidgets-home"
    monkeypatch.setenv("SAEWIDGETS_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True, scope="session")
def _migrated_catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A new catalog is a copy of one that was migrated once; subprocesses and tests/catalog/test_schema.py migrate."""
    from saewidgets.catalog import catalog, schema
    from saewidgets.catalog.database import catalog_url, open_engine

    folder = tmp_path_factory.mktemp("catalog")
    engine = open_engine(catalog_url(folder, None))
    template = folder / "catalog.sqlite"
    schema.prepare_file(engine, template)
    engine.dispose()

    def prepare(engine: Any, path: Path) -> None:
        with contextlib.suppress(OSError):  # it is there, or cannot be: what follows says so
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                copy = Path(tempfile.mkdtemp(dir=folder)) / "copy"
                shutil.copyfile(template, copy)
                os.link(copy, path)  # fails where another thread was first
        schema.prepare_file(engine, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "prepare_file", prepare)
        yield


class NetworkBlockedError(OSError):
    """A test tried to leave this machine."""


def _is_local(host: Any) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    if text == socket.gethostname():
        return True
    try:
        return ipaddress.ip_address(text.split("%")[0]).is_loopback or text == "0.0.0.0"
    except ValueError:
        return False


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Connections and name look-ups beyond the loopback interface fail at once."""
    patch = pytest.MonkeyPatch()
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(family: int, address: Any) -> None:
        if family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
            raise NetworkBlockedError(f"tests do not use the network (tried {address[0]}:{address[1]})")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check(self.family, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check(self.family, address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_local(host):
            raise NetworkBlockedError(f"tests do not use the network (tried to look up {host})")
        return getaddrinfo(host, *args, **kwargs)

    patch.setattr(socket.socket, "connect", guarded_connect)
    patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
    yield
    patch.undo()


TINY_TEXT = [
    "The king went down to the river and the people followed him.",
    "A great white whale rose out of the sea beside the ship.",
    "It is a truth universally acknowledged that a single man wants a wife.",
    "Fellow citizens of the Senate and of the House of Representatives.",
] * 8


@pytest.fixture(scope="session")
def tiny_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer of 300 tokens with BOS and EOS, as transformers saves one."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(TINY_TEXT, vocab_size=300, special_tokens=["<|bos|>", "<|eos|>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<|bos|>", eos_token="<|eos|>", model_max_length=64
    )
    folder = tmp_path_factory.mktemp("tiny-tokenizer")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model_folder(tiny_tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer GPT-2 (d_model 32, context 64) with its tokenizer, loadable by `from_pretrained`."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("tiny-gpt2")
    shutil.copytree(tiny_tokenizer_folder, folder, dirs_exist_ok=True)
    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(0)  # transformers initialises from the global generator; it is put back below
        config = GPT2Config(
            vocab_size=300, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    finally:
        torch.random.set_rng_state(state)
    return folder


@pytest.fixture(scope="session")
def demo_tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded corpus in contexts of 256, packed once (that takes a quarter of a minute): see `link_tokens`."""
    from saewidgets.activations import open_corpus, pack
    from saewidgets.config import DemoCorpus
    from saewidgets.lm import load_tokenizer

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "demo-tokens"  # one for all processes
    pack(open_corpus(DemoCorpus()), load_tokenizer("demo"), folder=folder, context_size=256)
    return folder


def link_tokens(tokens: Path, workspace: Path) -> None:
    """Give a workspace tokens that were packed before."""
    shutil.copytree(tokens, workspace / "tokens", copy_function=os.link, dirs_exist_ok=True)
