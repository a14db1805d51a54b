"""From noise to scored pictures: for collection, evaluation and the evaluation during training alike.

``denoising`` draws the noise, improves it and samples; ``scoring`` decodes and scores; ``pipeline`` runs both for batch
after batch, on a GPU the scoring of one beside the denoising of the next. ``pairs`` makes pairs of source and
golden noise; ``methods`` compares methods. The engine takes what ``load`` returned; it knows no configuration.
"""
