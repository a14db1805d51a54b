"""Long work that survives being killed: chunks, workers, atomic writes, done-markers, locks, progress.

A *job* is split into numbered *chunks* of samples. A *worker* computes chunks one after another; a chunk writes its
files atomically, and its *done-marker* last. So all files of a killed run are complete, and the same command resumes
it. An *engine* makes the workers: ``processes`` on this machine, ``ray_actors`` on many. ``part`` lets several commands
divide a job, ``request`` ties a folder to one configuration, and ``lock`` prevents that two runs do the same work.
Collection and evaluation use this package; it does not know diffusion models.
"""
