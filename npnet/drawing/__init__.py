"""Everything that draws: figures by matplotlib, sheets of pictures, pictures as bytes.

- ``palette``: the colours and marks, the same in every figure.
- ``figures``: a figure with its style, saved as SVG for a page or PNG for a card.
- ``comparisons``: shares of wins, gains and scores against cost, as the report shows them.
- ``histograms``, ``curves``: the gains of a collection, the course of a training.
- ``sheets``: pictures side by side, and pairs of pictures, with their captions.
- ``webp``: a picture as bytes.

Nothing here knows a configuration, a method or a metric; callers pass numbers, labels and pictures.
"""
