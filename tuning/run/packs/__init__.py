"""Packs: several trials in one worker process, each worker being one trial of Ray Tune."""
