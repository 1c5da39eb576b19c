"""The commands of the panel "Cluster", and what they share: profiles, and the programs of schedulers."""
