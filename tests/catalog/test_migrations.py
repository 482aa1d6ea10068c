"""Catalogs of earlier versions, migrated on open with all they hold."""

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from saewidgets.catalog import Catalog, schema
from saewidgets.config import TrainingConfig
from saewidgets.config.templates import TrainingTemplate

_TRAINING = {
    "id": "train_1", "name": "run", "config": '{"sae":{"k":32}}', "model": "gpt2", "corpus": "demo",
    "hook_name": "blocks.6.hook_resid_post", "architecture": "topk", "d_sae": 64, "d_in": 8, "device": "cpu",
    "lane": "box/cpu", "tokens_total": 100, "tokens_done": 100, "step": 10, "latest": "{}", "facts": "{}",
    "host": "box", "folder": "trainings/train_1", "created_at": 1000.0,
}  # fmt: skip
_SAE = {
    "name": "first", "source": "trained", "model": "gpt2", "hook_name": "blocks.6.hook_resid_post", "layer": 6,
    "architecture": "topk", "d_in": 8, "d_sae": 64, "format": "saelens", "size_bytes": 7, "host": "box",
    "details": '{"tokens":100,"latest":{"l0":32.0}}',
}  # fmt: skip


def _old_catalog(folder: Path, version: str, *rows: tuple[str, dict[str, object]]) -> None:
    """A catalog as that version of the package left it, with these rows of tables."""
    folder.mkdir()
    path = folder / "catalog.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with schema._migrating(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)
    engine.dispose()
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, row in rows:
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def _is_backed_up(folder: Path, version: str) -> bool:
    """Once, and before anything was migrated."""
    (backup,) = (folder / "backups").iterdir()
    with closing(sqlite3.connect(backup)) as connection:
        found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return backup.name.startswith(f"catalog-{version}-") and found == [(version,)]


def test_from_0001(folder: Path) -> None:
    one = {**_SAE, "id": "sae_1", "path": "saes/one", "training_id": "train_1", "created_at": 2000.0}
    two = {**_SAE, "id": "sae_2", "path": "saes/two", "source": "local", "created_at": 3000.0}
    _old_catalog(folder, "0001", ("trainings", _TRAINING), ("external_saes", one), ("external_saes", two))
    (folder / "saes" / "one").mkdir(parents=True)
    (folder / "saes" / "one" / "cfg.json").write_bytes(b"1234567")
    with Catalog(folder, host="box") as catalog:
        run = catalog.trainings.get("train_1")
        assert (run.name, run.sae_id, run.config) == ("run", "sae_1", {"sae": {"k": 32}})
        second, first = catalog.saes.list()
        assert (first.id, first.name, first.training_name, first.metadata["latest"]) == (
            "sae_1", "first", "run", {"l0": 32.0},
        )
        assert (first.updated_at, first.tags, first.notes, first.statistics) == (2000.0, (), "", {})
        assert (first.state, second.state) == ("ok", "missing")
        assert catalog.saes.update("sae_1", tags=["good"], notes="x").tags == ("good",)
    assert _is_backed_up(folder, "0001")


def test_from_0002(folder: Path) -> None:
    """The SAE and the training keep all they have, and are ready for extractions and labels."""
    row = {**_SAE, "id": "sae_1", "path": "saes/one", "training_id": "train_1", "created_at": 2000.0,
           "notes": "x", "tags": '["good"]', "updated_at": 2500.0}  # fmt: skip
    _old_catalog(folder, "0002", ("trainings", _TRAINING), ("external_saes", row))
    with Catalog(folder, host="box") as catalog:
        (sae,) = catalog.saes.list()
        assert (sae.id, sae.notes, sae.tags, sae.training_name, sae.updated_at, sae.features_extracted) == (
            "sae_1", "x", ("good",), "run", 2500.0, 0,
        )
        assert not catalog.extractions.list()
        origin = catalog.features.origin("train_1")
        assert (origin.sae_id, origin.training_id) == ("sae_1", "train_1")
        catalog.features.mark(origin, 3, starred=True)
        assert catalog.features.list(origin)[0].id == "feat_sae_1_3"
    assert _is_backed_up(folder, "0002")


def test_from_0003(folder: Path) -> None:
    """What was said of a latent stays, and templates can be kept."""
    model = {"name": "gpt2", "facts": "{}", "uses": 3, "created_at": 1.0, "used_at": 2.0}
    feature = {"id": "feat_train_1_3", "training_id": "train_1", "neuron_index": 3, "label": "ships",
               "label_by": "", "notes": "", "starred": True, "created_at": 1.0, "updated_at": 2.0}  # fmt: skip
    _old_catalog(folder, "0003", ("trainings", _TRAINING), ("models", model), ("features", feature))
    with Catalog(folder, host="box") as catalog:
        origin = catalog.features.origin("train_1")
        assert [(one.index, one.label, one.starred) for one in catalog.features.list(origin)] == [(3, "ships", True)]
        assert catalog.templates.list().to_df().empty
        new = TrainingTemplate(name="a", config=TrainingConfig(model="gpt2"))
        assert catalog.templates.put(new) == catalog.templates.list()[0]
        assert catalog.models.names() == ["gpt2"]
    assert _is_backed_up(folder, "0003")


def test_from_0004(folder: Path) -> None:
    """Trainings stay, and stores of activations can be kept."""
    _old_catalog(folder, "0004", ("trainings", _TRAINING))
    with Catalog(folder, host="box") as catalog:
        assert catalog.trainings.get("train_1").name == "run"
        assert not catalog.activations.list()
        store = catalog.activations.create(
            id="acts_1", name="x", source="captured", model="gpt2", corpus="demo", config={"tokens": 5},
            hook_names=["blocks.6.hook_resid_post"], tokens_total=5, folder=folder / "activations" / "acts_1",
        )
        assert (store.state, store.is_whole, store.hook_names) == ("incomplete", False, ("blocks.6.hook_resid_post",))
    assert _is_backed_up(folder, "0004")


def test_from_0006(folder: Path) -> None:
    """Nobody knows who started what is there."""
    job = {"id": "job_1", "kind": "training", "status": "paused", "lane": "gpu-box/cpu", "payload": "{}",
           "seconds_running": 1.0, "created_at": 1.0, "queue_number": 1, "updated_at": 1.0}  # fmt: skip
    _old_catalog(folder, "0006", ("jobs", job), ("trainings", {**_TRAINING, "job_id": "job_1"}))
    with Catalog(folder, host="box", user="ada") as catalog:
        run = catalog.trainings.get("train_1")
        assert (run.started_by, run.host, run.status) == (None, "gpu-box", "paused")
        assert catalog.jobs.add("job_2", kind="x", lane="box/cpu", payload={}, owner="me").started_by == "ada"
    assert _is_backed_up(folder, "0006")


def test_from_0007(folder: Path) -> None:
    """Rows refer to the models and datasets that were used here; what files did not say is unknown, not null."""
    model = {"name": "gpt2", "facts": "{}", "uses": 3, "created_at": 1.0, "used_at": 2.0}
    silent = {**_SAE, "id": "sae_1", "path": "saes/one", "model": None, "layer": None, "source": "local",
              "created_at": 2000.0}  # fmt: skip
    known = {**_SAE, "id": "sae_2", "path": "saes/two", "training_id": "train_1", "created_at": 1000.0}
    feature = {"id": "feat_sae_2_3", "external_sae_id": "sae_2", "neuron_index": 3, "label": "ships",
               "label_by": "", "notes": "", "starred": True, "created_at": 1.0, "updated_at": 2.0}  # fmt: skip
    _old_catalog(folder, "0007", ("models", model), ("trainings", _TRAINING), ("external_saes", silent),
                 ("external_saes", known), ("features", feature))  # fmt: skip
    with Catalog(folder, host="box") as catalog:
        first, second = catalog.saes.list(sort="layer")
        assert [(one.model, one.layer) for one in (first, second)] == [("gpt2", 6), (None, None)]
        assert catalog.features.list(catalog.features.origin("sae_2"))[0].label == "ships"
        with closing(sqlite3.connect(folder / "catalog.sqlite")) as connection:
            found = connection.execute("SELECT model, model_id, layer FROM external_saes ORDER BY id").fetchall()
            assert found == [("unknown", None, -1), ("gpt2", "gpt2", 6)]
            assert connection.execute("SELECT model_id, dataset_id FROM trainings").fetchall() == [("gpt2", None)]
        assert catalog.saes.update("sae_1", model="org/other", layer=2).model == "org/other"
        catalog.models.delete("org/other")
        assert catalog.saes.get("sae_1").model == "org/other"  # only the reference goes
    assert _is_backed_up(folder, "0007")


def test_a_blank_one_of_each_version_migrates(tmp_path: Path) -> None:
    for version in schema.known_versions():
        _old_catalog(tmp_path / version, version)
        with Catalog(tmp_path / version) as catalog:
            assert not catalog.saes.list()
