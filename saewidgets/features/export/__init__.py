"""Features for others: a page, Neuronpedia's and SAEDashboard's files, a table, vectors. One file per kind."""

from saewidgets.features.export.csv_table import export_table
from saewidgets.features.export.dashboard import export_dashboard
from saewidgets.features.export.effects import Effects, EffectsOf, TokenEffect, computed_effects, stored_effects
from saewidgets.features.export.html_page import export_html
from saewidgets.features.export.neuronpedia_export import (
    NeuronpediaTarget,
    export_neuronpedia,
    export_neuronpedia_batches,
)
from saewidgets.features.export.vectors import export_vectors

__all__ = [
    "Effects",
    "EffectsOf",
    "NeuronpediaTarget",
    "TokenEffect",
    "computed_effects",
    "export_dashboard",
    "export_html",
    "export_neuronpedia",
    "export_neuronpedia_batches",
    "export_table",
    "export_vectors",
    "stored_effects",
]
