"""Exports of features: an HTML page, files of Neuronpedia and SAEDashboard, a table, vectors. One module per kind."""

from saewidgets.features.export.html_page import export_html as export_html
from saewidgets.features.export.sae_dashboard import NeuronpediaTarget as NeuronpediaTarget
from saewidgets.features.export.sae_dashboard import export_dashboard as export_dashboard
from saewidgets.features.export.sae_dashboard import export_neuronpedia as export_neuronpedia
from saewidgets.features.export.sae_dashboard import export_neuronpedia_batches as export_neuronpedia_batches
from saewidgets.features.export.table_and_vectors import export_table as export_table
from saewidgets.features.export.table_and_vectors import export_vectors as export_vectors
from saewidgets.features.logit_effects import Effects as Effects
from saewidgets.features.logit_effects import EffectsOf as EffectsOf
from saewidgets.features.logit_effects import TokenEffect as TokenEffect
from saewidgets.features.logit_effects import computed_effects as computed_effects
from saewidgets.features.logit_effects import stored_effects as stored_effects
