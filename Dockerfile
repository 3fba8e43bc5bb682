# docker build -t cropshield . && docker run --rm -p 127.0.0.1:8501:8501 -e CROPSHIELD_ALLOWED_HOSTS=localhost cropshield
# Two stages: the packages that building needs stay behind. Runs as a user without rights; /var/cache/cropshield keeps the caches.
FROM debian:bookworm-slim AS build
WORKDIR /src
COPY tools/setup tools/setup
RUN tools/setup run
COPY . .
RUN tools/build release && DESTDIR=/out cmake --install build/release --prefix /usr

FROM debian:bookworm-slim
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    libexif12 libjansson4 libjpeg62-turbo libmicrohttpd12 libpng16-16 libprotobuf-c1 libsodium23 libsqlite3-0 libwebp7 libzip4 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 cropshield \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /var/cache/cropshield cropshield \
    && install -d -o cropshield -g cropshield /var/cache/cropshield
COPY --from=build /out/usr/bin/cropshield /usr/bin/cropshield
# By number: Kubernetes' runAsNonRoot cannot look up a name, and files of the volume keep their owner in the next image.
USER 10001:10001
VOLUME /var/cache/cropshield
ENV CROPSHIELD_HOST=0.0.0.0 CROPSHIELD_CACHE_FILE=/var/cache/cropshield/cache.db
EXPOSE 8501
HEALTHCHECK --start-period=5s CMD ["/bin/bash", "-c", "exec 3<>\"/dev/tcp/127.0.0.1/${CROPSHIELD_PORT:-8501}\" && printf 'GET /v2/health/ready HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n\\r\\n' >&3 && read -r line <&3 && [[ $line == *' 200 '* ]]"]
ENTRYPOINT ["cropshield"]
CMD ["serve"]
