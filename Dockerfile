# syntax=docker/dockerfile:1
# The image of a release. It compiles nothing: `deno task compile` has put both executables into dist/ before, so that
# one runner makes every platform without emulation.
#   deno task compile && docker buildx build --platform linux/amd64,linux/arm64 .

# Runs on the building machine: distroless has no shell that could make the link below, and a second copy of the
# executable would cost as much as the first.
FROM --platform=$BUILDPLATFORM gcr.io/distroless/cc-debian12:debug AS layout
SHELL ["/busybox/sh", "-c"]
ARG TARGETARCH
# Artifacts lose their executable bit between the jobs of a workflow.
COPY --chmod=0755 dist/lk-jwt-service_linux_${TARGETARCH} /layout/lk-jwt-service
# Under this name the executable is the health check; compose files and unit files of earlier releases call it.
RUN ln -s lk-jwt-service /layout/lk-jwt-service-healthcheck

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="lk-jwt-service" \
      org.opencontainers.image.description="MatrixRTC Authorization Service: Matrix OpenID tokens in, LiveKit tokens out" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=layout /layout/ /
# Lets the runtime size itself by the container's memory limit rather than by the host's memory.
ENV DENO_USE_CGROUPS=1
# Numeric, so that Kubernetes can see that it is not root (runAsNonRoot). Any other user works as well.
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["/lk-jwt-service", "healthcheck"]
# CMD and no ENTRYPOINT: deployments replace it as a whole with `command:`.
CMD ["/lk-jwt-service"]
