"""The folder of the demo language model (`model_path`), and the name "demo" as that folder (`resolve_model`)."""

from pathlib import Path

from saewidgets.errors import NotFoundError

DEMO = "demo"
_FOLDER = Path(__file__).parent / "data" / "model"


def model_path() -> Path:
    """Folder that `AutoModelForCausalLM.from_pretrained` loads as it is. Weights are stored as float16 and the config
    says float32, so the model computes in float32 unless the caller passes another dtype."""
    if not (_FOLDER / "model.safetensors").is_file():
        raise NotFoundError(
            "The demo model's weights are missing from this installation.",
            where=str(_FOLDER),
            hint="Install saewidgets from its wheel, or build the model with tools/train_demo_lm.py.",
        )
    return _FOLDER


def resolve_model(name: str) -> str:
    """The folder for `"demo"`; any other name comes back unchanged."""
    return str(model_path()) if name == DEMO else name
