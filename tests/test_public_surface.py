"""What people import: the names are a contract, so a change of this list is a decision."""

import ast
import inspect
import json
import re
from pathlib import Path

import pytest

import saewidgets

ROOT = Path(__file__).resolve().parents[1]
PUBLIC = """
ActivationCorpus ActivationsConfig BatchTopKConfig CatalogError CheckpointConfig ConfigError DemoCorpus DownloadFromHF
EvaluationConfig ExtractionConfig ExtractionViewer FormatError GatedConfig HubCorpus JobStatus JumpReLUConfig
MatryoshkaConfig NotFoundError OptimizerConfig Parallel Progress Ray ResamplingConfig Run SAE SAEBrowser SAEWidgetsError
SkipConfig SkipTranscoderConfig StandardConfig StateError Steering SteeringConfig SteeringFeature StorageError
TargetsConfig TextCorpus TokensCorpus TopKConfig TrackioSink TrainingConfig TrainingError TrainingGroup TrainingPanel
TranscoderConfig WandbSink Workspace __version__ allow_remote_code analyze_sae create_sae default_workspace
detect_format from_ghosttrack from_mistudio from_saelens load_sae preset presets print_feature_summary save_sae
steered
""".split()


def test_the_names() -> None:
    assert sorted(saewidgets.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(saewidgets))


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_each_name_loads_and_is_documented(name: str) -> None:
    value = getattr(saewidgets, name)
    documentation = inspect.getdoc(value) or ""
    assert len(documentation.split()) >= 3, f"{name} has no docstring of its own"
    if inspect.isclass(value):
        inherited = {inspect.getdoc(base) for base in value.__mro__[1:]}
        assert documentation not in inherited, f"{name} only inherits a docstring"


def test_the_type_checker_takes_each_name_for_public() -> None:
    """The stub is what it reads, and ``import X`` without ``as X`` is private there."""
    tree = ast.parse((ROOT / "saewidgets/__init__.pyi").read_text(encoding="utf-8"))
    aliases = [alias for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert [alias.asname for alias in aliases] == [alias.name for alias in aliases]
    assert sorted(alias.name for alias in aliases) == saewidgets.__all__


def test_the_package_file_sets_no_module_type() -> None:
    """Node applies the nearest package.json to JupyterLab's yarn.js in `.venv`, which is not an ES module."""
    assert "type" not in json.loads((ROOT / "package.json").read_text(encoding="utf-8"))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="attribute Trainnig"):
        _ = saewidgets.Trainnig


def test_one_version_everywhere() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", saewidgets.__version__)
    assert json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["version"] == saewidgets.__version__
    newest = re.search(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest
    assert newest[1] == saewidgets.__version__
