"""Long work that survives being killed: chunks, workers, atomic writes, done-markers, locks, progress.

A *job* is split into numbered *chunks* of samples. A *worker* computes chunks one after another; a chunk writes its
files atomically and its *done-marker* (its last file) at the end, so whatever is there when a run is killed is whole,
and the same command goes on from it. An *engine* makes the workers: ``processes`` on this machine, ``ray_actors`` on
many. ``part`` lets several commands divide a job, ``request`` ties a folder to one configuration, ``lock`` keeps apart
runs that would do the same work twice. Collection and evaluation both stand on this package; nothing in it knows
diffusion models.
"""
