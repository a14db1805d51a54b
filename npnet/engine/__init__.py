"""From noise to scored pictures, for collection, evaluation and the evaluation during training.

``denoising`` draws the noise, improves it and samples; ``scoring`` decodes and scores; ``pipeline`` runs both for one
batch after another; on a GPU, it scores one batch while the next one is denoised. ``pairs`` makes pairs of source and
golden noise, and ``methods`` compares methods. The engine works on loaded parts and knows no configuration.
"""
