# `mufnet` in a container; docs/container.md tells how it is built, run, and what of it was tried.
#   docker build --tag mufnet .                          torch for the CPU
#   docker build --build-arg TORCH=cuda --tag mufnet .   torch as requirements.lock pins it, for NVIDIA's GPUs
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
# cpu, cuda, or what else uv calls a build of torch (cu128, ...)
ARG TORCH=cpu
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/mufnet
WORKDIR /build
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9 && uv venv "$VIRTUAL_ENV"

# what is needed at the versions, and with the hashes, of the lock; no tools of developers. Of torch builds for
# other devices the lock has the version alone: they come from PyTorch's own index, which uv knows
COPY pyproject.toml requirements.lock ./
RUN if [ "$TORCH" != cuda ]; then \
        sed -n 's/^\(torch\|torchvision\)==\([^ ]*\) .*/\1==\2/p' requirements.lock > torch.txt \
        && grep '^torch==' torch.txt \
        && uv pip install --no-deps --torch-backend "$TORCH" --requirements torch.txt; \
    fi \
    && uv pip install --constraints requirements.lock --requirements pyproject.toml --extra onnx

# mufnet itself: a change of it leaves the layers above
COPY LICENSE README.md hatch_build.py ./
COPY configs configs
COPY mufnet_lightning mufnet_lightning
RUN uv build --wheel --build-constraints requirements.lock --out-dir dist \
    && uv pip install --no-deps dist/*.whl \
    && "$VIRTUAL_ENV/bin/mufnet" --version

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="mufnet-lightning" \
      org.opencontainers.image.description="Experiments with MUF-Net; for research, no medical device" \
      org.opencontainers.image.licenses="MIT"
# the home, and /work where no folder is mounted, can be written to whoever is named by `docker run --user`
RUN useradd --create-home --uid 1000 mufnet && chmod 1777 /home/mufnet \
    && install --directory --mode 1777 /work /home/mufnet/.cache
COPY --from=build /opt/mufnet /opt/mufnet
ENV HOME=/home/mufnet \
    MLFLOW_DISABLE_TELEMETRY=true \
    NO_ALBUMENTATIONS_UPDATE=1 \
    PATH=/opt/mufnet/bin:$PATH \
    PYTHONUNBUFFERED=1
USER 1000
WORKDIR /work
EXPOSE 5000
# as Ctrl-C: a training that is stopped can be gone on with
STOPSIGNAL SIGINT
ENTRYPOINT ["mufnet"]
CMD ["--help"]
