# The image for `adaptertune submit` on Kubernetes (KubeRay) and in clouds (SkyPilot):
#   docker build --tag registry.example.org/adaptertune:latest .
FROM python:3.11-slim-bookworm

# KubeRay asks each node with wget whether it is well. SkyPilot needs rsync and ssh.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openssh-client rsync wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home ray

WORKDIR /opt/adaptertune
COPY LICENSE README.md constraints.txt pyproject.toml ./
COPY adaptertune ./adaptertune
COPY analysis ./analysis
COPY cluster ./cluster
COPY search_spaces ./search_spaces
COPY trainables ./trainables
COPY tuning ./tuning
# ray[default] has the server of jobs, which KubeRay speaks to.
RUN python -m pip install --no-cache-dir --constraint constraints.txt . 'ray[default]'

USER 1000
WORKDIR /home/ray
