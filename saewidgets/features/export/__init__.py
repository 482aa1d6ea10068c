"""Features for others: a page, Neuronpedia's and SAEDashboard's files, a table, vectors. One file per kind."""

from saewidgets.features.export.html_page import export_html
from saewidgets.features.export.sae_dashboard import (
    NeuronpediaTarget,
    export_dashboard,
    export_neuronpedia,
    export_neuronpedia_batches,
)
from saewidgets.features.export.table_and_vectors import export_table, export_vectors
from saewidgets.features.logit_effects import Effects, EffectsOf, TokenEffect, computed_effects, stored_effects

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
