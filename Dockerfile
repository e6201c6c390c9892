# syntax=docker/dockerfile:1

# The compiler runs on the builder's own platform and cross-compiles.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags="-s -w" -o /out/claude-code-lb .

FROM alpine:3.22
# curl, jq and bash are for the balance checks in the configuration. tini reaps what
# a balance check leaves behind, which the balancer as process 1 would not.
RUN apk add --no-cache bash ca-certificates curl jq tini tzdata \
    && adduser -D -H -u 1000 lb \
    && install -d -o lb -g lb /data \
    && install -d -m 1777 /state
COPY --from=build /out/claude-code-lb /usr/local/bin/claude-code-lb
COPY LICENSE /usr/share/licenses/claude-code-lb/LICENSE

USER 1000:1000
WORKDIR /data
# /data may be read-only, and the container may run as anybody: what outlives a restart is kept apart.
ENV STATE_DIRECTORY=/state
VOLUME /data /state
EXPOSE 3000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["claude-code-lb", "-health-check"]
ENTRYPOINT ["/sbin/tini", "--", "claude-code-lb"]
